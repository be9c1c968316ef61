//! The readers of captures over any bytes, and what a replay does with each packet to find its transport's header.
//!
//! Reading must end, with packets that lie in the capture or a fault that does. The sources are `weir replay`'s own; the crate that
//! they belong to would bring libbpf and its C along.
#![no_main]

#[allow(dead_code, reason = "only the readers are wanted")]
#[path = "../../dataplane/src/replay/capture/mod.rs"]
mod capture;
#[path = "../../dataplane/src/replay/ip.rs"]
mod ip;
#[path = "../../dataplane/src/replay/link.rs"]
mod link;

use std::io::Cursor;

use capture::{Capture, Fault};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let packed = bytes.starts_with(&[0x1f, 0x8b]);
    let Ok(mut capture) = Capture::new("it".into(), Cursor::new(bytes.to_vec())) else { return };
    let mut captured = 0;
    loop {
        match capture.advance() {
            Ok(true) => {}
            Ok(false) => break,
            Err(Fault::Damaged { offset, .. } | Fault::Read { offset, .. }) => {
                assert!(packed || offset <= bytes.len() as u64);
                break;
            }
            Err(fault) => panic!("{fault}"),
        }
        let Some(record) = capture.record() else { panic!("a packet that is not in the capture") };
        captured += record.bytes.len();
        assert!(packed || captured <= bytes.len());
        if let link::Contents::Ip(at) = link::contents(record.link, record.bytes, record.length)
            && let Some(ip) = record.bytes.get(at..)
            && let Some(datagram) = ip::Datagram::new(ip, record.length.saturating_sub(at as u32))
            && let Some(transport) = datagram.transport
        {
            assert!(transport.bytes.len() <= ip.len() && transport.bytes.len() <= transport.length as usize);
        }
    }
});
