//! What stands at the beginning of a packet's data, in network byte order.
//!
//! ```text
//!   18 bytes     magic 2 | stream 1 | number 7 | time 8
//!   10 bytes     magic 1 | stream 1 | number 4 | time 4          where there is no room for 18
//! ```
//! The number counts a stream's packets from 0, the time is CLOCK_MONOTONIC in nanoseconds; the short form has the low words of both, which is enough
//! for packets that are less than two thousand million apart and take less than four seconds. A frame of 64 bytes (60 without its check sequence) of UDP
//! over IPv4 has room for 18 bytes; with one VLAN tag for 14, with two for 10.

/// Bytes of the long form.
pub const FULL: usize = 18;
/// Bytes of the short form.
pub const COMPACT: usize = 10;
/// What the long form begins with: it would be text ("Wp") only by accident.
const FULL_MAGIC: u16 = 0x5770;
/// What the short form begins with.
const COMPACT_MAGIC: u8 = 0x77;
/// Of the number in the long form.
const NUMBER_BITS: u32 = 56;
/// Streams that are told apart.
pub const STREAMS: usize = 1 << 8;

/// Writes it into a packet's data: in the long form where there is room.
pub fn write(data: &mut [u8], stream: u8, number: u64, time: u64) {
    if let Some(data) = data.first_chunk_mut::<FULL>() {
        let what = u64::from(stream) << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1);
        data[..2].copy_from_slice(&FULL_MAGIC.to_be_bytes());
        data[2..10].copy_from_slice(&what.to_be_bytes());
        data[10..].copy_from_slice(&time.to_be_bytes());
    } else if let Some(data) = data.first_chunk_mut::<COMPACT>() {
        data[..2].copy_from_slice(&[COMPACT_MAGIC, stream]);
        data[2..6].copy_from_slice(&(number as u32).to_be_bytes());
        data[6..].copy_from_slice(&(time as u32).to_be_bytes());
    }
}
