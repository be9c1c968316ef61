//! The receiver in the kernel: an XDP program that counts the generator's packets and drops them, before anything else is made of them.

use anyhow::Result;
use libbpf_rs::{Link, MapCore as _, MapFlags, MapHandle};

use crate::pktgen::Device;
use crate::pktgen::accounts::{Received, STREAM};
use crate::pktgen::object::Loaded;

/// A receiver on one device; off it when dropped, and at the latest with the process.
pub struct Receiver {
    streams: MapHandle,
    others: MapHandle,
    count: u32,
    /// Where it is; tests feed it by hand instead.
    link: Option<Link>,
    program: Loaded,
}

impl Receiver {
    /// Counts what comes in by a device of the calling thread's network namespace, of streams 0 to `streams` − 1. All else goes on to the kernel.
    pub fn attach(device: &Device, streams: u32) -> Result<Receiver> {
        let mut receiver = Receiver::load(streams)?;
        receiver.link = Some(receiver.program.attach(device)?);
        Ok(receiver)
    }

    fn load(streams: u32) -> Result<Receiver> {
        let program = Loaded::receiver(|object| {
            for mut map in object.maps_mut() {
                if map.name() == "streams" {
                    map.set_max_entries(streams)?;
                }
            }
            Ok(())
        })?;
        Ok(Receiver {
            streams: program.map("streams")?,
            others: program.map("others")?,
            count: streams,
            link: None,
            program,
        })
    }

    /// What has come of each stream that anything has come of.
    pub fn received(&self) -> Result<Vec<Received>> {
        let mut all = Vec::new();
        for stream in 0..self.count {
            let value = self.streams.lookup(&stream.to_ne_bytes(), MapFlags::LOCK)?.unwrap_or_default();
            all.extend(Received::parse(stream as u8, &value)?);
        }
        Ok(all)
    }

    /// What has come that was none of the streams', and went on to the kernel.
    pub fn others(&self) -> Result<u64> {
        let values = self.others.lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
        let count = |value: &Vec<u8>| value.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        Ok(values.iter().map(count).sum())
    }

    /// Forgets all streams.
    pub fn reset(&self) -> Result<()> {
        for stream in 0..self.count {
            self.streams.update(&stream.to_ne_bytes(), &[0; STREAM], MapFlags::LOCK)?;
        }
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // off the device before the program goes
        self.link.take();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use libbpf_rs::libbpf_sys::{XDP_DROP, XDP_PASS};

    use super::*;
    use crate::pktgen::pace::now;
    use crate::pktgen::range::{Ports, Range};
    use crate::pktgen::shape::{Order, Shape, Traffic, Transport};
    use crate::pktgen::sizes::Sizes;

    /// A receiver and what makes packets for it; `None` where there can be none.
    fn script(vlans: &[u16], transport: Transport) -> Option<(Receiver, Shape)> {
        if let Some(reason) = weir_tests::scenario::missing() {
            println!("SKIP {}: {reason}", std::thread::current().name().unwrap_or("a test"));
            return None;
        }
        let port = |first| Ports(Range { first, count: 1 });
        let shape = Shape::new(&Traffic {
            source_mac: [2; 6],
            destination_mac: [4; 6],
            vlans: vlans.to_vec(),
            sources: IpAddr::from([10, 0, 1, 2]).into(),
            destinations: IpAddr::from([10, 0, 2, 2]).into(),
            source_ports: port(1),
            destination_ports: port(2),
            transport,
            sizes: Sizes::one(if transport == Transport::Tcp { 88 } else { 64 }),
            flows: None,
            order: Order::Increment,
            stream: 3,
            echo: Duration::ZERO,
        });
        Some((Receiver::load(4).expect("the program"), shape.expect("a shape")))
    }

    /// Feeds it the packets of these numbers, sent `age` ago.
    fn feed(receiver: &Receiver, shape: &Shape, numbers: impl IntoIterator<Item = u64>, age: Duration) {
        let mut frame = vec![0; shape.longest()];
        for number in numbers {
            let time = now() - age.as_nanos() as u64;
            let length = shape.write(number, time, &mut [0], &mut frame);
            let (verdict, _) = receiver.program.run_once(&frame[..length]).expect("a run");
            assert_eq!(verdict, XDP_DROP);
        }
    }

    fn stream(receiver: &Receiver) -> Received {
        let streams = receiver.received().expect("counts");
        assert_eq!((streams.len(), streams[0].stream), (1, 3));
        streams[0].clone()
    }

    #[test]
    fn what_is_lost_late_or_twice_is_counted_exactly() {
        // untagged in the long form, with two tags in the short one, TCP
        for (vlans, transport) in
            [(&[][..], Transport::Udp), (&[5, 6], Transport::Udp), (&[5], Transport::Tcp)]
        {
            let Some((receiver, shape)) = script(vlans, transport) else { return };
            let age = Duration::from_millis(1);
            // 3, 7, 8 are missing; 5 is late, and 12 is late and comes again; 10 comes three times
            feed(&receiver, &shape, [0, 1, 2, 4, 6, 5, 9, 10, 10, 11, 13, 14, 12, 10, 12], age);
            let it = stream(&receiver);
            assert_eq!((it.packets, it.once(), it.lowest, it.highest), (15, 12, 0, 14));
            assert_eq!((it.lost, it.reordered, it.duplicates, it.ancient), (3, 2, 3, 0));
            assert_eq!((it.shortest, it.longest), (shape.longest() as u64, shape.longest() as u64));
            assert!(it.latency.min >= 1_000_000 && it.latency.max < 100_000_000, "{:?}", it.latency);
            // half of it is made up for, far behind the others
            feed(&receiver, &shape, [1000, 7, 3], age);
            let it = stream(&receiver);
            assert_eq!((it.lost, it.reordered, it.duplicates, it.ancient), (986, 4, 3, 0));
            receiver.reset().expect("a reset");
            assert!(receiver.received().expect("counts").is_empty());
        }
    }

    #[test]
    fn a_stream_may_begin_anywhere_and_jump_far() {
        let Some((receiver, shape)) = script(&[], Transport::Udp) else { return };
        let far = 1 << 40;
        feed(
            &receiver,
            &shape,
            [far + 1, far, far + 131_072, far + 2, far + 1, far + 131_072 * 3, far + 40],
            Duration::ZERO,
        );
        let it = stream(&receiver);
        assert_eq!((it.packets, it.lowest, it.highest), (7, far, far + 131_072 * 3));
        // far + 1 was remembered until the word was needed for what is 131,072 above it, and then nobody knew; that far + 40 was new, is known
        assert_eq!((it.reordered, it.duplicates, it.ancient), (2, 0, 2));
        assert_eq!(it.lost, 131_072 * 3 + 1 - 5);
    }

    #[test]
    fn a_short_number_goes_on_behind_its_end() {
        let Some((receiver, shape)) = script(&[5, 6], Transport::Udp) else { return };
        let end = u64::from(u32::MAX);
        feed(&receiver, &shape, [end - 1, end, end + 2, end + 1, end + 2], Duration::ZERO);
        let it = stream(&receiver);
        assert_eq!((it.lowest, it.highest, it.lost), (end - 1, end + 2, 0));
        assert_eq!((it.reordered, it.duplicates), (1, 1));
    }

    #[test]
    fn latencies_are_in_the_bins_of_their_times() {
        let Some((receiver, shape)) = script(&[], Transport::Udp) else { return };
        for (count, milliseconds) in [(90, 10), (9, 100), (1, 1000)] {
            let numbers = milliseconds * 1000..milliseconds * 1000 + count;
            feed(&receiver, &shape, numbers, Duration::from_millis(milliseconds));
        }
        let latency = stream(&receiver).latency;
        let near = |time: u64, milliseconds: u64| {
            let least = milliseconds * 984_000;
            assert!((least..least * 13 / 10).contains(&time), "{time} ns: not {milliseconds} ms");
        };
        [(latency.p50, 10), (latency.p90, 10), (latency.p99, 100), (latency.max, 1000)]
            .into_iter()
            .for_each(|(time, milliseconds)| near(time, milliseconds));
        assert!(latency.min >= 10_000_000 && latency.mean >= 28_000_000, "{latency:?}");
    }

    #[test]
    fn what_is_not_ours_goes_on_to_the_kernel() {
        let Some((receiver, shape)) = script(&[], Transport::Udp) else { return };
        let mut frame = vec![0; shape.longest()];
        shape.write(0, now(), &mut [0], &mut frame);
        let pass = |frame: &[u8]| {
            assert_eq!(receiver.program.run_once(frame).expect("a run").0, XDP_PASS, "{frame:?}");
        };
        // the magic, a stream that nobody asked for, IP's length, IP options, another protocol, not IP, cut off
        for (at, value) in [(42, 0), (44, 4), (17, 37), (14, 0x46), (23, 1), (12, 9)] {
            let mut other = frame.clone();
            other[at] = value;
            pass(&other);
        }
        (14..frame.len()).for_each(|length| pass(&frame[..length]));
        assert!(receiver.received().expect("counts").is_empty());
        assert_eq!(receiver.others().expect("a count"), 6 + frame.len() as u64 - 14);
    }
}
