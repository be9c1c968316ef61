//! 802.1Q tags of an Ethernet frame (IEEE 802.1Q §9.6), from its 12th byte on. A tag: 0..2 its type, then three bits priority, one drop eligible, twelve the VLAN.

use super::ethernet;

/// Bytes of a tag.
pub const LENGTH: usize = 4;
/// EtherType of a customer's tag.
pub const TAG: u16 = 0x8100;
/// EtherType of a provider's tag (802.1ad).
pub const SERVICE_TAG: u16 = 0x88a8;
/// QinQ before it was a standard.
const OLD_SERVICE_TAG: u16 = 0x9100;
/// The VLAN's number in the tag's second word.
const ID: u16 = 0x0fff;

/// A tag's words without its priority.
const ALL_BUT_PRIORITY: u64 = 0xffff_0000 | ID as u64;
/// Bytes of an Ethernet header with one tag.
pub const LONG: usize = ethernet::LENGTH + LENGTH;
/// Bytes of an Ethernet header with two, the most that are looked at.
pub const LONGEST: usize = LONG + LENGTH;

/// Whether a type is a tag's.
#[inline(always)]
pub const fn is_tag(kind: u16) -> bool {
    matches!(kind, TAG | SERVICE_TAG | OLD_SERVICE_TAG)
}

/// At most two tags, as they stand between the source address and the EtherType: outer type and control, inner type and control, in network order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Tags(u64);

impl Tags {
    /// None.
    pub const NONE: Tags = Tags(0);

    /// One tag: its type and the VLAN's number, of priority 0.
    pub const fn one(kind: u16, id: u16) -> Tags {
        Tags((kind as u64) << 48 | ((id & ID) as u64) << 32)
    }

    /// These, and one more behind them; a third one is left out.
    pub const fn with_inner(self, kind: u16, id: u16) -> Tags {
        Tags(self.0 >> 32 << 32 | (kind as u64) << 16 | (id & ID) as u64)
    }

    /// The tags of a frame, without their priorities, the type behind them, and where what has this type begins. Of more than two the third one's type is what is behind
    /// them. `None`: the frame ends before.
    #[inline(always)]
    pub fn of(frame: &[u8]) -> Option<(Tags, u16, usize)> {
        let [.., a, b] = *frame.first_chunk::<{ ethernet::LENGTH }>()?;
        let (mut kind, mut at) = (u16::from_be_bytes([a, b]), ethernet::LENGTH);
        let mut tags = Tags::NONE;
        if is_tag(kind) {
            let outer = kind;
            let id;
            (id, kind) = control(frame, at)?;
            (tags, at) = (Tags::one(outer, id), at + LENGTH);
            if is_tag(kind) {
                let inner = kind;
                let id;
                (id, kind) = control(frame, at)?;
                (tags, at) = (tags.with_inner(inner, id), at + LENGTH);
            }
        }
        Some((tags, kind, at))
    }

    /// The type behind these very tags of so many bytes, whatever their priorities; `None`: the frame, which begins so, has others. The same as [`Self::of`] says
    /// if what is behind them is no tag.
    #[inline(always)]
    pub fn kind_behind<const BYTES: usize>(self, frame: &[u8; LONGEST]) -> Option<u16> {
        const ADDRESSES: usize = ethernet::LENGTH - 2;
        let (_, [a, b, c, d, e, f, g, h, i, j]) = frame.split_last_chunk::<{ LONGEST - ADDRESSES }>()?;
        let found = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
        let (relevant, kind) = match BYTES {
            0 => (0, [*a, *b]),
            LENGTH => (ALL_BUT_PRIORITY << 32, [*e, *f]),
            _ => (ALL_BUT_PRIORITY << 32 | ALL_BUT_PRIORITY, [*i, *j]),
        };
        (found & relevant == self.0).then_some(u16::from_be_bytes(kind))
    }

    /// As a number: the outer tag's type in the highest 16 bits.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// What [`Self::word`] gave.
    pub const fn from_word(word: u64) -> Tags {
        Tags(word)
    }

    /// Their bytes in a frame: 0, 4 or 8.
    #[inline(always)]
    pub const fn length(self) -> usize {
        match self.0 {
            0 => 0,
            word if word as u32 == 0 => LENGTH,
            _ => 2 * LENGTH,
        }
    }

    /// The bytes, of which [`Self::length`] count.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 2 * LENGTH] {
        self.0.to_be_bytes()
    }
}

/// What stands behind a tag's type: the tag's second word, and the next type.
#[inline(always)]
fn control(frame: &[u8], at: usize) -> Option<(u16, u16)> {
    let [a, b, c, d] = *frame.get(at..)?.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

impl std::fmt::Debug for Tags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", &self.bytes()[..self.length()])
    }
}

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
    fn tags_are_as_long_as_they_are_many() {
        let one = Tags::one(TAG, 0x123);
        assert_eq!((Tags::NONE.length(), one.length()), (0, 4));
        assert_eq!(one.bytes()[..4], [0x81, 0, 0x01, 0x23]);
        let two = Tags::one(0x88a8, 7).with_inner(TAG, 5);
        assert_eq!((two.length(), two.bytes()), (8, [0x88, 0xa8, 0, 7, 0x81, 0, 0, 5]));
        assert_eq!(Tags::from_word(two.word()), two);
        let frame = |tags: &[u8]| [&[2; 12], tags, &[8, 0, 0x45]].concat();
        assert_eq!(Tags::of(&frame(&[])), Some((Tags::NONE, 0x0800, 14)));
        assert_eq!(Tags::of(&frame(&[0x81, 0, 0xe1, 0x23])), Some((one, 0x0800, 18)));
        let three = [0x88, 0xa8, 0xf0, 7, 0x81, 0, 0x10, 5, 0x81, 0, 0, 1];
        assert_eq!(Tags::of(&frame(&three[..8])), Some((two, 0x0800, 22)));
        assert_eq!(Tags::of(&frame(&three)), Some((two, TAG, 22)));
        for length in [0, 13, 14, 17, 18, 21] {
            assert_eq!(Tags::of(&frame(&three[..8])[..length]), None, "{length}");
        }
    }

    #[test]
    fn what_is_behind_the_tags_is_found_without_looking_for_them() {
        let (one, two) = (Tags::one(TAG, 5), Tags::one(SERVICE_TAG, 7).with_inner(TAG, 5));
        let frame = |tags: &[u8]| {
            let mut frame = [&[2; 12], tags, &[8, 0, 0x45], &[0; LONGEST]].concat();
            frame.truncate(LONGEST);
            <[u8; LONGEST]>::try_from(frame).unwrap()
        };
        let frames = [
            (Tags::NONE, frame(&[])),
            (one, frame(&[0x81, 0, 0xe0, 5])),
            (two, frame(&[0x88, 0xa8, 0xf0, 7, 0x81, 0, 0x10, 5])),
        ];
        for (tags, frame) in &frames {
            let found = [
                Tags::NONE.kind_behind::<0>(frame).filter(|kind| !is_tag(*kind)),
                one.kind_behind::<LENGTH>(frame).filter(|kind| !is_tag(*kind)),
                two.kind_behind::<{ 2 * LENGTH }>(frame),
            ];
            assert_eq!(found, frames.each_ref().map(|(other, _)| (other == tags).then_some(0x0800)));
        }
        for at in [12, 13, 14, 15, 16, 17, 18, 19] {
            let mut other = frames[2].1;
            other[at] ^= 1;
            assert_eq!(two.kind_behind::<{ 2 * LENGTH }>(&other), None);
        }
    }

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
