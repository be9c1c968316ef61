//! The kernel's next-hop objects (`ip nexthop`), which routes of both versions may name instead of next hops of their own.
//!
//! The kernel is silent of what falls with an object or a device (`net/ipv4/nexthop.c`, seen on Linux 6.18):
//! * the objects of a device that is down, deleted or without carrier are gone;
//! * a group loses a member that is gone, and is gone with its last one;
//! * the routes of an object that is gone are gone.

use rustc_hash::FxHashMap;

use super::event::{NextHop, Target};
use super::wire::Nexthop;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Nexthops {
    /// By identifier, with the last dump that showed it, or during which it was notified.
    objects: FxHashMap<u32, (Nexthop, u32)>,
    generation: u32,
}

/// What has become of objects, by identifier.
#[derive(Debug, Default)]
pub(super) struct Fallen {
    pub(super) gone: Vec<u32>,
    /// They lead elsewhere than before.
    pub(super) changed: Vec<u32>,
}

impl Nexthops {
    /// Takes a new or changed object.
    pub(super) fn insert(&mut self, id: u32, nexthop: Nexthop) -> Fallen {
        let before = self.objects.insert(id, (nexthop, self.generation));
        if before.as_ref().map(|(nexthop, _)| nexthop) == self.objects.get(&id).map(|(nexthop, _)| nexthop) {
            return Fallen::default();
        }
        let mut changed = vec![id];
        changed.extend(self.objects.iter().filter_map(|(&group, (nexthop, _))| match nexthop {
            Nexthop::Group(members) if members.iter().any(|(member, _)| *member == id) => Some(group),
            _ => None,
        }));
        Fallen { gone: Vec::new(), changed }
    }

    /// Takes objects out, and the groups that had no other member.
    pub(super) fn remove(&mut self, ids: Vec<u32>) -> Fallen {
        let mut fallen = Fallen::default();
        let mut left = ids;
        while let Some(id) = left.pop() {
            if self.objects.remove(&id).is_none() {
                continue;
            }
            fallen.gone.push(id);
            for (&group, (nexthop, _)) in &mut self.objects {
                if let Nexthop::Group(members) = nexthop {
                    let before = members.len();
                    members.retain(|(member, _)| *member != id);
                    if members.is_empty() {
                        left.push(group);
                    } else if members.len() < before {
                        fallen.changed.push(group);
                    }
                }
            }
        }
        fallen.changed.retain(|id| self.objects.contains_key(id));
        fallen
    }

    /// The device can carry nothing: it is down, gone or without carrier.
    pub(super) fn device_unusable(&mut self, index: u32) -> Fallen {
        let on_device = |nexthop: &Nexthop| match nexthop {
            Nexthop::One(hop) => hop.index == index,
            // The kernel keeps blackhole objects on the loopback device of the namespace; they fall with it.
            Nexthop::Blackhole { index: of } => *of == index,
            Nexthop::Group(_) | Nexthop::Unsupported(_) => false,
        };
        let gone = self.objects.iter().filter(|(_, (nexthop, _))| on_device(nexthop));
        let gone = gone.map(|(id, _)| *id).collect();
        self.remove(gone)
    }

    /// A dump begins: what is neither in it nor notified from now on is gone at its end.
    pub(super) fn begin(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// The dump that began last has ended.
    pub(super) fn sweep(&mut self) -> Fallen {
        let current = self.generation;
        let gone = self.objects.iter().filter(|(_, (_, generation))| *generation != current);
        let gone = gone.map(|(id, _)| *id).collect();
        self.remove(gone)
    }

    /// What the object says now; none if it is not known (yet).
    pub(super) fn resolve(&self, id: u32) -> Option<Target> {
        Some(match &self.objects.get(&id)?.0 {
            Nexthop::One(hop) => Target::Forward(vec![*hop]),
            Nexthop::Blackhole { .. } => Target::Blackhole,
            Nexthop::Unsupported(why) => Target::Unsupported(*why),
            Nexthop::Group(members) => {
                let mut hops = Vec::with_capacity(members.len());
                for (member, weight) in members {
                    match self.objects.get(member).map(|(nexthop, _)| nexthop) {
                        Some(Nexthop::One(hop)) => {
                            hops.push(NextHop { weight: *weight, ..*hop });
                        }
                        // The kernel allows a blackhole only as the single member of a group.
                        Some(Nexthop::Blackhole { .. }) => return Some(Target::Blackhole),
                        Some(Nexthop::Unsupported(why)) => return Some(Target::Unsupported(*why)),
                        Some(Nexthop::Group(_)) | None => {}
                    }
                }
                Target::Forward(hops)
            }
        })
    }
}
