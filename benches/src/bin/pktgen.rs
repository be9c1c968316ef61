//! `weir-pktgen`: sends packets as they are asked for, and counts them where they come out.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use weir_benches::pktgen::accounts::Received;
use weir_benches::pktgen::af_xdp::AfXdp;
use weir_benches::pktgen::live::Live;
use weir_benches::pktgen::pace::{Amount, Pace, Rate};
use weir_benches::pktgen::range::{Addresses, Ports};
use weir_benches::pktgen::receiver::Receiver;
use weir_benches::pktgen::shape::{Order, Shape, Traffic, Transport};
use weir_benches::pktgen::sizes::Sizes;
use weir_benches::pktgen::{Device, Sent, device};

/// Packets as they are asked for, and what becomes of them. Needs root
///
/// Each packet carries its stream, its number and its time (CLOCK_MONOTONIC: both ends are on one machine), by which the receiver knows loss,
/// reordering, copies and latency. That takes 18 bytes of a packet's data, or 10 of every packet where the smallest has no room for 18: a
/// frame of 64 bytes of UDP over IPv4 has room for 18, with a VLAN tag for 14, with two for 10; of UDP over IPv6 the least are 76 bytes, of TCP 80 and 100.
///
///   ip netns exec B weir-pktgen receive eth1 --duration 12s &
///   ip netns exec A weir-pktgen send eth0 --destination-mac 02:00:00:00:00:01 --source 10.0.1.2 --destination 10.0.2.0/24 --sizes imix --rate 100k
#[derive(Parser)]
#[command(name = "weir-pktgen", version, verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send packets by a device
    Send(Box<SendArguments>),
    /// Count what comes in by a device, and drop it; other traffic goes on to the kernel
    Receive(ReceiveArguments),
}

#[derive(Args)]
struct SendArguments {
    /// The device, in this network namespace
    device: String,
    /// What makes the packets
    #[arg(long, value_enum, default_value = "live")]
    backend: Backend,
    /// The device's queue that AF_XDP sends by
    #[arg(long, default_value_t = 0)]
    queue: u32,
    /// Where packets go next: the neighbour's MAC address
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    destination_mac: [u8; 6],
    /// Default: the device's own
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    source_mac: Option<[u8; 6]>,
    /// Source addresses: A, A-B or a prefix; IPv4 or IPv6
    #[arg(long, value_name = "ADDRESSES")]
    source: Addresses,
    /// Destination addresses, likewise
    #[arg(long, value_name = "ADDRESSES")]
    destination: Addresses,
    /// Source ports: P or P-Q
    #[arg(long, value_name = "PORTS", default_value = "4096")]
    source_ports: Ports,
    /// Destination ports, likewise
    #[arg(long, value_name = "PORTS", default_value = "8192")]
    destination_ports: Ports,
    /// How many combinations of ports and addresses are used: source ports change first, then destination ports, destinations, sources [default: all]
    #[arg(long)]
    flows: Option<u32>,
    /// Which of them comes next
    #[arg(long, value_enum, default_value = "increment")]
    order: Order,
    /// UDP, or TCP segments with timestamps
    #[arg(long, value_enum, default_value = "udp")]
    transport: Transport,
    /// Of TCP: how old the timestamps are that segments echo. With both directions sent, each at least a packet per flow and millisecond, that is the round-trip time that a listener in between finds
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = humantime::parse_duration)]
    echo_delay: Duration,
    /// VLAN, or outer,inner for QinQ
    #[arg(long, value_name = "ID", value_delimiter = ',', num_args = 1..=2)]
    vlan: Vec<u16>,
    /// Bytes of frames with the check sequence (that of 64 has 60 in memory): 64, 64,128 in turn, 64:7,594:4,1518:1, or imix, which is the same
    #[arg(long, default_value = "64")]
    sizes: Sizes,
    /// Packets a second (250k, 1.5M) or bits a second of frames with check sequences (2Gbit); 0: as fast as it goes
    #[arg(long, default_value = "0")]
    rate: Rate,
    /// Packets that follow each other at once, at most 64 [default: 1 below 100k packets a second, else what 10 µs hold; 64 without a rate]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    burst: Option<u32>,
    /// How long; without this and --count until Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// How many packets
    #[arg(long)]
    count: Option<u64>,
    /// What the receiver tells this traffic apart by
    #[arg(long, default_value_t = 0)]
    stream: u8,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ReceiveArguments {
    /// The device, in this network namespace
    device: String,
    /// Streams that are told apart: those from 0 on
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    streams: u32,
    /// How long; without this until Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// The kernel, over XDP live frames: the fastest (Linux 5.18)
    Live,
    /// AF_XDP rings: for devices that cannot send frames of XDP
    AfXdp,
}

/// What was sent, as JSON.
#[derive(Serialize)]
struct SentDocument {
    packets: u64,
    /// Without check sequences.
    bytes: u64,
    seconds: f64,
    flows: u32,
    /// By the device's own counter, and whoever else has sent by it.
    device_packets: u64,
}

/// What was received, as JSON.
#[derive(Serialize)]
struct ReceivedDocument {
    streams: Vec<Received>,
    /// Not the generator's: they went on to the kernel.
    others: u64,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Send(arguments) => send(&arguments),
        Command::Receive(arguments) => receive(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-pktgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn send(arguments: &SendArguments) -> Result<()> {
    let device = ready(&arguments.device)?;
    let shape = Shape::new(&Traffic {
        source_mac: arguments.source_mac.unwrap_or(device.mac),
        destination_mac: arguments.destination_mac,
        vlans: arguments.vlan.clone(),
        sources: arguments.source,
        destinations: arguments.destination,
        source_ports: arguments.source_ports,
        destination_ports: arguments.destination_ports,
        transport: arguments.transport,
        sizes: arguments.sizes.clone(),
        flows: arguments.flows,
        order: arguments.order,
        stream: arguments.stream,
        echo: arguments.echo_delay,
    })?;
    ensure!(
        shape.needed_mtu() <= device.mtu,
        "{} has an MTU of {}, but the longest of these packets needs {}: `ip link set dev {} mtu {2}`, or smaller --sizes",
        device.name,
        device.mtu,
        shape.needed_mtu(),
        device.name
    );
    let rate = arguments.rate.packets(&arguments.sizes);
    let pace = Pace::new(rate, arguments.burst);
    let amount = Amount { packets: arguments.count, time: arguments.duration };
    let stop = stop_on_signals()?;
    let before = device.sent()?;
    let sent = match arguments.backend {
        Backend::Live => Live::new(&shape, &device)?.send(pace, amount, &stop)?,
        Backend::AfXdp => AfXdp::new(&shape, &device, arguments.queue)?.send(pace, amount, &stop)?,
    };
    let device_packets = device.sent()?.saturating_sub(before);
    let Sent { packets, bytes, time } = sent;
    let seconds = time.as_secs_f64();
    let document = SentDocument { packets, bytes, seconds, flows: shape.flows(), device_packets };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        let rate = sent.rate();
        println!(
            "sent {packets} packets, {bytes} bytes in {seconds:.3} s: {:.4} Mpps, {:.4} Gbit/s with check sequences, {} flows, {pace}; by {}'s counter {device_packets}",
            rate / 1e6,
            (bytes + 4 * packets) as f64 / packets.max(1) as f64 * 8.0 * rate / 1e9,
            shape.flows(),
            device.name
        );
    }
    if packets > 0 && device_packets == 0 && arguments.backend == Backend::Live {
        bail!(
            "{} has sent none of them: its driver must be able to send frames of XDP. A veth does when its other end has an XDP program or GRO (there: `ethtool -K \
             DEVICE gro on`); --backend af-xdp does without",
            device.name
        );
    }
    Ok(())
}

fn receive(arguments: &ReceiveArguments) -> Result<()> {
    let device = ready(&arguments.device)?;
    let stop = stop_on_signals()?;
    let receiver = Receiver::attach(&device, arguments.streams)?;
    eprintln!("counting what comes in by {}", device.name);
    let begin = Instant::now();
    while !stop.load(Ordering::Relaxed) && arguments.duration.is_none_or(|time| begin.elapsed() < time) {
        thread::sleep(Duration::from_millis(20));
    }
    let document = ReceivedDocument { streams: receiver.received()?, others: receiver.others()? };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        document.streams.iter().for_each(|stream| print!("{stream}"));
        println!("{} other packets went on to the kernel", document.others);
    }
    Ok(())
}

/// The device, if packets can be sent and received by it.
fn ready(name: &str) -> Result<Device> {
    let device = Device::named(name)?;
    ensure!(
        rustix::process::geteuid().is_root(),
        "XDP programs need root: run `sudo weir-pktgen …`, in the namespace of {name}"
    );
    ensure!(device.up, "{name} is down: `ip link set dev {name} up`");
    Ok(device)
}

/// Becomes true on Ctrl-C and its like; what was counted is still told then.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone()).context("cannot watch for Ctrl-C")?;
    }
    Ok(stop)
}

fn parse_mac(text: &str) -> io::Result<[u8; 6]> {
    device::mac(text).ok_or_else(|| io::Error::other("a MAC address is like 02:00:00:00:00:01"))
}
