//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// Sum of the 16-bit words of `bytes` as they stand in memory (RFC 1071 §2(B): the sum does not depend on byte order), folded to 16 bits.
/// An odd last byte counts as if a zero followed.
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        if let Ok(word) = word.try_into() {
            sum += u64::from(u32::from_ne_bytes(word));
        }
    }
    let mut tail = [0u8; 4];
    for (to, from) in tail.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    fold(sum + u64::from(u32::from_ne_bytes(tail)))
}

/// Sum of an IPv4 header without options: 0xffff where its checksum is right.
#[inline(always)]
pub fn sum20(header: &[u8; 20]) -> u16 {
    let mut sum = 0u64;
    for word in header.as_chunks::<4>().0 {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    fold(sum)
}

/// Folds a sum of 32-bit words to 16 bits, end-around carries included.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The bytes of the checksum field for data whose field is zero (or is left out).
#[inline]
pub fn checksum(bytes: &[u8]) -> [u8; 2] {
    (!sum(bytes)).to_ne_bytes()
}

/// The bytes of the checksum field of a protocol over IPv6 (RFC 8200 §8.1): over the pseudo-header and `bytes`, whose field is zero. `addresses`: source and
/// destination as they stand in the header; `bytes` are fewer than 2³².
pub fn checksum6(addresses: &[u8; 32], protocol: u8, bytes: &[u8]) -> [u8; 2] {
    let mut pseudo = [0; 40];
    pseudo[..32].copy_from_slice(addresses);
    pseudo[32..36].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
    pseudo[39] = protocol;
    let sum = u64::from(sum(&pseudo)) + u64::from(sum(bytes));
    (!fold(sum)).to_ne_bytes()
}

/// The checksum field after a 16-bit word of the data changed from `old` to `new` (RFC 1624 equation 3: HC' = ~(~HC + ~m + m')).
/// All three are numbers in network order as read by `from_be_bytes`.
#[inline(always)]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §1 by the letter: big-endian words, carries folded one at a time.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // §4: HC = 0xDD2F, m = 0x5555, m' = 0x3285 → 0x0000, where RFC 1141's equation gave 0xFFFF.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn sums_equal_the_reference(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(sum(&bytes).to_ne_bytes(), reference(&bytes).to_be_bytes());
            if let Some(header) = bytes.first_chunk::<20>() {
                prop_assert_eq!(sum20(header), sum(header));
            }
        }

        #[test]
        fn an_update_equals_a_recomputation(mut bytes in proptest::collection::vec(any::<u8>(), 20..=20), at in 0usize..9, new: u16) {
            prop_assume!(bytes.iter().any(|byte| *byte != 0));
            bytes[18] = 0;
            bytes[19] = 0;
            let at = at * 2;
            let before = u16::from_be_bytes(checksum(&bytes));
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assume!(bytes.iter().any(|byte| *byte != 0));
            prop_assert_eq!(update(before, old, new), u16::from_be_bytes(checksum(&bytes)));
        }
    }
}
