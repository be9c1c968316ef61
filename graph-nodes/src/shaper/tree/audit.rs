//! Everything looked at anew, for tests and fuzzing.

use super::{
    Shaper,
    member::{EXISTS, GREEN, TIMER, YELLOW},
};
use crate::shaper::{Leaf, sets::NONE};

impl Shaper {
    /// Compares lists, backlogs and events of all members with what they must be; takes time in proportion to all memory.
    ///
    /// # Errors
    /// What is wrong.
    pub fn audit(&self) -> Result<(), String> {
        self.queues.audit()?;
        let tree = &self.tree;
        let nodes = tree.branches.len();
        let mut sums = vec![(0u64, 0u64, 0u32); nodes];
        for (number, member) in tree.members.iter().enumerate().filter(|(_, member)| member.is(EXISTS)) {
            let leaf = number.checked_sub(nodes).map(|leaf| Leaf(leaf as u32));
            let wanted = tree.is_wanted(number as u32, &self.queues);
            // Who wants to send is waited for: by an event, or by its parent.
            if wanted && !member.is(TIMER | GREEN | YELLOW) {
                return Err(format!("member {number} wants to send and is forgotten"));
            }
            if member.is_root() && wanted && !member.is(TIMER) {
                return Err(format!("root {number} wants to send and has no event"));
            }
            let mut above = member.parent;
            if above != NONE {
                sums[above as usize].2 += 1;
            }
            let view = leaf.map(|leaf| self.queues.leaf(leaf)).unwrap_or_default();
            while above != NONE {
                let sum = &mut sums[above as usize];
                (sum.0, sum.1) = (sum.0 + u64::from(view.packets), sum.1 + u64::from(view.bytes));
                above = tree.members[above as usize].parent;
            }
        }
        for (number, branch) in tree.branches.iter().enumerate() {
            if !tree.members[number].is(EXISTS) {
                continue;
            }
            let (packets, bytes) = branch.backlog();
            let kept = (packets, bytes, branch.children);
            if kept != sums[number] {
                return Err(format!("node {number}: counted {:?}, kept {kept:?}", sums[number]));
            }
            let (green, yellow) = branch.listed(&tree.members);
            for (list, flag) in [(&green, GREEN), (&yellow, YELLOW)] {
                for &child in list {
                    let member = &tree.members[child as usize];
                    if !member.is(flag) || member.parent != number as u32 || !member.is(EXISTS) {
                        return Err(format!("node {number} lists {child}, which is not its own"));
                    }
                }
                let flagged = tree
                    .members
                    .iter()
                    .filter(|member| member.is(EXISTS) && member.parent == number as u32 && member.is(flag));
                if flagged.count() != list.len() {
                    return Err(format!("node {number} does not list all who say so"));
                }
            }
        }
        Ok(())
    }
}
