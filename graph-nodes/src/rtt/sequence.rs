//! Segments that do not continue where the last one ended: holes, what is sent again, what comes late. The rules are in the module above.

use super::{
    half::{HOLE, Half, RECOVERING, TOLD, TSVAL},
    observed::Observed,
    table::Cold,
};
use crate::wire::tcp::flags;

/// What a segment out of order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Beyond what was sent: there is a hole before it now.
    Ahead,
    /// Overtaken by later ones.
    Reordered,
    /// Sent again.
    Resent,
    /// The last byte once more, though it has been acknowledged: only asks for an answer (RFC 9293 §3.8.4).
    KeepAlive,
    /// So far off that it has nothing to do with what was seen before.
    Elsewhere,
}

/// The largest receive window (RFC 7323 §2.3): nothing that a sender may send lies further apart.
const WINDOW: u32 = 1 << 30;

/// Sequence numbers that a segment takes.
#[inline(always)]
pub(super) fn length(observed: &Observed) -> u32 {
    u32::from(observed.payload) + u32::from(observed.flags & flags::FIN != 0)
}

/// Follows a segment that takes sequence numbers and does not start at `half.sent`. `fine` is the clock in fine units, `timeout` the least
/// retransmission timeout in the same.
pub(super) fn out_of_order(
    half: &mut Half,
    cold: &mut Cold,
    observed: &Observed,
    fine: u16,
    timeout: u16,
) -> Order {
    let direction = observed.direction() as usize;
    let (hole, opened) = (&mut cold.hole[direction], &mut cold.opened[direction]);
    let (start, end) = (observed.sequence, observed.sequence.wrapping_add(length(observed)));
    let ahead = start.wrapping_sub(half.sent) as i32;
    if ahead.unsigned_abs() > WINDOW {
        half.sent = end;
        half.acked = start;
        return Order::Elsewhere;
    }
    if ahead > 0 {
        if half.has(HOLE) && before(half.acked, hole[1]) {
            hole[1] = start;
        } else {
            *hole = [half.sent, start];
            *opened = fine;
            half.open_hole();
        }
        half.sent = end;
        recover(half, &mut cold.recover[direction]);
        return Order::Ahead;
    }
    if observed.payload == 1
        && observed.flags & flags::FIN == 0
        && end == half.sent
        && half.acked == half.sent
    {
        return Order::KeepAlive;
    }
    let never_seen = half.has(HOLE) && !before(start, hole[0]) && !before(hole[1], end);
    let newer = if observed.has_timestamps() && half.has(TSVAL) {
        observed.tsval.wrapping_sub(half.tsval) as i32
    } else {
        0
    };
    let order = if newer < 0 {
        Order::Reordered
    } else if newer > 0 || !never_seen || half.has(TOLD) || fine.wrapping_sub(*opened) >= timeout {
        Order::Resent
    } else {
        Order::Reordered
    };
    if never_seen {
        if start == hole[0] {
            hole[0] = end;
        } else if end == hole[1] {
            hole[1] = start;
        }
        if !before(hole[0], hole[1]) {
            half.clear(HOLE);
        }
    }
    if before(half.sent, end) {
        half.sent = end;
    }
    half.cancel_sequence();
    recover(half, &mut cold.recover[direction]);
    order
}

/// Nothing is stamped by sequence numbers until all that was sent up to now is acknowledged; `until` keeps how far that is.
pub(super) fn recover(half: &mut Half, until: &mut u32) {
    if before(half.acked, half.sent) {
        *until = half.sent;
        half.set(RECOVERING);
    }
}

/// `a` comes before `b`, modulo 2³².
#[inline(always)]
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
