//! What is not wrong with a config but will surprise on this machine, now.

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use super::Config;

/// Whether the kernel forwards, IPv4 and IPv6.
const FORWARDING: [&str; 2] = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];

/// One sentence for each.
pub fn warnings(config: &Config) -> Vec<String> {
    // The files under /proc/sys/net and the socket both show the network namespace of the calling thread.
    let forwarding = FORWARDING
        .map(|setting| std::fs::read_to_string(format!("/proc/sys/{}", setting.replace('.', "/"))).ok());
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok();
    // Where the machine cannot be asked (a sandbox without sockets), silence is better than a wrong warning.
    let present = |device: &str| {
        socket.as_ref().is_none_or(|socket| {
            !matches!(netdevice::name_to_index(socket, device), Err(rustix::io::Errno::NODEV))
        })
    };
    surprises(config, forwarding.each_ref().map(Option::as_deref), present)
}

fn surprises(config: &Config, forwarding: [Option<&str>; 2], present: impl Fn(&str) -> bool) -> Vec<String> {
    let mut warnings = Vec::new();
    for device in config.ports.iter().map(|port| &port.device).filter(|device| !present(device)) {
        warnings.push(format!("device {device:?} is not there now; see `ip link` for those that are"));
    }
    if let ([only], None) = (&config.ports[..], config.bridge) {
        let device = &only.device;
        warnings
            .push(format!("{device:?} is the only port, so what comes in by it can only go out by it again"));
    }
    warnings.extend(config.shaper.iter().flat_map(|shaper| shaper.warnings.iter().cloned()));
    for (setting, value) in FORWARDING.iter().zip(forwarding) {
        if config.bridge.is_none() && value.is_some_and(|value| value.trim() == "0") {
            warnings.push(format!(
                "{setting} is 0: while weir is down the kernel would not forward; `sysctl -w {setting}=1` makes it"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(devices: &[&str]) -> Config {
        let text: String =
            devices.iter().map(|device| format!("[[port]]\ndevice = \"{device}\"\n")).collect();
        Config::parse(&text, Path::new("weir.toml")).unwrap()
    }

    #[test]
    fn a_router_on_a_machine_that_forwards_gives_no_warning() {
        assert_eq!(surprises(&config(&["eth1", "eth2"]), [Some("1\n"); 2], |_| true), Vec::<String>::new());
        assert_eq!(surprises(&config(&["eth1", "eth2"]), [None; 2], |_| true), Vec::<String>::new());
    }

    #[test]
    fn each_surprise_has_its_sentence() {
        let one = surprises(&config(&["eth1"]), [Some("0\n"); 2], |_| false);
        assert_eq!(one.len(), 4, "{one:?}");
        assert!(one[0].contains("device \"eth1\" is not there"), "{one:?}");
        assert!(one[1].contains("the only port"), "{one:?}");
        assert!(one[2].contains("ip_forward is 0"), "{one:?}");
        assert!(one[3].contains("`sysctl -w net.ipv6.conf.all.forwarding=1`"), "{one:?}");
    }

    #[test]
    fn a_bridge_needs_no_forwarding_and_no_second_port() {
        let bridge = |text| Config::parse(text, Path::new("weir.toml")).unwrap();
        let two =
            "port = [{ device = \"eth1\" }, { device = \"eth2\" }]\n[bridge]\nports = [\"eth1\", \"eth2\"]\n";
        let one = "port = [{ device = \"eth1\" }]\n[bridge]\nport = \"eth1\"\nwan-vlan = 2\nlan-vlan = 3\n";
        for text in [two, one] {
            assert_eq!(surprises(&bridge(text), [Some("0\n"); 2], |_| true), Vec::<String>::new());
        }
    }

    #[test]
    fn the_machine_is_really_asked() {
        let warnings = warnings(&config(&["lo", "weir-none"]));
        assert!(!warnings.iter().any(|warning| warning.contains("\"lo\"")), "{warnings:?}");
        assert!(
            warnings.iter().any(|warning| warning.contains("\"weir-none\" is not there")),
            "{warnings:?}"
        );
    }
}
