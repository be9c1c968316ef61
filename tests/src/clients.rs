//! What hosts do: real sockets in their namespaces, with contents that are checked byte by byte.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::lab::Host;

/// How long a client waits for anything before the test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends `bytes` bytes over TCP from one host to the other; each is checked where it arrives. Returns the time taken.
pub fn tcp_transfer(from: &Host, to: &Host, bytes: usize) -> Result<Duration> {
    tcp_transfer_between(from, to, to.address, bytes)
}

/// As [`tcp_transfer`], to one address of several that `to` has.
pub fn tcp_transfer_between(
    from: &Host,
    to: &Host,
    address: impl Into<IpAddr>,
    bytes: usize,
) -> Result<Duration> {
    let address = address.into();
    let listener = to.namespace.run(|| TcpListener::bind((address, 0)))??;
    let target = listener.local_addr()?;
    let mut sender = from
        .namespace
        .run(|| TcpStream::connect_timeout(&target, PATIENCE))?
        .with_context(|| format!("{} cannot connect to {target}", from.address))?;
    let (mut receiver, _) = listener.accept()?;
    sender.set_write_timeout(Some(PATIENCE))?;
    receiver.set_read_timeout(Some(PATIENCE))?;

    let started = Instant::now();
    thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<()> {
            let mut block = [0; 64 * 1024];
            let mut at = 0;
            while at < bytes {
                let length = block.len().min(bytes - at);
                fill(&mut block[..length], at);
                sender
                    .write_all(&block[..length])
                    .with_context(|| format!("sending stopped at byte {at}"))?;
                at += length;
            }
            Ok(())
        });
        let mut block = [0; 64 * 1024];
        let mut expected = [0; 64 * 1024];
        let mut at = 0;
        let received = loop {
            let length = match receiver.read(&mut block) {
                Ok(0) => break Ok(at),
                Ok(length) => length,
                Err(error) => break Err(error).with_context(|| format!("receiving stopped at byte {at}")),
            };
            fill(&mut expected[..length], at);
            if block[..length] != expected[..length] {
                break Err(anyhow::anyhow!("wrong bytes between {at} and {}", at + length));
            }
            at += length;
        };
        drop(receiver);
        let sent = sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
        let received = received?;
        sent?;
        ensure!(received == bytes, "{received} of {bytes} bytes arrived");
        Ok(started.elapsed())
    })
}

/// A TCP transfer that goes on until it is dropped.
#[derive(Debug)]
pub struct Stream {
    arrived: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Stream {
    /// Starts sending as fast as TCP allows.
    pub fn start(from: &Host, to: &Host) -> Result<Stream> {
        Stream::start_with(from, to, "cubic")
    }

    /// The same with one of the kernel's congestion controls: `cubic`, `bbr`.
    pub fn start_with(from: &Host, to: &Host, congestion: &str) -> Result<Stream> {
        Stream::start_between(from, to, to.address, congestion)
    }

    /// The same to one address of several that `to` has.
    pub fn start_between(
        from: &Host,
        to: &Host,
        address: impl Into<IpAddr>,
        congestion: &str,
    ) -> Result<Stream> {
        let address = address.into();
        let listener = to.namespace.run(|| TcpListener::bind((address, 0)))??;
        let target = listener.local_addr()?;
        let mut sender = from
            .namespace
            .run(|| TcpStream::connect_timeout(&target, PATIENCE))?
            .with_context(|| format!("{} cannot connect to {target}", from.address))?;
        rustix::net::sockopt::set_tcp_congestion(&sender, congestion)
            .with_context(|| format!("the kernel has no {congestion}"))?;
        let (mut receiver, _) = listener.accept()?;
        // neither waits for ever for the other
        sender.set_write_timeout(Some(Duration::from_millis(100)))?;
        receiver.set_read_timeout(Some(Duration::from_millis(100)))?;

        let (arrived, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let sending = thread::spawn(move || {
            let block = [0x77; 64 * 1024];
            while !stopped.load(Ordering::Relaxed) {
                // a full buffer is tried again
                let _ = sender.write(&block);
            }
        });
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&arrived));
        let receiving = thread::spawn(move || {
            let mut block = [0; 64 * 1024];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(length) = receiver.read(&mut block) {
                    count.fetch_add(length as u64, Ordering::Relaxed);
                }
            }
        });
        Ok(Stream { arrived, stop, threads: vec![sending, receiving] })
    }

    /// Bytes that have arrived so far.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A host that loads page after page from another over one TCP connection, until it is dropped.
#[derive(Debug)]
pub struct Browsing {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Browsing {
    /// Bytes of a question, and of the page that answers it.
    const QUESTION: usize = 200;
    const PAGE: usize = 48 * 1024;
    /// Between a page and the next question.
    const PAUSE: Duration = Duration::from_millis(20);

    /// Starts on the host `from`.
    pub fn start(from: &Host, to: &Host) -> Result<Browsing> {
        let listener = to.namespace.run(|| TcpListener::bind((to.address, 0)))??;
        let target = listener.local_addr()?;
        let mut client = from
            .namespace
            .run(|| TcpStream::connect_timeout(&target, PATIENCE))?
            .with_context(|| format!("{} cannot connect to {target}", from.address))?;
        let (mut server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // The client's end ends the server.
        let asking = thread::spawn(move || {
            let mut page = vec![0; Browsing::PAGE];
            while !stopped.load(Ordering::Relaxed)
                && client.write_all(&[b'?'; Browsing::QUESTION]).is_ok()
                && client.read_exact(&mut page).is_ok()
            {
                thread::sleep(Browsing::PAUSE);
            }
        });
        let answering = thread::spawn(move || {
            let mut question = [0; Browsing::QUESTION];
            while server.read_exact(&mut question).is_ok()
                && server.write_all(&[b'!'; Browsing::PAGE]).is_ok()
            {}
        });
        Ok(Browsing { stop, threads: vec![asking, answering] })
    }
}

impl Drop for Browsing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The stream's contents from byte `at` on: no two stretches of 64 KiB are alike.
fn fill(block: &mut [u8], at: usize) {
    for (offset, byte) in block.iter_mut().enumerate() {
        let position = at + offset;
        *byte = (position ^ (position >> 8) ^ (position >> 16)) as u8;
    }
}

/// All of a host's addresses of the version of this one.
fn any(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Answers every datagram with itself until dropped.
#[derive(Debug)]
pub struct UdpEcho {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl UdpEcho {
    /// Starts on a free port of `host`.
    pub fn start(host: &Host) -> Result<UdpEcho> {
        UdpEcho::start_at(host, host.address, 0)
    }

    /// Starts on this port of `host`, to be asked at one of the host's addresses.
    pub fn start_at(host: &Host, address: impl Into<IpAddr>, port: u16) -> Result<UdpEcho> {
        let address = address.into();
        let socket = host.namespace.run(|| UdpSocket::bind((any(address), port)))??;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let address = SocketAddr::from((address, socket.local_addr()?.port()));
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&asked));
        let thread = thread::spawn(move || {
            let mut datagram = vec![0; 64 * 1024];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, sender)) = socket.recv_from(&mut datagram) {
                    count.fetch_add(1, Ordering::Relaxed);
                    // a route that is gone for the moment is the test's business, not the server's
                    let _ = socket.send_to(&datagram[..length], sender);
                }
            }
        });
        Ok(UdpEcho { address, asked, stop, thread: Some(thread) })
    }

    /// How many datagrams have come so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one datagram of `length` bytes from `client`, and checks that the same comes back.
    pub fn ask(&self, client: &Host, length: usize) -> Result<()> {
        let socket = client.namespace.run(|| UdpSocket::bind((any(self.address.ip()), 0)))??;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut datagram = vec![0; length];
        fill(&mut datagram, length);
        socket.send_to(&datagram, self.address)?;
        let mut answer = vec![0; 64 * 1024];
        let (received, _) =
            socket.recv_from(&mut answer).with_context(|| format!("no echo of {length} bytes"))?;
        ensure!(answer[..received] == datagram[..], "the echo of {length} bytes differs");
        Ok(())
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Small datagrams sent to an echo server all the time, and when each answer came: shows every outage.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Instant>>>,
    sent: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Probe {
    /// Between two datagrams: fine enough to measure outages to a hundredth of a second.
    const INTERVAL: Duration = Duration::from_millis(5);

    /// Starts sending from `client`.
    pub fn start(client: &Host, echo: &UdpEcho) -> Result<Probe> {
        let sender = client.namespace.run(|| UdpSocket::bind((any(echo.address().ip()), 0)))??;
        let receiver = sender.try_clone()?;
        receiver.set_read_timeout(Some(Duration::from_millis(50)))?;
        let target = echo.address();
        let mut probe = Probe {
            stop: Default::default(),
            answers: Default::default(),
            sent: Default::default(),
            threads: Vec::new(),
        };
        let (stop, sent) = (Arc::clone(&probe.stop), Arc::clone(&probe.sent));
        let sending = thread::spawn(move || {
            let mut number = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                if sender.send_to(&number.to_be_bytes(), target).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                number += 1;
                thread::sleep(Probe::INTERVAL);
            }
        });
        let (stop, answers) = (Arc::clone(&probe.stop), Arc::clone(&probe.answers));
        let receiving = thread::spawn(move || {
            let mut answer = [0; 64];
            while !stop.load(Ordering::Relaxed) {
                if receiver.recv_from(&mut answer).is_ok() {
                    answers.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                }
            }
        });
        probe.threads = vec![sending, receiving];
        Ok(probe)
    }

    /// Waits until an answer has come after `moment`, and says how long after; fails when `patience` is over.
    pub fn answered_after(&self, moment: Instant, patience: Duration) -> Result<Duration> {
        loop {
            let first = self.answers().iter().copied().find(|answer| *answer > moment);
            if let Some(answer) = first {
                return Ok(answer - moment);
            }
            ensure!(moment.elapsed() < patience, "no answer within {patience:?}");
            thread::sleep(Probe::INTERVAL);
        }
    }

    /// The longest time without an answer between two moments.
    pub fn longest_silence(&self, from: Instant, to: Instant) -> Duration {
        let mut last = from;
        let mut longest = Duration::ZERO;
        for answer in self.answers().iter().copied().filter(|answer| (from..to).contains(answer)).chain([to])
        {
            longest = longest.max(answer - last);
            last = answer;
        }
        longest
    }

    /// Datagrams sent and answers received so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.answers().len() as u64)
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Runs `ping` with these options on `host`, and returns all that it says; that answers are missing is no failure.
pub fn ping(host: &Host, options: &str) -> Result<String> {
    let output = host.namespace.command("ping").arg("-n").args(options.split_whitespace()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// Pings `address` `count` times, ten a second, and fails unless every answer comes.
pub fn ping_all(host: &Host, address: impl Into<IpAddr>, count: u32) -> Result<()> {
    let said = ping(host, &format!("-c {count} -i 0.1 -W 5 {}", address.into()))?;
    ensure!(said.contains(&format!(" {count} received")), "{said}");
    Ok(())
}

/// One TCP connection on which the two hosts take turns with a message of one byte each, `count` times. Returns how long each turn took.
pub fn tcp_ping_pong(from: &Host, to: &Host, count: usize) -> Result<Vec<Duration>> {
    tcp_ping_pong_between(from, to, to.address, count)
}

/// As [`tcp_ping_pong`], to one address of several that `to` has.
pub fn tcp_ping_pong_between(
    from: &Host,
    to: &Host,
    address: impl Into<IpAddr>,
    count: usize,
) -> Result<Vec<Duration>> {
    let address = address.into();
    let listener = to.namespace.run(|| TcpListener::bind((address, 0)))??;
    let target = listener.local_addr()?;
    thread::scope(|scope| {
        let answering = scope.spawn(move || -> Result<()> {
            let (mut server, _) = listener.accept()?;
            server.set_nodelay(true)?;
            server.set_read_timeout(Some(PATIENCE))?;
            let mut byte = [0];
            while server.read(&mut byte)? == 1 {
                server.write_all(&byte)?;
            }
            Ok(())
        });
        let mut client = from
            .namespace
            .run(|| TcpStream::connect_timeout(&target, PATIENCE))?
            .with_context(|| format!("{} cannot connect to {target}", from.address))?;
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(PATIENCE))?;
        let mut turns = Vec::new();
        for turn in 0..count {
            let (sent, mut answer) = (Instant::now(), [0]);
            client.write_all(&[turn as u8])?;
            client.read_exact(&mut answer)?;
            ensure!(answer == [turn as u8], "the answer to {turn} is {answer:?}");
            turns.push(sent.elapsed());
        }
        drop(client);
        answering.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
        Ok(turns)
    })
}
