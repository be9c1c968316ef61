//! The outermost 802.1Q tag of an Ethernet frame (IEEE 802.1Q §9.6): 12..14 its type, then three bits priority, one drop eligible, twelve the VLAN.

/// Bytes of a tag.
pub const LENGTH: usize = 4;
/// EtherType of a customer's tag.
const TAG: u16 = 0x8100;
/// The VLAN's number in the tag's second word.
const ID: u16 = 0x0fff;

/// The VLAN that a frame is tagged with, `None` if its outermost tag is another or none.
#[inline(always)]
pub fn id(frame: &[u8]) -> Option<u16> {
    match *frame.first_chunk::<16>()? {
        [.., a, b, c, d] if u16::from_be_bytes([a, b]) == TAG => Some(u16::from_be_bytes([c, d]) & ID),
        _ => None,
    }
}

/// Changes the VLAN of a frame that [`id`] has found tagged; the priority stays. A frame without room for a tag stays as it is.
#[inline(always)]
pub fn set_id(frame: &mut [u8], id: u16) {
    if let Some([.., high, low]) = frame.first_chunk_mut::<16>() {
        let tag = u16::from_be_bytes([*high, *low]) & !ID | id & ID;
        [*high, *low] = tag.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_changed_and_nothing_else() {
        let mut frame = [[2; 12].as_slice(), &[0x81, 0, 0xb1, 0x23], &[8, 0, 0x45]].concat();
        assert_eq!(id(&frame), Some(0x123));
        set_id(&mut frame, 0xfff);
        assert_eq!(frame[12..], [0x81, 0, 0xbf, 0xff, 8, 0, 0x45]);
        set_id(&mut frame, 0x1001);
        assert_eq!(frame[12..], [0x81, 0, 0xb0, 0x01, 8, 0, 0x45]);
        frame[13] = 1;
        assert_eq!(id(&frame), None);
        assert_eq!(id(&[0x81; 15]), None);
        set_id(&mut [0; 15], 1);
    }
}
