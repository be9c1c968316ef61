//! Tins: classes of a customer's packets by their DSCP, each with a share of the customer's rate up to which it goes first.
//!
//! The mappings and shares are CAKE's (tc-cake(8)). A tin above its share is not limited; it loses its precedence.

/// No customer has more tins.
pub const TINS: usize = 8;

/// Which tins a customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tins {
    /// One for everything.
    BestEffort,
    /// Bulk, best effort, voice.
    Diffserv3,
    /// Bulk, best effort, video, voice.
    Diffserv4,
    /// Eight, from background to network control.
    Diffserv8,
}

/// One in the inverse share's fixed point.
pub(super) const WHOLE: u32 = 1 << 8;

/// DSCPs (RFC 2474, 2597, 3246, 5865, 8622; TOS of RFC 1349 in the same place, where its second bit is LE today).
const LE: u8 = 1;
const TOS_THROUGHPUT: u8 = 2;
const TOS_DELAY: u8 = 4;
const CS1: u8 = 8;
const CS2: u8 = 16;
const CS3: u8 = 24;
const CS4: u8 = 32;
const CS5: u8 = 40;
const VOICE_ADMIT: u8 = 44;
const EF: u8 = 46;
const CS6: u8 = 48;
const CS7: u8 = 56;

/// AFx1, AFx2, AFx3.
const fn assured(class: u8, dscp: u8) -> bool {
    dscp == class * 8 + 2 || dscp == class * 8 + 4 || dscp == class * 8 + 6
}

impl Tins {
    /// Their names, by number.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Tins::BestEffort => &["best effort"],
            Tins::Diffserv3 => &["bulk", "best effort", "voice"],
            Tins::Diffserv4 => &["bulk", "best effort", "video", "voice"],
            Tins::Diffserv8 => &[
                "background",
                "high throughput",
                "best effort",
                "video streaming",
                "low latency",
                "interactive",
                "minimum latency",
                "network control",
            ],
        }
    }

    /// The tin of a packet, from the six bits of its DSCP.
    pub const fn of(self, dscp: u8) -> u8 {
        match (self, dscp) {
            (Tins::BestEffort, _) => 0,
            (Tins::Diffserv3 | Tins::Diffserv4 | Tins::Diffserv8, LE | CS1) => 0,
            (Tins::Diffserv3, CS7 | CS6 | EF | VOICE_ADMIT | TOS_DELAY) => 2,
            (Tins::Diffserv3, _) => 1,
            (Tins::Diffserv4, CS7 | CS6 | EF | VOICE_ADMIT | CS5 | CS4) => 3,
            (Tins::Diffserv4, CS3 | CS2 | TOS_DELAY) => 2,
            (Tins::Diffserv4, af) if assured(4, af) || assured(3, af) || assured(2, af) => 2,
            (Tins::Diffserv4, _) => 1,
            (Tins::Diffserv8, CS7 | CS6) => 7,
            (Tins::Diffserv8, EF | VOICE_ADMIT | CS5 | CS4) => 6,
            (Tins::Diffserv8, CS2) => 5,
            (Tins::Diffserv8, TOS_DELAY) => 4,
            (Tins::Diffserv8, CS3) => 3,
            (Tins::Diffserv8, TOS_THROUGHPUT) => 1,
            (Tins::Diffserv8, af) if assured(2, af) => 4,
            (Tins::Diffserv8, af) if assured(4, af) || assured(3, af) => 3,
            (Tins::Diffserv8, af) if assured(1, af) => 1,
            (Tins::Diffserv8, _) => 2,
        }
    }

    /// What share of the customer's rate a tin has precedence for, as its inverse, in 1/256.
    pub(super) const fn inverse_shares(self) -> [u32; TINS] {
        let mut shares = [WHOLE; TINS];
        match self {
            Tins::BestEffort => {}
            Tins::Diffserv3 => {
                shares[0] = 16 * WHOLE;
                shares[2] = 4 * WHOLE;
            }
            Tins::Diffserv4 => {
                shares[0] = 16 * WHOLE;
                shares[2] = 2 * WHOLE;
                shares[3] = 4 * WHOLE;
            }
            Tins::Diffserv8 => {
                // 7/8 of the one before: 256 × (8/7)^n, rounded.
                shares = [256, 293, 334, 382, 437, 499, 570, 652];
            }
        }
        shares
    }

    /// Tins from the first in precedence to the last.
    ///
    /// Bulk stands before best effort, whose share is everything: so bulk has its sixteenth, and no more.
    pub(super) const fn precedence(self) -> [u8; TINS] {
        match self {
            Tins::BestEffort | Tins::Diffserv8 => [7, 6, 5, 4, 3, 2, 1, 0],
            Tins::Diffserv3 => [7, 6, 5, 4, 3, 2, 0, 1],
            Tins::Diffserv4 => [7, 6, 5, 4, 3, 2, 0, 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of tc-cake(8), written out by code point.
    #[test]
    fn code_points_reach_the_tins_that_the_manual_names() {
        const AF: [[u8; 3]; 5] = [[0; 3], [10, 12, 14], [18, 20, 22], [26, 28, 30], [34, 36, 38]];
        let voice = [56, 48, 46, 44, 40, 32];
        let video: Vec<u8> = [24, 16, 4].into_iter().chain(AF[2]).chain(AF[3]).chain(AF[4]).collect();
        for dscp in 0..64u8 {
            let four = match dscp {
                1 | 8 => "bulk",
                _ if voice.contains(&dscp) => "voice",
                _ if video.contains(&dscp) => "video",
                _ => "best effort",
            };
            assert_eq!(Tins::Diffserv4.names()[usize::from(Tins::Diffserv4.of(dscp))], four, "{dscp}");
            let three = match dscp {
                1 | 8 => "bulk",
                56 | 48 | 46 | 44 | 4 => "voice",
                _ => "best effort",
            };
            assert_eq!(Tins::Diffserv3.names()[usize::from(Tins::Diffserv3.of(dscp))], three, "{dscp}");
            let eight = match dscp {
                1 | 8 => "background",
                2 | 10 | 12 | 14 => "high throughput",
                56 | 48 => "network control",
                46 | 44 | 40 | 32 => "minimum latency",
                16 => "interactive",
                4 | 18 | 20 | 22 => "low latency",
                24 | 26 | 28 | 30 | 34 | 36 | 38 => "video streaming",
                _ => "best effort",
            };
            assert_eq!(Tins::Diffserv8.names()[usize::from(Tins::Diffserv8.of(dscp))], eight, "{dscp}");
            assert_eq!(Tins::BestEffort.of(dscp), 0);
        }
    }
}
