//! How fast `weir replay` is: packets a second of one core, from a capture in memory to the table or to lines.
//!
//! The capture is made here: half of its packets carry data, the other half acknowledge it, each of a flow chosen at random, headers only as
//! `tcpdump -s 96` keeps them.

use std::{
    io::{Cursor, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use weir::replay::{self, Form, Options, Progress, capture::Capture};
use weir_benches::summary::median;

/// How fast captures are replayed, in memory
#[derive(Parser)]
struct Arguments {
    /// Rounds of each case; the median is shown
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Packets of a capture
    #[arg(long, default_value_t = 3_000_000)]
    packets: usize,
    /// The core to run on; default: the last one
    #[arg(long)]
    core: Option<usize>,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
}

/// A case: its name, its flows, what comes out, whether customers are named, whether the capture is pcapng.
const CASES: [(&str, u32, Option<Form>, bool, bool); 7] = [
    ("table, 1,000 flows", 1_000, None, false, false),
    ("table, 1,000 flows, pcapng", 1_000, None, false, true),
    ("table, 1,000 flows, 65,536 customers", 1_000, None, true, false),
    ("table, 100,000 flows", 100_000, None, false, false),
    ("table, 100,000 flows, 65,536 customers", 100_000, None, true, false),
    ("lines as of pping, 1,000 flows", 1_000, Some(Form::Pping), false, false),
    ("lines as of pping -m, 1,000 flows", 1_000, Some(Form::PpingMachine), false, false),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = arguments.core.map(|id| core_affinity::CoreId { id }).or(cores.last().copied());
    if let Some(core) = core
        && !core_affinity::set_for_current(core)
    {
        eprintln!("not pinned: core {} can't be used", core.id);
    }
    let mut customers = tempfile::NamedTempFile::new()?;
    for number in 0..=u16::MAX {
        let [high, low] = number.to_be_bytes();
        writeln!(customers, "10.{high}.{low}.0/24 customer-{number:05}")?;
    }
    customers.flush()?;
    let mut documents = Vec::new();
    for (name, flows, form, named, newer) in CASES {
        eprintln!("{name} …");
        let capture: Arc<[u8]> = capture(flows, arguments.packets, newer).into();
        let options = Options {
            captures: Vec::new(),
            form,
            prefixes: named.then(|| PathBuf::from(customers.path())),
            interval: Duration::from_millis(100),
            handshakes: false,
            flows: replay::FLOWS,
        };
        let mut rates = Vec::new();
        let mut samples = 0;
        for _ in 0..arguments.rounds {
            let opened = Capture::new("memory".into(), Cursor::new(Arc::clone(&capture)))?;
            let begin = processor_time();
            let end = replay::measure(vec![opened], &options, &Progress::hidden(), &mut std::io::sink())
                .context("the replay did not end well")?;
            rates.push(end.packets as f64 / (processor_time() - begin).as_secs_f64() / 1e6);
            ensure!(end.packets == arguments.packets as u64 && end.faults.is_empty(), "not all was read");
            samples = end.samples;
        }
        let rate = median(rates);
        if arguments.json {
            documents.push(serde_json::json!({
                "case": name, "packets_a_second": (rate * 1e6) as u64, "bytes": capture.len(), "samples": samples,
            }));
        } else {
            println!("{name}: {rate:.1} million packets a second, {samples} samples");
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&documents)?);
    }
    Ok(())
}

/// What this thread has had of its core: what others have had of it meanwhile does not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Ethernet, IPv4, and TCP with timestamps.
const HEADERS: usize = 14 + 20 + 32;
/// Bytes of data that were cut off.
const PAYLOAD: u16 = 1400;

#[derive(Clone, Copy, Default)]
struct Flow {
    sequence: u32,
    tsval: u32,
    /// The next packet is the answer.
    answer: bool,
}

fn capture(flows: u32, packets: usize, newer: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + packets * (HEADERS + 36));
    let words = |bytes: &mut Vec<u8>, words: &[u32]| {
        words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    };
    if newer {
        words(&mut bytes, &[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28]);
        // An interface with if_tsresol 9.
        words(&mut bytes, &[1, 32, 1, 0, 9 | 1 << 16, 9, 0, 32]);
    } else {
        words(&mut bytes, &[0xa1b2_3c4d, 2 | 4 << 16, 0, 0, 96, 1]);
    }
    let mut states = vec![Flow::default(); flows as usize];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut time = 1_700_000_000_000_000_000_u64;
    for number in 0..packets {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // A packet a microsecond.
        time += 1_000;
        let flow = ((u128::from(random) * u128::from(flows)) >> 64) as usize;
        let length = u32::from(PAYLOAD) + HEADERS as u32;
        let before = bytes.len();
        if newer {
            let captured = HEADERS as u32;
            let size = 32 + captured.next_multiple_of(4);
            words(&mut bytes, &[6, size, 0, (time >> 32) as u32, time as u32, captured, length]);
            packet(&mut bytes, flow as u32, &mut states[flow], (time / 1_000_000) as u32, number);
            bytes.resize(before + size as usize - 4, 0);
            words(&mut bytes, &[size]);
        } else {
            let (seconds, rest) = (time / 1_000_000_000, time % 1_000_000_000);
            words(&mut bytes, &[seconds as u32, rest as u32, HEADERS as u32, length]);
            packet(&mut bytes, flow as u32, &mut states[flow], (time / 1_000_000) as u32, number);
        }
    }
    bytes
}

/// The next packet of a flow: data, or the answer to it.
fn packet(bytes: &mut Vec<u8>, flow: u32, state: &mut Flow, tsval: u32, number: usize) {
    // Sixteen flows a client; clients are spread over 10.0.0.0/8.
    let client = 0x0a00_0000 | (flow >> 4).wrapping_mul(0x9e35) & 0x00ff_ffff;
    let (mut source, mut destination) = (0xc0a8_0001_u32, client);
    let (mut from, mut to) = (443_u16, 1024 + (flow & 15) as u16);
    let (sequence, acknowledgement, echo, payload);
    if state.answer {
        (source, destination, from, to) = (destination, source, to, from);
        (sequence, acknowledgement, echo, payload) = (1, state.sequence, state.tsval, 0);
    } else {
        (sequence, acknowledgement, echo, payload) = (state.sequence, 1, 0, PAYLOAD);
        state.sequence = state.sequence.wrapping_add(u32::from(PAYLOAD));
        state.tsval = tsval;
    }
    state.answer = !state.answer;
    bytes.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    bytes.extend([0x45, 0]);
    bytes.extend((52 + payload).to_be_bytes());
    bytes.extend((number as u16).to_be_bytes());
    bytes.extend([0x40, 0, 63, 6, 0, 0]);
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(u32::to_be_bytes(acknowledgement));
    bytes.extend([0x80, 0x10, 0x20, 0, 0, 0, 0, 0, 1, 1, 8, 10]);
    bytes.extend(tsval.to_be_bytes());
    bytes.extend(u32::to_be_bytes(echo));
}
