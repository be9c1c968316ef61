//! The program on real (virtual) devices: it fails open, and says why when it cannot be attached.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs::File, thread};

use libbpf_rs::{Xdp, XdpFlags};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::{Queues, Redirect};
use crate::object::{Loaded, Tags};
use crate::testbed::{Namespace, PAYLOAD, Path, RIGHT, ROUTER, Socket, Tagging, enter, run, skip};
use crate::{Error, Mode, OwnAddresses, Verdict};

fn own_addresses() -> OwnAddresses {
    let own = OwnAddresses::new(16).unwrap();
    for address in ["192.0.2.1", "192.0.2.255", "198.51.100.1", "198.51.100.255"] {
        own.insert(address.parse().unwrap()).unwrap();
    }
    own
}

fn count(port: &Redirect, verdict: Verdict) -> u64 {
    port.counters().unwrap().total(verdict).packets
}

#[test]
fn the_kernel_forwards_wherever_no_socket_is_bound() {
    if skip("the_kernel_forwards_wherever_no_socket_is_bound").is_some() {
        return;
    }
    let path = Path::new();
    let (west, east) = (path.router.ifindex("west"), path.router.ifindex("east"));
    path.router.inside(|| {
        let own = own_addresses();
        let port = Redirect::attach(west, 1, &own).unwrap();
        let other = Redirect::attach(east, 1, &own).unwrap();
        assert_eq!((port.mode(), port.queues()), (Mode::Native, 1));
        assert!(path.router.has_xdp("west") && path.router.has_xdp("east"));

        assert!(path.reaches(&path.right, RIGHT), "attached, without sockets");
        assert!(count(&port, Verdict::NoSocket) > 0);
        assert_eq!(count(&other, Verdict::Redirected), 0);

        let mut socket = Socket::new("west", 0);
        port.bind(0, socket.as_fd()).unwrap();
        assert!(!path.reaches(&path.right, RIGHT), "the socket takes transit away from the kernel");
        let transit = socket.receive(Duration::from_secs(1)).unwrap();
        assert!(transit.ends_with(PAYLOAD) && transit[30..34] == [198, 51, 100, 2], "{transit:x?}");
        let redirected = count(&port, Verdict::Redirected);
        assert!(redirected > 0);

        // The neighbour entry is made anew, so ARP has to reach the kernel too.
        path.left.ip("neighbour flush all");
        let arp = count(&port, Verdict::Arp);
        assert!(path.reaches(&path.router, ROUTER), "the router's own address stays the kernel's");
        assert!(count(&port, Verdict::Arp) > arp);
        assert!(count(&port, Verdict::OwnAddress) > 0);
        assert_eq!(count(&port, Verdict::Redirected), redirected);

        port.unbind(0).unwrap();
        port.unbind(0).unwrap();
        assert!(path.reaches(&path.right, RIGHT), "after unbind");

        port.bind(0, socket.as_fd()).unwrap();
        assert!(!path.reaches(&path.right, RIGHT), "bound again");
        drop(socket);
        assert!(path.reaches(&path.right, RIGHT), "after the socket was closed without unbind");

        drop(port);
        assert!(!path.router.has_xdp("west") && path.router.has_xdp("east"));
        assert!(path.reaches(&path.right, RIGHT), "after the program was detached");
    });
}

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        self.0.kill().unwrap(); // SIGKILL
        self.0.wait().unwrap();
    }
}

#[test]
fn a_killed_process_leaves_nothing_on_the_port() {
    if skip("a_killed_process_leaves_nothing_on_the_port").is_some() {
        return;
    }
    let path = Path::new();
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "redirect::on_veth::child_that_takes_all_transit", "--ignored", "--nocapture"])
        .env("WEIR_XDP_TEST_NAMESPACE", &path.router.name)
        .env("WEIR_XDP_TEST_IFINDEX", path.router.ifindex("west").to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = KilledOnDrop(child);
    let output = BufReader::new(child.0.stdout.take().unwrap());
    let attached = output.lines().any(|line| line.unwrap().ends_with("attached"));
    let taken = attached && path.router.has_xdp("west") && !path.reaches(&path.right, RIGHT);
    drop(child);
    let killed = Instant::now();
    assert!(attached, "the child did not attach");
    assert!(taken, "the child's socket took no transit");
    assert!(path.reaches(&path.right, RIGHT), "the kernel does not forward");
    assert!(killed.elapsed() < Duration::from_secs(1));
    assert!(!path.router.has_xdp("west"));
}

#[test]
#[ignore = "the process that a_killed_process_leaves_nothing_on_the_port starts and kills"]
fn child_that_takes_all_transit() {
    let Ok(namespace) = env::var("WEIR_XDP_TEST_NAMESPACE") else { return };
    enter(&namespace);
    let west = env::var("WEIR_XDP_TEST_IFINDEX").unwrap().parse().unwrap();
    let port = Redirect::attach(west, 1, &own_addresses()).unwrap();
    let socket = Socket::new("west", 0);
    port.bind(0, socket.as_fd()).unwrap();
    println!("attached");
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_device_without_native_xdp_gets_generic() {
    if skip("a_device_without_native_xdp_gets_generic").is_some() {
        return;
    }
    let namespace = Namespace::new();
    let lo = namespace.ifindex("lo");
    namespace.inside(|| {
        let port = Redirect::attach(lo, 1, &own_addresses()).unwrap();
        assert_eq!(port.mode(), Mode::Generic);
        assert!(namespace.has_xdp("lo"));
        // Redirection works there too. An address of the loopback that is not in the map of own addresses stands for transit.
        let mut socket = Socket::new("lo", 0);
        port.bind(0, socket.as_fd()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(PAYLOAD, "127.0.0.2:4000").unwrap();
        assert!(socket.receive(Duration::from_secs(1)).unwrap().ends_with(PAYLOAD));
        assert_eq!(count(&port, Verdict::Redirected), 1);
        drop(port);
        assert!(!namespace.has_xdp("lo"));
    });
}

#[test]
fn a_busy_device_is_named_with_its_program_and_the_advice_works() {
    if skip("a_busy_device_is_named_with_its_program_and_the_advice_works").is_some() {
        return;
    }
    let namespace = Namespace::new();
    namespace.ip("link add port type veth peer name far");
    let ifindex = namespace.ifindex("port");
    namespace.inside(|| {
        let own = own_addresses();
        let advice = || {
            let error = Redirect::attach(ifindex, 1, &own).unwrap_err();
            let Error::DeviceBusy { device, program, .. } = &error else { panic!("{error:?}") };
            assert_eq!(device, "port");
            assert!(program.contains("\"weir_redirect\" (id "), "{program}");
            let text = error.to_string();
            let (_, command) = text.trim_end_matches('`').rsplit_once('`').unwrap();
            command.to_owned()
        };
        // Held by a process: the advice is to stop it.
        let first = Redirect::attach(ifindex, 1, &own).unwrap();
        advice();
        drop(first);
        drop(Redirect::attach(ifindex, 1, &own).unwrap());

        // Left behind by a loader that attaches over netlink: the advice is a command. In generic mode the kernel has another
        // error number for it, and `ip` another word.
        for (mode, word) in [(XdpFlags::DRV_MODE, "xdpdrv"), (XdpFlags::SKB_MODE, "xdpgeneric")] {
            let left = Loaded::new(Tags::Lost, 1, &own).unwrap();
            Xdp::new(left.program().unwrap().as_fd()).attach(ifindex.try_into().unwrap(), mode).unwrap();
            drop(left);
            let command = advice();
            assert_eq!(command, format!("ip link set dev port {word} off"));
            run(&command);
            drop(Redirect::attach(ifindex, 1, &own).unwrap());
        }
    });
}

#[test]
fn the_drivers_reason_for_refusing_is_told() {
    if skip("the_drivers_reason_for_refusing_is_told").is_some() {
        return;
    }
    let namespace = Namespace::new();
    namespace.ip("link add jumbo type veth peer name jumbo-far");
    namespace.ip("link set dev jumbo-far mtu 9000");
    namespace.ip("link add narrow numrxqueues 1 numtxqueues 1 type veth peer name narrow-far numtxqueues 2");
    let (jumbo, narrow) = (namespace.ifindex("jumbo"), namespace.ifindex("narrow"));
    namespace.inside(|| {
        let own = own_addresses();
        let error = Redirect::attach(jumbo, 1, &own).unwrap_err();
        let Error::MtuTooLarge { device, reason } = &error else { panic!("{error:?}") };
        assert_eq!((device.as_str(), reason.as_str()), ("jumbo", "veth: Peer MTU is too large to set XDP"));
        let several = Queues { count: 1, frags: true };
        drop(Redirect::attach(jumbo, several, &own).unwrap());
        drop(Redirect::bridge(jumbo, several, None, &own).unwrap());

        let error = Redirect::attach(narrow, 1, &own).unwrap_err();
        let Error::TooFewQueues { device, reason } = &error else { panic!("{error:?}") };
        assert_eq!(device, "narrow");
        assert!(reason.contains("rx queues not less than peer tx queues"), "{reason}");

        for ifindex in [0, 4_000_000, u32::MAX] {
            let error = Redirect::attach(ifindex, 1, &own).unwrap_err();
            assert!(matches!(error, Error::NoSuchDevice { ifindex: told } if told == ifindex), "{error:?}");
        }
        assert!(!namespace.has_xdp("jumbo") && !namespace.has_xdp("narrow"));
    });
}

#[test]
fn only_an_xdp_socket_of_an_existing_queue_is_bound() {
    if skip("only_an_xdp_socket_of_an_existing_queue_is_bound").is_some() {
        return;
    }
    let namespace = Namespace::new();
    let lo = namespace.ifindex("lo");
    namespace.inside(|| {
        let own = own_addresses();
        assert!(matches!(Redirect::attach(lo, 0, &own), Err(Error::NoQueues)));
        let port = Redirect::attach(lo, 2, &own).unwrap();
        let file = File::open("/dev/null").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        for descriptor in [file.as_fd(), udp.as_fd()] {
            let result = port.bind(1, descriptor);
            assert!(matches!(result, Err(Error::NotAnXdpSocket { queue: 1, .. })), "{result:?}");
        }
        let beyond = Error::NoSuchQueue { queue: 2, queues: 2 }.to_string();
        assert_eq!(port.bind(2, file.as_fd()).unwrap_err().to_string(), beyond);
        assert_eq!(port.unbind(2).unwrap_err().to_string(), beyond);
    });
}

#[test]
fn a_full_map_of_own_addresses_says_so() {
    if skip("a_full_map_of_own_addresses_says_so").is_some() {
        return;
    }
    let own = OwnAddresses::new(2).unwrap();
    own.insert(IpAddr::from([192, 0, 2, 1])).unwrap();
    own.insert(IpAddr::from([192, 0, 2, 2])).unwrap();
    own.insert(IpAddr::from([192, 0, 2, 2])).unwrap();
    let full = own.insert(IpAddr::from([192, 0, 2, 3]));
    assert!(matches!(full, Err(Error::OwnAddressesFull { capacity: 2 })), "{full:?}");
    own.remove(IpAddr::from([192, 0, 2, 1])).unwrap();
    own.insert(IpAddr::from([192, 0, 2, 3])).unwrap();
}

#[test]
fn a_process_without_the_capabilities_is_told_which() {
    if skip("a_process_without_the_capabilities_is_told_which").is_some() {
        return;
    }
    // Capabilities are the thread's own, so only this one loses them.
    let unprivileged = thread::spawn(|| {
        let own = own_addresses();
        let mut sets = capabilities(None).unwrap();
        sets.effective = CapabilitySet::empty();
        set_capabilities(None, sets).unwrap();
        for error in [OwnAddresses::new(1).unwrap_err(), Redirect::attach(1, 1, &own).unwrap_err()] {
            assert!(matches!(error, Error::NotPermitted { .. }), "{error:?}");
            assert!(error.to_string().contains("CAP_BPF, CAP_NET_ADMIN"), "{error}");
        }
    });
    unprivileged.join().unwrap();
}

#[test]
fn a_tag_beside_a_frame_is_in_it_for_the_socket_and_beside_it_for_the_kernel() {
    if skip("a_tag_beside_a_frame_is_in_it_for_the_socket_and_beside_it_for_the_kernel").is_some() {
        return;
    }
    let (near, far) = (Namespace::new(), Namespace::new());
    near.ip(&format!("link add port address 02:00:00:00:00:01 type veth peer name far netns {}", far.name));
    for (namespace, device, host) in [(&near, "port", 1), (&far, "far", 2)] {
        namespace.ip(&format!("address add 192.0.2.{host}/24 dev {device}"));
        namespace.ip(&format!("link set {device} up"));
    }
    for host in [1, 7] {
        far.ip(&format!("neighbour add 192.0.2.{host} lladdr 02:00:00:00:00:0{host} dev far"));
    }
    let (port, device) = (near.ifindex("port"), far.ifindex("far"));
    let (_push, sender) =
        far.inside(|| (Tagging::push(device, 0x6005), UdpSocket::bind("192.0.2.2:0").unwrap()));
    near.inside(|| {
        let _pop = Tagging::pop(port);
        let receiver = UdpSocket::bind("192.0.2.1:4000").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let own = own_addresses();
        own.insert_mac([2, 0, 0, 0, 0, 1]).unwrap();
        let bridge = Redirect::bridge(port, 1, None, &own).unwrap();
        assert!(bridge.puts_tags_back() && bridge.mode() == Mode::Native, "veth gives tags");
        let mut socket = Socket::new("port", 0);
        bridge.bind(0, socket.as_fd()).unwrap();
        for _ in 0..3 {
            sender.send_to(PAYLOAD, "192.0.2.7:4000").unwrap();
            let frame = socket.receive(Duration::from_secs(5)).unwrap();
            assert_eq!(
                frame[..18],
                [
                    2, 0, 0, 0, 0, 7, frame[6], frame[7], frame[8], frame[9], frame[10], frame[11], 0x81, 0,
                    0x60, 5, 8, 0
                ]
            );
            assert!(frame[18] == 0x45 && frame.ends_with(PAYLOAD), "{frame:x?}");
            // Without one tag it is plain, so it had just one, and nothing of it in its bytes.
            sender.send_to(PAYLOAD, "192.0.2.1:4000").unwrap();
            let mut buffer = [0; 64];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], PAYLOAD);
        }
        assert_eq!(count(&bridge, Verdict::Redirected), 3);
        assert!(count(&bridge, Verdict::OwnMac) >= 3);
    });
}
