//! A sample as weir records it in the ring `/rtt/events`.
//!
//! Numbers are little-endian, at these bytes:
//! ```text
//!  0 u64 number of the record in its row, from 0     64 u16 source port, 66 u16 destination port
//!  8 u64 time of the reply, UNIX nanoseconds         68 u8 method, 69 u8 0
//! 16 u64 round-trip time, nanoseconds                70 u16 port that the reply came in by
//! 24 u64 least of its flow and direction so far      72 u32 customer beyond whose side it was measured
//! 32 16 bytes source address of the reply            76 u32 customer on the other side
//! 48 16 bytes destination address                    80 u8 protocol, then zeros
//! ```
//! IPv4 addresses are mapped (`::ffff:a.b.c.d`), and a customer of all ones is none.

use std::net::{IpAddr, Ipv6Addr};

/// The ring.
pub const PATH: &str = "/rtt/events";

/// Bytes of a record that mean something.
pub const SIZE: usize = 81;

/// A round trip, and the packet that ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Samples in its row before it.
    pub number: u64,
    /// When the reply came, in UNIX nanoseconds.
    pub time: u64,
    /// How long it took, in nanoseconds.
    pub rtt: u64,
    /// The least that its flow and direction had so far.
    pub least: u64,
    /// Where the reply came from: what was measured lies between there and weir.
    pub source: Endpoint,
    /// Where it went.
    pub destination: Endpoint,
    /// What tells the reply to a packet.
    pub method: u8,
    /// The port that it came in by.
    pub port: u16,
    /// The customer that the reply came from.
    pub lan: Option<u32>,
    /// The customer that it went to.
    pub wan: Option<u32>,
    /// IP protocol number.
    pub protocol: u8,
}

/// An address and a port, or what stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// The ways to measure, by their numbers.
const METHODS: [&str; 4] = ["timestamp", "sequence", "echo", "handshake"];

impl Event {
    /// Understands a record; `None` if it is too short.
    pub fn of(record: &[u8]) -> Option<Event> {
        let number = |at: usize| Some(u64::from_le_bytes(*record.get(at..)?.first_chunk()?));
        let half = |at: usize| Some(u32::from_le_bytes(*record.get(at..)?.first_chunk()?));
        let short = |at: usize| Some(u16::from_le_bytes(*record.get(at..)?.first_chunk()?));
        let endpoint = |address: usize, port: usize| {
            let octets: [u8; 16] = *record.get(address..)?.first_chunk()?;
            Some(Endpoint { address: Ipv6Addr::from(octets).to_canonical(), port: short(port)? })
        };
        let customer = |at: usize| Some(Some(half(at)?).filter(|customer| *customer != u32::MAX));
        Some(Event {
            number: number(0)?,
            time: number(8)?,
            rtt: number(16)?,
            least: number(24)?,
            source: endpoint(32, 64)?,
            destination: endpoint(48, 66)?,
            method: *record.get(68)?,
            port: short(70)?,
            lan: customer(72)?,
            wan: customer(76)?,
            protocol: *record.get(80)?,
        })
    }

    /// What tells the reply to a packet.
    pub fn method(&self) -> String {
        METHODS.get(usize::from(self.method)).map_or_else(|| self.method.to_string(), |it| (*it).to_owned())
    }

    /// The protocol's name, or its number.
    pub fn protocol(&self) -> String {
        // IANA's assigned Internet protocol numbers.
        match self.protocol {
            1 => "ICMP".to_owned(),
            6 => "TCP".to_owned(),
            58 => "ICMPv6".to_owned(),
            number => number.to_string(),
        }
    }
}

/// Records for tests.
#[cfg(test)]
pub mod tests {
    use super::*;

    /// The bytes of a record.
    pub fn record(event: &Event) -> Vec<u8> {
        let mut record = vec![0; 88];
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let mut put = |at: usize, octets: &[u8]| record[at..at + octets.len()].copy_from_slice(octets);
        for (at, number) in [event.number, event.time, event.rtt, event.least].into_iter().enumerate() {
            put(8 * at, &number.to_le_bytes());
        }
        for (at, end) in [event.source, event.destination].into_iter().enumerate() {
            put(32 + 16 * at, &octets(end.address));
            put(64 + 2 * at, &end.port.to_le_bytes());
        }
        put(68, &[event.method]);
        put(70, &event.port.to_le_bytes());
        put(72, &event.lan.unwrap_or(u32::MAX).to_le_bytes());
        put(76, &event.wan.unwrap_or(u32::MAX).to_le_bytes());
        put(80, &[event.protocol]);
        record
    }

    /// A sample of 1.543210 ms.
    pub fn event() -> Event {
        let end = |text: &str, port| Endpoint { address: text.parse().unwrap(), port };
        Event {
            number: 7,
            time: 1_753_281_296_123_456_789,
            rtt: 1_543_210,
            least: 999_600,
            source: end("192.0.2.7", 443),
            destination: end("10.1.2.3", 51_000),
            method: 0,
            port: 1,
            lan: None,
            wan: Some(2),
            protocol: 6,
        }
    }

    #[test]
    fn a_record_is_understood() {
        let six = Endpoint { address: "2001:db8::1".parse().unwrap(), port: 9 };
        let other = Event { lan: Some(0), wan: None, method: 2, protocol: 58, source: six, ..event() };
        for event in [event(), other] {
            let record = record(&event);
            assert_eq!(Event::of(&record), Some(event));
            assert!(Event::of(&record[..SIZE]).is_some());
            (0..SIZE).for_each(|length| assert_eq!(Event::of(&record[..length]), None));
        }
    }

    #[test]
    fn what_has_no_name_is_a_number() {
        let event = Event { method: 9, protocol: 132, ..event() };
        assert_eq!((event.method(), event.protocol()), ("9".to_owned(), "132".to_owned()));
    }
}
