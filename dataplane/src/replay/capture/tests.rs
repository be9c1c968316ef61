use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;
use crate::replay::captures::{Pcap, Pcapng};

/// 2021-06-11, and a number of nanoseconds.
const TIME: u64 = 1_623_420_121_244_545_678;

type Packet = (Option<u64>, u32, u32, Vec<u8>);

/// The packets of a capture, and the fault that ends it.
fn read(bytes: &[u8]) -> (Vec<Packet>, Option<String>) {
    let mut packets = Vec::new();
    let mut capture = match Capture::new("it".into(), io::Cursor::new(bytes.to_vec())) {
        Ok(capture) => capture,
        Err(fault) => return (packets, Some(fault.to_string())),
    };
    loop {
        match capture.advance() {
            Ok(true) => {
                let record = capture.record().unwrap();
                packets.push((record.time, record.link.0, record.length, record.bytes.to_vec()));
            }
            Ok(false) => return (packets, None),
            Err(fault) => return (packets, Some(fault.to_string())),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn pcap_of_either_order_and_unit() {
    for big_endian in [false, true] {
        for nanoseconds in [false, true] {
            // The upper bits of the link are flags.
            let mut capture = Pcap::new(0xf400_0001, big_endian, nanoseconds);
            capture.packet(TIME, b"whole", 5);
            capture.packet(TIME + 1_000, b"cut", 1514);
            capture.packet(TIME + 2_000, b"", 0);
            let cut = |time: u64| Some(if nanoseconds { time } else { time / 1_000 * 1_000 });
            let expected = vec![
                (cut(TIME), 1, 5, b"whole".to_vec()),
                (cut(TIME + 1_000), 1, 1514, b"cut".to_vec()),
                (cut(TIME + 2_000), 1, 0, vec![]),
            ];
            assert_eq!(read(&capture.bytes), (expected.clone(), None));
            assert_eq!(read(&gzip(&capture.bytes)), (expected, None));
        }
    }
}

#[test]
fn pcapng_of_several_sections_and_interfaces() {
    let mut capture = Pcapng::default();
    let mut expected = Vec::new();
    for big_endian in [true, false] {
        capture.section(big_endian);
        capture.block(5, b"statistics, passed over");
        capture.interface(1, None, None);
        capture.interface(101, Some(9), None);
        capture.interface(276, Some(3), Some(-7));
        capture.interface(113, Some(0x80 | 10), Some(5));
        capture.interface(1, Some(12), None);
        capture.packet(0, TIME / 1_000, b"one", 3);
        capture.block(0x4000_0bad, b"unknown, passed over");
        capture.packet(1, TIME, b"five!", 1500);
        capture.packet(2, 9_001, b"four", 4);
        capture.packet(3, 1_536, b"", 0);
        capture.packet(4, 1_234_567_890_123_999, b"picoseconds", 11);
        capture.simple_packet(b"simple", 6);
        capture.simple_packet(b"simple, cut ", 1500);
        capture.obsolete_packet(1, TIME + 1, b"obsolete");
        expected.extend([
            (Some(TIME / 1_000 * 1_000), 1, 3, b"one".to_vec()),
            (Some(TIME), 101, 1500, b"five!".to_vec()),
            (Some(2_001_000_000), 276, 4, b"four".to_vec()),
            (Some(6_500_000_000), 113, 0, vec![]),
            (Some(1_234_567_890_123), 1, 11, b"picoseconds".to_vec()),
            (None, 1, 6, b"simple".to_vec()),
            (None, 1, 1500, b"simple, cut ".to_vec()),
            (Some(TIME + 1), 101, 8, b"obsolete".to_vec()),
        ]);
    }
    assert_eq!(read(&capture.bytes), (expected, None));
}

#[test]
fn a_capture_that_ends_too_early_gives_what_came_before() {
    let mut pcap = Pcap::new(1, false, true);
    let mut pcapng = Pcapng::default();
    pcapng.section(false);
    pcapng.interface(1, Some(9), None);
    let mut ends = [vec![pcap.bytes.len()], vec![pcapng.bytes.len()]];
    for number in 0..3_u8 {
        pcap.packet(TIME, &[number; 61], 61);
        pcapng.packet(0, TIME, &[number; 61], 61);
        ends[0].push(pcap.bytes.len());
        ends[1].push(pcapng.bytes.len());
    }
    for (bytes, ends) in [(pcap.bytes, &ends[0]), (pcapng.bytes, &ends[1])] {
        for end in ends[0]..=bytes.len() {
            let (packets, fault) = read(&bytes[..end]);
            let whole = ends.iter().rposition(|it| *it <= end).unwrap();
            assert_eq!(packets.len(), whole, "cut at {end}");
            if ends[whole] == end {
                assert_eq!(fault, None);
            } else {
                let fault = fault.unwrap();
                let place = format!("it: damaged at byte {}: the capture ends after ", ends[whole]);
                assert!(fault.starts_with(&place), "{fault}");
            }
        }
    }
}

#[test]
fn damage_is_named_with_its_place() {
    let mut pcap = Pcap::new(1, true, false);
    pcap.packet(TIME, b"good", 4);
    let at = pcap.bytes.len();
    pcap.packet(TIME, b"bad", 3);
    pcap.bytes[at + 8] = 0xff;
    let (packets, fault) = read(&pcap.bytes);
    assert_eq!(packets.len(), 1);
    assert_eq!(fault.unwrap(), "it: damaged at byte 44: the record claims a packet of 4278190083 bytes");
    let (packets, fault) = read(&gzip(&pcap.bytes));
    assert_eq!(packets.len(), 1);
    assert!(fault.unwrap().starts_with("it: damaged at byte 44 of what it unpacks to: "));

    let damaged = |damage: &dyn Fn(&mut Pcapng)| {
        let mut capture = Pcapng::default();
        capture.section(false);
        capture.interface(1, None, None);
        capture.packet(0, 1, b"good", 4);
        let at = capture.bytes.len();
        damage(&mut capture);
        capture.packet(0, 2, b"never seen", 10);
        let (packets, fault) = read(&capture.bytes);
        assert_eq!(packets.len(), 1);
        let fault = fault.unwrap();
        let place = format!("it: damaged at byte {at}: ");
        fault.strip_prefix(&place).unwrap_or_else(|| panic!("{fault} is not at {at}")).to_owned()
    };
    assert_eq!(
        damaged(&|it| it.packet(3, 1, b"", 0)),
        "a packet of interface 3, while 1 have been described"
    );
    assert_eq!(
        damaged(&|it| it.bytes.extend([6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        "a block of type 0x6 claims 0 bytes"
    );
    assert_eq!(
        damaged(&|it| it.bytes.extend([7, 0, 0, 0, 0xf0, 0xff, 0xff, 0x7f, 0, 0, 0, 0])),
        "a block of type 0x7 claims 2147483632 bytes"
    );
    assert_eq!(
        damaged(&|it| it.bytes.extend([7, 0, 0, 0, 12, 0, 0, 0, 16, 0, 0, 0])),
        "a block of type 0x7 claims 12 bytes where it begins and 16 where it ends"
    );
    assert_eq!(damaged(&|it| it.block(6, b"short")), "a block that is too short for its type");
    assert_eq!(damaged(&|it| it.block(1, b"")), "a block of type 0x1 contradicts itself");
    assert_eq!(damaged(&|it| it.block(0x0a0d_0d0a, b"what")), "a section header without its byte order");
    assert_eq!(
        damaged(&|it| it.block(6, &[[0; 12], [255; 12]].concat())),
        "a block of 36 bytes claims a packet of 4294967295"
    );
    let ticks = u64::MAX;
    assert_eq!(
        damaged(&|it| it.packet(0, ticks, b"", 0)),
        format!("a packet's time, {ticks} units, is not within the years 1970 to 2554")
    );
}

#[test]
fn what_is_no_capture_is_refused() {
    for bytes in [&b""[..], &gzip(b"")] {
        assert!(read(bytes).1.unwrap().starts_with("it: empty; "));
    }
    for bytes in [&b"\n"[..], b"#!/bin/sh\necho not a capture at all\n", &gzip(b"text")] {
        let (packets, fault) = read(bytes);
        assert_eq!(packets, []);
        assert!(fault.unwrap().starts_with("it: neither pcap nor pcapng"));
    }
    let missing = Capture::open(Path::new("/nowhere/it.pcap"), Arc::default()).err().unwrap().to_string();
    assert!(missing.starts_with("/nowhere/it.pcap: can't be opened: "), "{missing}");
}

#[test]
fn headers_that_are_cut_short_are_damage() {
    for big_endian in [false, true] {
        let mut newer = Pcapng::default();
        newer.section(big_endian);
        let wholes =
            [Pcap::new(1, big_endian, false).bytes, Pcap::new(1, big_endian, true).bytes, newer.bytes];
        for whole in wholes {
            for length in 4..whole.len() {
                let fault = read(&whole[..length]).1.unwrap();
                assert!(
                    fault.starts_with(&format!("it: damaged at byte 0: the capture ends after {length} ")),
                    "{fault}"
                );
            }
            assert_eq!(read(&whole), (vec![], None));
        }
    }
}

#[test]
fn interfaces_do_not_fill_the_memory() {
    let mut capture = Pcapng::default();
    capture.section(false);
    let before = capture.bytes.len();
    capture.interface(1, None, None);
    let interface = capture.bytes.split_off(before);
    capture.bytes.extend(interface.repeat(1 << 16));
    let at = capture.bytes.len();
    assert_eq!(read(&capture.bytes), (vec![], None));
    capture.bytes.extend(interface);
    let expected = format!("it: damaged at byte {at}: a section with more than 65536 interfaces");
    assert_eq!(read(&capture.bytes).1, Some(expected));
}

#[test]
fn gzip_in_several_members_and_gzip_cut_short() {
    let mut capture = Pcap::new(1, false, true);
    for number in 0..200_u8 {
        capture.packet(TIME, &[number; 200], 200);
    }
    let (first, second) = capture.bytes.split_at(1000);
    let (packets, fault) = read(&[gzip(first), gzip(second)].concat());
    assert_eq!((packets.len(), fault), (200, None));
    let packed = gzip(&capture.bytes);
    let (packets, fault) = read(&packed[..packed.len() - 20]);
    assert!(packets.len() < 200);
    let fault = fault.unwrap();
    assert!(fault.starts_with("it: can't be read on from byte "), "{fault}");
    assert!(fault.contains(" of what it unpacks to: "), "{fault}");
}

#[test]
fn progress_counts_the_bytes_of_the_file() {
    let mut capture = Pcap::new(1, false, true);
    capture.packet(TIME, b"packet", 6);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&capture.bytes).unwrap();
    let progress = Arc::new(AtomicU64::new(0));
    let mut read = Capture::open(file.path(), Arc::clone(&progress)).unwrap();
    while read.advance().unwrap() {}
    assert_eq!(progress.load(Ordering::Relaxed), capture.bytes.len() as u64);
}

fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let packets = prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..80)), 0..8);
    (packets, any::<[bool; 3]>()).prop_map(|(packets, [newer, big_endian, nanoseconds])| {
        if newer {
            let mut capture = Pcapng::default();
            capture.section(big_endian);
            capture.interface(1, nanoseconds.then_some(9), None);
            for (time, packet) in packets {
                capture.packet(0, u64::from(time) << 20, &packet, packet.len());
            }
            capture.bytes
        } else {
            let mut capture = Pcap::new(1, big_endian, nanoseconds);
            for (time, packet) in packets {
                capture.packet(u64::from(time) << 20, &packet, packet.len());
            }
            capture.bytes
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever the damage, reading ends, and what lies before the first damaged byte's record is what it was.
    #[test]
    fn damaged_captures_end(
        bytes in well_formed(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
    ) {
        let (before, fault) = read(&bytes);
        prop_assert_eq!(fault, None);
        let mut damaged = bytes.clone();
        let mut first = bytes.len();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            damaged[at] = byte;
            first = first.min(at);
        }
        damaged.truncate(end.index(bytes.len() + 1));
        let (after, _) = read(&damaged);
        let untouched = read(&bytes[..first.min(damaged.len())]).0.len();
        prop_assert!(after.len() >= untouched);
        prop_assert_eq!(&after[..untouched], &before[..untouched]);
    }
}
