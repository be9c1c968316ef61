//! The appliance: puts the parts together, and the control thread's loop.
//!
//! Order of a start: the kernel's tables are read, then memory, sockets, graphs and workers are made, and only when all of that stands do the XDP
//! programs go on the ports: until then, and from the moment they come off again, the kernel forwards.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};
use rustix::event::{PollFd, PollFlags, poll};
use weir_graph::{
    adjacency::Adjacencies,
    clock::{self, Clock},
    counters::Counters,
    fib::{Fib, FibLimits},
    frames::{FrameId, FramePool},
    graph::{ADJACENCY_CAPACITY, Graph, GraphError, Shape},
    node::{Request, Tables, Workbench},
    nodes::{BRIDGE, ROUTE, classify, hand_off, shaper, tcp_rtt_match, tcp_rtt_stamp},
    packet::PortIndex,
    ports::Ports,
    quiescence::Quiescence,
    round_trips, rtt, shaped,
    wire::vlan::Tags,
};
use weir_stats::{Segment, Server};
use weir_xdp::{Mode, OwnAddresses, Queues, Redirect};

use crate::{
    bridge::{self, Follower},
    config::{Change, Config, PortConfig, changes},
    control::{Command, ControlServer, Reloaded, Replies, Reply, Status},
    customers::{self, Roster},
    device,
    forwarding::Forwarding,
    kernel::{Event, Kernel, KernelError, Link},
    port::af_xdp::{self, Chunk, FRAMES_PER_QUEUE, LARGEST_MTU, Memory, SocketMonitor},
    publish::Publisher,
    shaping::{self, Shaping, Sizes},
    sub_interfaces::{self, SubInterface},
    subscribers::{Subscribers, SubscribersError},
    trace_text::Namer,
    traces::{self, Trace},
    worker::{Alarm, Line, Message, Parts, Worker, WorkerHandle, exchange},
};

/// Why weir can't start, or can't go on. Every text says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the texts say it
pub enum ApplianceError {
    #[error("there is no device {0}: name one of those that `ip link` shows in the config")]
    NoDevice(String),
    #[error(
        "{device} has {queues} receive queue(s) for {workers} workers: give it more (`ethtool -L {device} combined {workers}`), or name fewer cores in [workers]"
    )]
    TooFewQueues { device: String, queues: u32, workers: usize },
    #[error(
        "{device}: an MTU of {mtu} is too large: set at most {most} (`ip link set {device} mtu {most}`){why}",
        why = if *most < LARGEST_MTU { "; packets in several frames need Linux 6.6 and, for zero-copy, a driver that does them" } else { "" }
    )]
    MtuTooLarge { device: String, mtu: u32, most: u32 },
    #[error(
        "{0} was deleted and made again: weir ends, the kernel forwards; start weir again to use the new device"
    )]
    DeviceReplaced(String),
    #[error(transparent)]
    SubInterface(#[from] sub_interfaces::Error),
    #[error(transparent)]
    Bridge(#[from] bridge::Error),
    #[error("{device}: can't ask for its queues: {source}")]
    Queues { device: String, source: std::io::Error },
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Port(#[from] af_xdp::OpenError),
    #[error("{device}: {source}")]
    Xdp { device: String, source: weir_xdp::Error },
    #[error(transparent)]
    OwnAddresses(#[from] weir_xdp::Error),
    #[error(transparent)]
    Stats(#[from] weir_stats::Error),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Control(#[from] crate::control::Error),
    #[error("the forwarding tables can't be made: {0}")]
    Tables(String),
    #[error(transparent)]
    Subscribers(#[from] SubscribersError),
    #[error("can't {action}: {source}")]
    System { action: &'static str, source: std::io::Error },
}

fn system(action: &'static str) -> impl Fn(std::io::Error) -> ApplianceError {
    move |source| ApplianceError::System { action, source }
}

/// How long the kernel may take to list its tables: a million routes take some seconds.
const KERNEL_PATIENCE: Duration = Duration::from_secs(60);
/// Heartbeat and counters of the kernel's: four times as often as a reader that polls each second may expect.
const BEAT: Duration = Duration::from_millis(250);
/// Neighbours are kept fresh, and rates measured, once in so many beats.
const BEATS_PER_SECOND: u32 = 4;
/// How often to look whether all workers have let go of old table entries, and for records of traces.
const OFTEN: Duration = Duration::from_millis(20);
/// Questions of workers that may wait for the control thread.
const REQUESTS: usize = 1024;

/// Addresses of this machine that the XDP program can know: a machine with more is not a router.
const OWN_ADDRESSES: u32 = 1 << 16;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Drain and leave (SIGTERM, SIGINT).
    Terminate,
    /// Read the config again (SIGHUP).
    Reload,
}

/// A weir that runs.
pub struct Appliance {
    config: Config,
    path: PathBuf,
    shape: Arc<Shape>,
    // Dropped first: from here on the kernel forwards. By port; a sub-interface has the one of the port below it.
    redirects: Vec<Option<Redirect>>,
    monitors: Vec<(usize, SocketMonitor)>,
    workers: Vec<(WorkerHandle, JoinHandle<()>)>,
    kernel: Kernel,
    forwarding: Forwarding,
    /// `None`: weir routes.
    bridge: Option<Follower>,
    /// Keep the ports of a bridge receiving frames to all addresses.
    _promiscuous: Vec<OwnedFd>,
    publisher: Publisher,
    subscribers: Subscribers,
    ports: Ports,
    /// The ports' interface indices at the start.
    indices: Vec<u32>,
    /// The MAC addresses that the XDP programs know.
    macs: Vec<Option<[u8; 6]>>,
    largest_mtu: u32,
    /// The ports' MTUs when they were last looked at.
    mtus: Vec<u32>,
    requests: Receiver<Request>,
    commands: Receiver<Command>,
    namer: Namer,
    traces: Vec<Trace>,
    _control: ControlServer,
    _stats: Server,
}

impl Appliance {
    /// Starts everything; when this returns, weir forwards.
    pub fn start(config: Config, path: PathBuf) -> Result<Appliance, ApplianceError> {
        let devices: Vec<String> = config.ports.iter().map(|port| port.device.clone()).collect();
        let cores = config.workers.cores.clone();
        let mut kernel = Kernel::open()?;
        let mut events = Vec::new();
        kernel.sync(KERNEL_PATIENCE, &mut |event| events.push(event))?;
        let (links, sub_interfaces) = find_devices(&config, &events)?;

        // The sockets first: they are what may be refused. The control socket tells a second weir that there is one already.
        let (control, commands) = ControlServer::start(&config.control.socket)?;
        let queues: u32 = links.iter().map(|link| link.queues).sum();
        let listed = match (&config.shaper, &config.rtt) {
            (Some(shaper), _) => shaping::customers(&shaper.plan),
            (None, Some(rtt)) => rtt.customers.clone(),
            (None, None) => Arc::default(),
        };
        let room = customers::room(listed.len());
        let mtu = links.iter().map(|link| link.mtu).max().unwrap_or_default();
        let chunk = Chunk::of(mtu);
        let sizes =
            config.shaper.as_ref().map(|it| Sizes::of(&it.plan, room, it.memory, chunk.bytes().into()));
        let waiting = sizes.map_or(0, |sizes| sizes.waiting_each(cores.len()));
        let count = queues * FRAMES_PER_QUEUE + (waiting * cores.len()) as u32;
        let (mut memory, mut frames) = Memory::new(count, chunk)?;
        let own = OwnAddresses::new(OWN_ADDRESSES)?;

        let ports = Ports::new(devices.len());
        let mut bridge = config.bridge.map(|_| Follower::new(&devices));
        bridge::join(&ports, &config);
        sub_interfaces::join(&ports, &sub_interfaces);
        let promiscuous = match bridge {
            Some(_) => links
                .iter()
                .map(|link| bridge::promiscuous(&link.device, link.index))
                .collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let quiescence = Quiescence::new(cores.len());
        // A bridge has no routes.
        let routes = if bridge.is_some() { 1 } else { config.fib.routes as u32 };
        let limits = FibLimits { routes, ..FibLimits::default() };
        let (fib, fib_writer) = Fib::new(limits, quiescence.clone())
            .map_err(|error| ApplianceError::Tables(error.to_string()))?;
        let routes6 = if bridge.is_some() { 1 } else { config.fib.routes6 as u32 };
        // There are never more blocks than routes: a route that is alone where it stands takes none. Of 200,000 with the lengths of the internet's
        // table, by providers with many each, there were 55,000. Only these take memory.
        let limits6 = FibLimits { routes: routes6, extension_blocks: routes6, ..limits };
        let (fib6, fib6_writer) = Fib::new(limits6, quiescence.clone())
            .map_err(|error| ApplianceError::Tables(error.to_string()))?;
        let (adjacencies, adjacency_writer) = Adjacencies::new(ADJACENCY_CAPACITY, quiescence.clone());
        let defaults = weir_stats::Options::default();
        let shaped = config.shaper.is_some();
        let space = customers_space(room, cores.len(), shaped);
        let size = config.stats.size.unwrap_or_else(|| defaults.size + space);
        let segment = Segment::create(weir_stats::Options { size, workers: cores.len(), ..defaults })?;
        let stats = Server::start(&config.stats.socket, config.stats.group.as_deref(), &segment)?;
        let mut counters = Counters::new(segment);
        let mut without = Vec::new();
        if config.shaper.is_none() {
            without.push(shaper::REGISTRATION.name);
        }
        if config.rtt.is_none() {
            without.extend([tcp_rtt_match::REGISTRATION.name, tcp_rtt_stamp::REGISTRATION.name]);
            without.push(classify::REGISTRATION.name);
        }
        // One worker has nobody to give packets to, and only who measures or shapes must have all of a flow.
        if cores.len() == 1 || (config.rtt.is_none() && config.shaper.is_none()) {
            without.push(hand_off::REGISTRATION.name);
        }
        let nodes = if bridge.is_some() { BRIDGE } else { ROUTE };
        let shape = Arc::new(Shape::new(nodes, &without)?);
        shape.register(&mut counters)?;

        let clock = Clock::calibrate();
        let rtt = config.rtt.as_ref().map(|config| {
            let interval = clock.ticks(config.interval);
            rtt::Settings {
                interval,
                handshakes: config.handshakes,
                ..rtt::Settings::new(clock, config.flows)
            }
        });
        let (customers, roster) = match rtt {
            Some(_) => {
                round_trips::register(&mut counters)?;
                let (customers, roster) =
                    Roster::new(room, &mut counters, quiescence.clone()).map_err(SubscribersError::from)?;
                (Some(customers), Some(roster))
            }
            None => (None, None),
        };
        let shaping = match sizes {
            Some(sizes) => {
                Some(Shaping::new(&mut counters, sizes, cores.len(), clock).map_err(SubscribersError::from)?)
            }
            None => None,
        };
        let tables = Arc::new(Tables { fib, fib6, adjacencies, customers, ports: ports.clone() });
        let (requests, request_receiver) = bounded(REQUESTS);
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
        let (mut sockets, mut monitors, mut ready) = (Vec::new(), Vec::new(), Vec::new());
        let alarms = cores.iter().map(|_| Alarm::new()).collect::<std::io::Result<Vec<_>>>();
        let alarms = alarms.map_err(system("make an eventfd"))?;
        let common = sizes.and_then(|sizes| sizes.common(cores.len()));
        for (worker, (exchange, alarm)) in exchange(&alarms).into_iter().zip(alarms).enumerate() {
            let mut lines = Vec::new();
            for (port, link) in links.iter().enumerate() {
                for queue in (0..link.queues).filter(|queue| *queue as usize % cores.len() == worker) {
                    let rings = memory.open(port as PortIndex, &link.device, queue)?;
                    let most = memory.largest_mtu();
                    if link.mtu > most {
                        let (device, mtu) = (link.device.clone(), link.mtu);
                        return Err(ApplianceError::MtuTooLarge { device, mtu, most });
                    }
                    let socket = rings.socket().try_clone_to_owned().map_err(system("duplicate a socket"))?;
                    sockets.push((port, queue, socket));
                    monitors.push((port, rings.monitor().map_err(system("duplicate a socket"))?));
                    lines.push(Line { port: port as PortIndex, rings: Box::new(rings) });
                }
            }
            let share: Vec<FrameId> =
                frames.drain(..lines.len() * FRAMES_PER_QUEUE as usize + waiting).collect();
            let mut bench = Workbench {
                row: worker + 1,
                counters: &mut counters,
                tables: tables.clone(),
                requests: requests.clone(),
                clock,
                seed,
                rtt,
                shaper: sizes.map(|sizes| shaper::Setup {
                    common: common.clone().map(|common| (common, worker)),
                    ..sizes.setup(cores.len(), clock, count as usize, chunk.bytes(), mtu)
                }),
            };
            let graph = Graph::new(&shape, &mut bench, FramePool::new(memory.frames.clone(), share))?
                .with_exchange(exchange);
            let reader = quiescence
                .reader(worker)
                .ok_or_else(|| ApplianceError::Tables("no place for a worker".into()))?;
            let idle = config.workers.idle;
            let parts =
                Parts { graph, lines, ports: ports.clone(), reader, idle, clock, row: worker + 1, alarm };
            ready.push(Worker::new(parts, &shape, &mut counters)?);
        }

        let handles = ready.iter().map(|(_, handle)| handle.clone()).collect();
        let mut subscribers = Subscribers::new(roster, shaping, handles);
        match &config.shaper {
            Some(shaper) => subscribers.shape(&shaper.plan, &mut counters)?,
            None => subscribers.list(listed, &mut counters)?,
        }
        let mut publisher = Publisher::new(counters, own, &devices)?;
        let mut forwarding = Forwarding::new(
            fib_writer,
            fib6_writer,
            adjacency_writer,
            ports.clone(),
            &devices,
            &mut publisher,
        )
        .map_err(|error| ApplianceError::Tables(error.to_string()))?;
        for event in events {
            learn(event, bridge.as_mut(), &mut forwarding, &mut publisher);
        }
        publisher.flush();
        // Before the XDP programs are there to ask.
        if let Some(bridge) = &mut bridge {
            bridge.tell(publisher.own_addresses());
        }

        let mut workers = Vec::new();
        for (number, (worker, handle)) in ready.into_iter().enumerate() {
            let core = core_affinity::CoreId { id: cores[number] };
            let thread = std::thread::Builder::new()
                .name(format!("weir-worker-{number}"))
                .spawn(move || {
                    let _guard = EndWithWorker;
                    if !core_affinity::set_for_current(core) {
                        tracing::warn!(core = core.id, "a worker can't be pinned to its core");
                    }
                    worker.run();
                })
                .map_err(system("start a worker"))?;
            workers.push((handle, thread));
        }

        let mut redirects = Vec::new();
        let xdp = |device: &str| {
            let device = device.to_owned();
            move |source| ApplianceError::Xdp { device, source }
        };
        for (port, link) in links.iter().enumerate() {
            if sub_interfaces[port].is_some() {
                redirects.push(None);
                continue;
            }
            let own = publisher.own_addresses();
            let queues = Queues { count: link.queues, frags: memory.takes_several() };
            let redirect = match config.bridge {
                None => Redirect::attach(link.index, queues, own),
                Some(kind) => Redirect::bridge(link.index, queues, bridge::vlans(kind), own),
            };
            let redirect = redirect.map_err(xdp(&link.device))?;
            if config.bridge.is_some() {
                bridge::warn_of_lost_tags(&link.device, &redirect);
            }
            for (_, queue, socket) in sockets.iter().filter(|(of, ..)| *of == port) {
                redirect.bind(*queue, socket.as_fd()).map_err(xdp(&link.device))?;
            }
            let mode = match redirect.mode() {
                Mode::Native => "native",
                Mode::Generic => "generic (slow: the driver has no XDP)",
            };
            tracing::info!(device = link.device, queues = link.queues, xdp = mode, "port is up");
            redirects.push(Some(redirect));
        }
        drop(sockets);
        let namer = Namer { shape: shape.clone(), devices, clock, start: clock::now() };
        let mut appliance = Appliance {
            config,
            path,
            shape,
            redirects,
            monitors,
            workers,
            kernel,
            forwarding,
            bridge,
            _promiscuous: promiscuous,
            publisher,
            subscribers,
            ports,
            indices: links.iter().map(|link| link.index).collect(),
            macs: vec![None; links.len()],
            largest_mtu: memory.largest_mtu(),
            mtus: vec![0; links.len()],
            requests: request_receiver,
            commands,
            namer,
            traces: Vec::new(),
            _control: control,
            _stats: stats,
        };
        appliance.links_changed()?;
        Ok(appliance)
    }

    /// Works until weir is asked to leave, or cannot go on; then leaves in good order either way.
    pub fn run(mut self, signals: &Receiver<Signal>) -> Result<(), ApplianceError> {
        let ended = self.control(signals);
        self.leave();
        ended
    }

    /// The control thread's loop.
    fn control(&mut self, signals: &Receiver<Signal>) -> Result<(), ApplianceError> {
        let (readable, drained) =
            watch(self.kernel.as_fd().try_clone_to_owned().map_err(system("watch netlink"))?)?;
        let (beats, often) = (tick(BEAT), tick(OFTEN));
        let mut count = 0u32;
        let mut waiting = 0;
        loop {
            // Only while workers may still hold old entries, or somebody traces.
            let often = if waiting > 0 || !self.traces.is_empty() { often.clone() } else { never() };
            select! {
                recv(readable) -> alive => {
                    if alive.is_err() {
                        return Err(system("watch netlink")(std::io::ErrorKind::BrokenPipe.into()));
                    }
                    self.follow()?;
                    waiting = self.reclaim();
                    let _ = drained.send(());
                }
                recv(self.requests) -> request => match request {
                    Ok(Request::Resolve { port, address }) => {
                        let kernel = &mut self.kernel;
                        let mut probe = |index, address| kernel.probe(index, address);
                        self.forwarding.resolve(port, address, Instant::now(), &mut probe);
                    }
                    // A bridge's graph has no node that asks: without this, its end of the channel would be heard of for ever.
                    Err(_) => self.requests = never(),
                },
                recv(self.commands) -> command => match command {
                    Ok(command) => self.obey(command),
                    Err(_) => {
                        tracing::error!("the control socket has failed: weir forwards on, but hears no commands");
                        self.commands = never();
                    }
                },
                recv(signals) -> signal => match signal {
                    Ok(Signal::Reload) => if let Err(problems) = self.reload() {
                        tracing::error!("config not changed:\n{}", problems.join("\n"));
                    },
                    Ok(Signal::Terminate) | Err(_) => return Ok(()),
                },
                recv(beats) -> _ => {
                    self.publisher.beat();
                    self.publisher.update_kernel_counters(&self.redirects, &self.monitors);
                    count += 1;
                    if count.is_multiple_of(BEATS_PER_SECOND) {
                        self.every_second();
                    }
                }
                recv(often) -> _ => {
                    waiting = self.reclaim();
                    self.fetch_traces();
                }
            }
        }
    }

    /// Makes reusable what no worker can come across any more; how much still waits for the workers.
    fn reclaim(&mut self) -> usize {
        self.forwarding.reclaim() + self.subscribers.reclaim()
    }

    /// Takes the kernel's news into the tables.
    fn follow(&mut self) -> Result<(), ApplianceError> {
        let (forwarding, publisher, workers) = (&mut self.forwarding, &mut self.publisher, &self.workers);
        let bridge = &mut self.bridge;
        self.kernel.drain(&mut |event| {
            learn(event, bridge.as_mut(), forwarding, publisher);
            // Before the next event, which may use the numbers of what is gone anew.
            if let Some(gone) = publisher.gone() {
                let gone = Arc::new(gone);
                for (handle, _) in workers {
                    handle.send(Message::Forget(gone.clone()));
                }
            }
        })?;
        self.publisher.flush();
        self.links_changed()
    }

    fn every_second(&mut self) {
        self.publisher.update_rates();
        let packets = self.publisher.adjacency_packets();
        let kernel = &mut self.kernel;
        self.forwarding.tick(
            Instant::now(),
            &|adjacency| packets.get(adjacency.as_u32() as usize).copied().unwrap_or(0),
            &mut |index, address| kernel.probe(index, address),
        );
    }

    fn fetch_traces(&mut self) {
        if self.traces.is_empty() {
            return;
        }
        self.traces.retain_mut(|trace| trace.fetch(&self.namer));
        if self.traces.is_empty() {
            // A worker notices that nobody reads only when it has something to tell.
            traces::stop(self.workers.iter().map(|(handle, _)| handle));
        }
    }

    /// Takes the XDP programs off, lets the workers finish, and publishes the last counts.
    fn leave(mut self) {
        tracing::info!("leaving: the kernel forwards from here on");
        // First the sockets come out of the programs' maps, so that the programs' counts are complete; then the programs go.
        for redirect in self.redirects.iter().flatten() {
            for queue in 0..redirect.queues() {
                if let Err(error) = redirect.unbind(queue) {
                    tracing::warn!(%error, "a socket could not be unbound");
                }
            }
        }
        self.publisher.update_kernel_counters(&self.redirects, &self.monitors);
        self.redirects.clear();
        for (handle, _) in &self.workers {
            handle.send(Message::Stop);
        }
        for (_, thread) in self.workers.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker ended in a panic");
            }
        }
        self.publisher.update_socket_counters(self.config.ports.len(), &self.monitors);
        self.publisher.beat();
    }

    /// Tells the workers which ports can send, and the XDP programs the ports' MAC addresses.
    ///
    /// A device that was deleted and made again ends weir: the sockets and the XDP program are the old one's, and a weir that takes packets which it
    /// cannot send is worse than none.
    fn links_changed(&mut self) -> Result<(), ApplianceError> {
        if let Some(bridge) = &mut self.bridge {
            bridge.tell(self.publisher.own_addresses());
            bridge.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        }
        for (port, config) in self.config.ports.iter().enumerate() {
            let device = &config.device;
            let link = self.forwarding.link(port as PortIndex);
            if link.is_some_and(|link| link.index != self.indices[port]) {
                return Err(ApplianceError::DeviceReplaced(device.clone()));
            }
            let carrier = self.ports.carrier(port as PortIndex);
            let redirect = self.redirects.get(usize::from(carrier)).and_then(Option::as_ref);
            if let Some((mac, redirect)) = link.and_then(|link| link.mac).zip(redirect)
                && self.macs[port] != Some(mac)
            {
                let tags = self.ports.tags(port as PortIndex);
                let told = if tags == Tags::NONE {
                    redirect.set_mac(mac)
                } else {
                    redirect.set_sub_interface(tags.bytes(), mac)
                };
                told.map_err(|source| ApplianceError::Xdp { device: device.clone(), source })?;
                self.macs[port] = Some(mac);
            }
            let up = link.is_some_and(Link::usable);
            if up != self.ports.is_up(port as PortIndex) {
                self.ports.set_up(port as PortIndex, up);
                tracing::info!(device, up, "link");
            }
            let mtu = link.map_or(0, |link| link.mtu);
            if mtu > self.largest_mtu && mtu != self.mtus[port] {
                let (device, most) = (device.clone(), self.largest_mtu);
                tracing::error!("{}", ApplianceError::MtuTooLarge { device, mtu, most });
            }
            self.mtus[port] = mtu;
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Status { reply } => {
                let status = Status {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    pid: std::process::id(),
                    config: self.path.clone(),
                    ports: self.config.ports.iter().map(|port| port.device.clone()).collect(),
                    cores: self.config.workers.cores.clone(),
                };
                reply.send(Reply::Status(status));
            }
            Command::Reload { reply } => {
                reply.send(match self.reload() {
                    Ok(reloaded) => Reply::Reloaded(reloaded),
                    Err(problems) => Reply::Refused { problems },
                });
            }
            Command::Trace { count, node, reply } => self.trace(count, node.as_deref(), reply),
        }
    }

    fn trace(&mut self, count: u16, node: Option<&str>, reply: Replies) {
        let name = node.unwrap_or(self.shape.nodes()[0].name);
        let Some(node) = self.shape.node(name) else {
            let names: Vec<&str> = self.shape.nodes().iter().map(|node| node.name).collect();
            let problem = format!("there is no node {name}: name one of {}", names.join(", "));
            reply.send(Reply::Refused { problems: vec![problem] });
            return;
        };
        let handles: Vec<WorkerHandle> = self.workers.iter().map(|(handle, _)| handle.clone()).collect();
        self.traces.push(Trace::start(count, node, reply, &handles));
    }

    /// Reads the config again: all of it, or nothing.
    fn reload(&mut self) -> Result<Reloaded, Vec<String>> {
        let new = Config::load(&self.path).map_err(|problems| vec![problems.to_string()])?;
        let changed = changes(&self.config, &new).map_err(|needs_restart| needs_restart.0)?;
        // First what may be refused.
        let counters = self.publisher.counters();
        for change in &changed {
            let outcome = match change {
                Change::Customers { new, .. } => self.subscribers.list(new.clone(), counters),
                Change::Plan { new, .. } => self.subscribers.shape(new, counters),
                Change::Idle { .. } => Ok(()),
            };
            outcome.map_err(|error| vec![error.to_string()])?;
        }
        for change in &changed {
            match change {
                Change::Customers { .. } | Change::Plan { .. } => {}
                Change::Idle { new, .. } => {
                    for (handle, _) in &self.workers {
                        handle.send(Message::Idle(*new));
                    }
                }
            }
        }
        let warned = new.shaper.as_ref().map_or(0, |shaper| shaper.warned);
        let warnings = new.shaper.as_ref().map_or(Vec::new(), |shaper| shaper.warnings.clone());
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let changes: Vec<String> = changed.iter().map(Change::to_string).collect();
        tracing::info!(?changes, warnings = warned, "config read again");
        self.config = new;
        Ok(Reloaded { changes, warnings })
    }
}

/// Address space of the segment, in bytes, that vectors by customer take beyond what its default size has room for anyway.
fn customers_space(room: usize, workers: usize, shaped: bool) -> u64 {
    let usual = customers::room(0);
    let each = round_trips::CUSTOMER_BYTES + if shaped { shaped::CUSTOMER_BYTES } else { 0 };
    (room.saturating_sub(usual) * each * (workers + 1)) as u64
}

/// Ends the process if its thread panics: a process without its worker would hold on to the port and forward nothing; without the process
/// the kernel forwards.
struct EndWithWorker;

impl Drop for EndWithWorker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a worker has panicked: ending, so that the kernel forwards");
            std::process::abort();
        }
    }
}

/// Takes the kernel's news to those whom they concern: a bridge has no routes and no neighbours.
fn learn(
    event: Event,
    bridge: Option<&mut Follower>,
    forwarding: &mut Forwarding,
    publisher: &mut Publisher,
) {
    if let Some(bridge) = bridge {
        bridge.apply(&event);
        if !matches!(event, Event::Link(_) | Event::LinkGone(_)) {
            return;
        }
    }
    forwarding.apply(event, publisher);
}

/// A port's device, as it was found at the start.
struct Device {
    device: String,
    index: u32,
    /// Those that weir takes packets from; none of a sub-interface.
    queues: u32,
    mtu: u32,
}

/// By port: the device, and whose VLAN it is.
type Found = (Vec<Device>, Vec<Option<SubInterface>>);

/// Finds the config's devices among the kernel's links, and checks that they can be ports.
fn find_devices(config: &Config, events: &[Event]) -> Result<Found, ApplianceError> {
    let links = events.iter().filter_map(|event| match event {
        Event::Link(link) => Some(link),
        _ => None,
    });
    let links: Vec<&Link> = links.collect();
    let sub_interfaces = sub_interfaces::find(config, &links)?;
    let workers = config.workers.cores.len();
    let find = |(port, sub_interface): (&PortConfig, &Option<SubInterface>)| {
        let device = port.device.clone();
        let link = links.iter().find(|link| link.name == device);
        let link = link.ok_or_else(|| ApplianceError::NoDevice(device.clone()))?;
        if link.mtu > LARGEST_MTU {
            return Err(ApplianceError::MtuTooLarge { device, mtu: link.mtu, most: LARGEST_MTU });
        }
        if sub_interface.is_some() {
            return Ok(Device { device, index: link.index, queues: 0, mtu: link.mtu });
        }
        let queues = match device::rx_queues(&device) {
            Ok(queues) => queues,
            Err(source) => return Err(ApplianceError::Queues { device, source }),
        };
        if (queues as usize) < workers {
            return Err(ApplianceError::TooFewQueues { device, queues, workers });
        }
        Ok(Device { device, index: link.index, queues, mtu: link.mtu })
    };
    let devices = config.ports.iter().zip(&sub_interfaces).map(find).collect::<Result<_, _>>()?;
    Ok((devices, sub_interfaces))
}

/// A thread that waits for kernel notifications: one message on the first channel each time there are some, then it waits for one on the second,
/// which says that they have been read.
fn watch(socket: OwnedFd) -> Result<(Receiver<()>, Sender<()>), ApplianceError> {
    let (tell, readable) = bounded(1);
    let (drained, wait) = bounded(1);
    std::thread::Builder::new()
        .name("weir-netlink".into())
        .spawn(move || {
            loop {
                match poll(&mut [PollFd::new(&socket, PollFlags::IN)], None) {
                    Ok(_) => {}
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(_) => return,
                }
                if tell.send(()).is_err() || wait.recv().is_err() {
                    return;
                }
            }
        })
        .map_err(system("start a thread"))?;
    Ok((readable, drained))
}
