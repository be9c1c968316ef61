//! A network namespace of a test's own, and a picture of its kernel built from weir's events.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir::kernel::{Address, Change, Event, Kernel, Link, Neighbour, Target};
use weir_graph::fib::{Address as Number, Prefix};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The versions of IP.
pub const VERSIONS: [u8; 2] = [4, 6];

/// `text` with each address of IPv4 in it as one of `version`: 10.1.2.3 as 2001:db8:a01:2::3, and a prefix of 8, 16, 24 or 32 bits as one of 40, 48,
/// 64 or 128. So one test serves both.
pub fn of(version: u8, text: &str) -> String {
    if version == 4 {
        return text.to_owned();
    }
    let part = |c: char| c.is_ascii_digit() || c == '.' || c == '/';
    let mut rest = text.replace("default", "0.0.0.0/0");
    rest.push(' ');
    let mut out = String::new();
    for piece in rest.split_inclusive(|c| !part(c)) {
        let word = piece.trim_end_matches(|c| !part(c));
        let (address, length) = word.split_once('/').unwrap_or((word, ""));
        match address.parse::<Ipv4Addr>().map(|address| address.octets()) {
            Ok([a, b, c, d]) => {
                let (net, host) = (u16::from_be_bytes([a, b]), u16::from(d));
                let (high, low) = if word == "0.0.0.0/0" { (0, 0) } else { (0x2001, 0xdb8) };
                out += &Ipv6Addr::new(high, low, net, u16::from(c), 0, 0, 0, host).to_string();
                out += match length {
                    "" => "",
                    "0" => "/0",
                    "8" => "/40",
                    "16" => "/48",
                    "24" => "/64",
                    _ => "/128",
                };
            }
            Err(_) => out += word,
        }
        out += &piece[word.len()..];
    }
    out.pop();
    out
}

/// Deleted when dropped, with everything in it.
pub struct Namespace {
    pub name: String,
    /// What its commands are [`of`].
    pub version: u8,
}

impl Namespace {
    /// None, said on stderr, if this machine does not let the test make one.
    pub fn new(test: &str, version: u8) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP {test}: needs root to make a network namespace");
            return None;
        }
        let name = format!("weir-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        match made {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                eprintln!("SKIP {test}: ip netns add: {}", String::from_utf8_lossy(&output.stderr).trim());
                return None;
            }
            Err(error) => {
                eprintln!("SKIP {test}: cannot run `ip` ({error}); install iproute2");
                return None;
            }
        }
        let namespace = Self { name, version };
        namespace.ip("link set lo up");
        // Addresses are good at once, and a router's.
        for setting in ["conf.default.accept_dad=0", "conf.all.accept_dad=0", "conf.all.forwarding=1"] {
            namespace.exec("sysctl", &["-qw", &format!("net.ipv6.{setting}")]);
        }
        Some(namespace)
    }

    /// Runs one `ip` command in the namespace, which must succeed.
    pub fn ip(&self, arguments: &str) {
        if let Err(message) = self.try_ip(arguments) {
            panic!("ip {arguments}: {message}");
        }
    }

    /// Runs one `ip` command in the namespace; what it said if it failed.
    pub fn try_ip(&self, arguments: &str) -> Result<(), String> {
        let arguments = of(self.version, arguments);
        let output =
            Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()).output().unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Runs many `ip` commands in the namespace, one a line, which must all succeed.
    pub fn ip_batch(&self, commands: &str) {
        assert!(self.batch(&["-batch", "-"], Stdio::inherit(), commands));
    }

    /// Runs many `ip` commands in the namespace, one a line, some of which may fail.
    pub fn ip_batch_as_far_as_possible(&self, commands: &str) {
        self.batch(&["-force", "-batch", "-"], Stdio::null(), commands);
    }

    fn batch(&self, arguments: &[&str], stderr: Stdio, commands: &str) -> bool {
        let mut child = Command::new("ip")
            .args(["-n", &self.name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let commands = of(self.version, commands);
        child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        child.wait().unwrap().success()
    }

    /// Runs another command in the namespace and returns what it wrote.
    pub fn exec(&self, program: &str, arguments: &[&str]) -> String {
        let output =
            Command::new("ip").args(["netns", "exec", &self.name, program]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `body` on a thread that is inside the namespace.
    pub fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
                use std::os::fd::AsFd;
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                body()
            });
            inside.join().unwrap()
        })
    }

    /// A veth pair within the namespace, both ends up.
    pub fn veth(&self, one: &str, other: &str) {
        self.ip(&format!("link add {one} type veth peer name {other}"));
        self.ip(&format!("link set {one} up"));
        self.ip(&format!("link set {other} up"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Processes that still run in it keep it alive unnamed; the tests start none that outlive them.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// What a consumer of the events knows. Applying an event checks the promise of [`Event`]: only differences, and nothing is gone that
/// was not there.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Picture {
    pub links: BTreeMap<u32, Link>,
    pub addresses: BTreeMap<(u32, IpAddr, u8), Address>,
    pub ip4: Destinations<u32>,
    pub ip6: Destinations<u128>,
    pub neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Destinations<A> {
    pub local: BTreeSet<Prefix<A>>,
    pub routes: BTreeMap<Prefix<A>, (u32, Arc<Target>)>,
}

impl<A: Number> Destinations<A> {
    fn apply(&mut self, change: Change<A>) {
        match change {
            Change::Local(prefix) => assert!(self.local.insert(prefix), "{prefix} twice"),
            Change::LocalGone(prefix) => assert!(self.local.remove(&prefix), "{prefix}"),
            Change::Route { prefix, metric, target } => {
                let new = (metric, target);
                assert_ne!(self.routes.insert(prefix, new.clone()), Some(new), "{prefix} told twice");
            }
            Change::RouteGone(prefix) => assert!(self.routes.remove(&prefix).is_some(), "{prefix}"),
        }
    }

    fn target(&self, prefix: &str) -> Option<&Target> {
        self.routes.get(&prefix.parse().ok()?).map(|(_, target)| &**target)
    }
}

impl Picture {
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Link(link) => {
                let before = self.links.insert(link.index, link.clone());
                assert_ne!(before, Some(link), "told twice");
            }
            Event::LinkGone(index) => assert!(self.links.remove(&index).is_some(), "link {index}"),
            Event::Address(address) => {
                let key = (address.index, address.address, address.length);
                assert_ne!(self.addresses.insert(key, address), Some(address), "told twice");
            }
            Event::AddressGone(address) => {
                let key = (address.index, address.address, address.length);
                assert!(self.addresses.remove(&key).is_some(), "{address:?}");
            }
            Event::Ip4(change) => self.ip4.apply(change),
            Event::Ip6(change) => self.ip6.apply(change),
            Event::Neighbour(neighbour) => {
                let key = (neighbour.index, neighbour.address);
                assert_ne!(self.neighbours.insert(key, neighbour), Some(neighbour), "told twice");
            }
            Event::NeighbourGone { index, address } => {
                assert!(self.neighbours.remove(&(index, address)).is_some(), "{address}");
            }
        }
    }

    pub fn index(&self, name: &str) -> u32 {
        self.links.values().find(|link| link.name == name).unwrap_or_else(|| panic!("no link {name}")).index
    }

    /// The next hops of a route as text, such as `v0 10.0.0.2*3` (device, gateway, weight), sorted; or what else it does.
    pub fn route(&self, prefix: &str) -> String {
        let target = self.ip4.target(prefix).or_else(|| self.ip6.target(prefix));
        let Some(target) = target else { return "none".to_owned() };
        let Target::Forward(hops) = target else { return format!("{target:?}") };
        let mut hops: Vec<String> = hops
            .iter()
            .map(|hop| {
                let device = self.links.get(&hop.index).map_or("?", |link| &link.name);
                let gateway = hop.gateway.map_or("link".to_owned(), |gateway| gateway.to_string());
                let weight = if hop.weight == 1 { String::new() } else { format!("*{}", hop.weight) };
                let onlink = if hop.onlink { " onlink" } else { "" };
                format!("{device} {gateway}{weight}{onlink}")
            })
            .collect();
        hops.sort();
        hops.join(", ")
    }

    pub fn has_local(&self, prefix: &str) -> bool {
        prefix.parse().is_ok_and(|prefix| self.ip4.local.contains(&prefix))
            || prefix.parse().is_ok_and(|prefix| self.ip6.local.contains(&prefix))
    }

    /// The number of prefixes of this version that have a route.
    pub fn routes(&self, version: u8) -> usize {
        if version == 4 { self.ip4.routes.len() } else { self.ip6.routes.len() }
    }
}

/// A follower of a namespace's kernel and the picture that its events made.
pub struct Follower {
    pub kernel: Kernel,
    pub picture: Picture,
    version: u8,
}

impl Follower {
    pub fn new(namespace: &Namespace) -> Self {
        Self::of(namespace.inside(|| Kernel::open().unwrap()), namespace.version)
    }

    pub fn of(mut kernel: Kernel, version: u8) -> Self {
        let mut picture = Picture::default();
        kernel.sync(PATIENCE, &mut |event| picture.apply(event)).unwrap();
        Self { kernel, picture, version }
    }

    /// Follows until `wanted` holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Picture) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(&self.picture) {
            assert!(Instant::now() < deadline, "waited in vain for: {what}\n{:#?}", self.picture);
            self.step();
        }
    }

    /// Waits at most 50 ms for something to happen and applies it.
    pub fn step(&mut self) {
        let timeout = Timespec::try_from(Duration::from_millis(50)).unwrap();
        poll(&mut [PollFd::new(&self.kernel, PollFlags::IN)], Some(&timeout)).unwrap();
        self.kernel.drain(&mut |event| self.picture.apply(event)).unwrap();
    }

    /// The route as it is followed so far, as [`Picture::route`] has it.
    pub fn route(&self, prefix: &str) -> String {
        self.picture.route(&of(self.version, prefix))
    }

    #[track_caller]
    pub fn until_route(&mut self, prefix: &str, wanted: &str) {
        let (prefix, wanted) = (&of(self.version, prefix), of(self.version, wanted));
        let deadline = Instant::now() + PATIENCE;
        while self.picture.route(prefix) != wanted {
            let is = self.picture.route(prefix);
            assert!(Instant::now() < deadline, "waited in vain for {prefix} {wanted}; it is {is}");
            self.step();
        }
    }

    /// The picture that events made must be the one that a newcomer reads.
    #[track_caller]
    pub fn agrees_with_a_newcomer(&mut self, namespace: &Namespace) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.kernel.sync(PATIENCE, &mut |event| self.picture.apply(event)).unwrap();
            let newcomer = Self::new(namespace);
            if self.picture == newcomer.picture {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "followed:\n{:#?}\nread anew:\n{:#?}",
                self.picture,
                newcomer.picture
            );
            self.step();
        }
    }
}
