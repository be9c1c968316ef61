//! The config file: from TOML to typed, checked data, with every mistake of the file reported at once.
//!
//! ```text
//!   text ──toml──▶ table with places ──read──▶ Config          (weir run, weir check, reload)
//!                        └────────────────────▶ Problems       file:line:column, the line, what to write instead
//!   Config × Config ──changes──▶ what a reload may do, or what needs a restart
//!   Config ──warnings──▶ what is not wrong but will surprise
//! ```
//! Reading asks the machine for two things only, its usable cores and its groups: a config that names others can never work here. Whether a
//! device is there now is a warning, since devices come and go.

#![forbid(unsafe_code)]

mod changes;
mod problem;
mod read;
mod warnings;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use changes::{Change, NeedsRestart, changes};
pub use problem::{Place, Problem, Problems};
pub(crate) use read::{nearest, quoted};
pub use warnings::warnings;

use weir_graph::ports::Side;
use weir_graph::wire::vlan::{self, Tags};

use crate::customers::Listed;
use crate::shaper::Plan;

/// Where the stats socket is unless the config says otherwise.
pub const STATS_SOCKET: &str = "/run/weir/stats.sock";
/// Where the control socket is unless the config says otherwise.
pub const CONTROL_SOCKET: &str = "/run/weir/control.sock";

/// Most bytes of a config file. A thousand ports take some 30 KiB; what is larger is not a config.
const MAX_FILE: u64 = 1 << 20;

/// A checked config.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The ports, in the order of the file; at least one, no device twice.
    pub ports: Vec<PortConfig>,
    /// `[bridge]`; `None`: weir routes.
    pub bridge: Option<BridgeConfig>,
    /// `[workers]`
    pub workers: WorkersConfig,
    /// `[stats]`
    pub stats: StatsConfig,
    /// `[control]`
    pub control: ControlConfig,
    /// `[fib]`
    pub fib: FibConfig,
    /// `[rtt]`; `None`: round-trip times are not measured.
    pub rtt: Option<RttConfig>,
    /// `[shaper]`; `None`: nothing is shaped.
    pub shaper: Option<ShaperConfig>,
}

/// One `[[port]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PortConfig {
    /// A name that Linux allows for a device: 1 to 15 bytes. The device need not be there now.
    pub device: String,
    /// What it leads to, where that matters.
    pub side: Option<Side>,
    /// The VLAN of another port that it is; `None`: the kernel knows whether it is one.
    pub vlan: Option<VlanConfig>,
}

/// The VLAN of another port that a port is, where the kernel's device does not say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VlanConfig {
    /// The device of the port whose frames carry the tags; it is no VLAN itself.
    pub parent: String,
    /// The VLAN, 1 to 4094; the inner one of two tags.
    pub vlan: u16,
    /// The provider's VLAN, of the outer tag (802.1ad), if there are two.
    pub service_vlan: Option<u16>,
}

impl VlanConfig {
    /// The tags of its frames.
    pub fn tags(&self) -> Tags {
        match self.service_vlan {
            None => Tags::one(vlan::TAG, self.vlan),
            Some(outer) => Tags::one(vlan::SERVICE_TAG, outer).with_inner(vlan::TAG, self.vlan),
        }
    }
}

/// A bridge that all ports of the config are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeConfig {
    /// Between the two ports that there are, on different sides if they have any.
    TwoPorts,
    /// Between two VLANs of the only port.
    OnePort {
        /// Towards the internet, 1 to 4094.
        wan_vlan: u16,
        /// Towards the customers, another one.
        lan_vlan: u16,
    },
}

/// The threads that carry packets.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkersConfig {
    /// The core of each worker; at least one, none twice, all usable by this process.
    pub cores: Vec<usize>,
    /// What a worker does when no packet comes.
    pub idle: Idle,
}

/// What a worker does when no packet comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Idle {
    /// Spins a little, then sleeps until a packet comes.
    Adaptive,
    /// Never sleeps.
    Poll,
}

/// The stats segment and its socket.
#[derive(Debug, Clone, PartialEq)]
pub struct StatsConfig {
    /// An absolute path that fits into a socket address.
    pub socket: PathBuf,
    /// The group whose members may read; it exists.
    pub group: Option<String>,
    /// Address space of the segment in bytes; `None`: what the segment takes by itself.
    pub size: Option<u64>,
}

/// The socket of `weir reload` and `weir trace`.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlConfig {
    /// An absolute path that fits into a socket address.
    pub socket: PathBuf,
}

/// The forwarding table.
#[derive(Debug, Clone, PartialEq)]
pub struct FibConfig {
    /// Most IPv4 routes.
    pub routes: usize,
    /// Most IPv6 routes.
    pub routes6: usize,
}

/// The measurement of round-trip times.
#[derive(Debug, Clone, PartialEq)]
pub struct RttConfig {
    /// From a sample of a flow and direction to the next; 0: as many as there are.
    pub interval: Duration,
    /// Flows that a worker follows at the same time.
    pub flows: usize,
    /// Whether TCP's handshakes are samples too.
    pub handshakes: bool,
    /// The file of customers' prefixes, if there is one: an absolute path.
    pub prefixes: Option<PathBuf>,
    /// Whose they are.
    pub customers: Arc<[Listed]>,
}

/// Shaping.
#[derive(Debug, Clone, PartialEq)]
pub struct ShaperConfig {
    /// Who may send how much: what the files say that the section names.
    pub plan: Arc<Plan>,
    /// What is not wrong with the plan but will surprise; one sentence each, the first of each kind.
    pub warnings: Vec<String>,
    /// How many there are, those that are not shown included.
    pub warned: usize,
    /// Bytes of packets that may wait at all workers together.
    pub memory: u64,
}

impl Config {
    /// Reads and checks a file. To be called from a thread that is not pinned to a core: the cores that the calling thread may use are
    /// the ones that the config may name.
    pub fn load(path: &Path) -> Result<Config, Problems> {
        let text = text(path)?;
        Config::parse(&text, path)
    }

    /// Checks the text of a file that is (or would be) at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Problems> {
        read::config(text, path, &read::Machine::this())
    }
}

fn text(path: &Path) -> Result<String, Problems> {
    let wrong = |what, fix: &str| Problems(vec![Problem::of_file(path, what, fix.to_owned())]);
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let fix = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "name the config with --config, or write one with two [[port]] tables"
            }
            std::io::ErrorKind::PermissionDenied => "run as root, or make the file readable",
            _ => "name a readable file with --config",
        };
        return Err(wrong(format!("cannot be read ({error})"), fix));
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong(
            format!("is larger than {} KiB", MAX_FILE >> 10),
            "name weir's config with --config",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(error.as_bytes());
        let place = error.utf8_error().valid_up_to();
        let what = format!("byte {:#04x} is not UTF-8", error.as_bytes()[place]);
        Problems(vec![Problem::at(path, &valid, place..place, what, "save the file as UTF-8".to_owned())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Config::load(&folder.path().join("weir.toml")).unwrap_err().to_string();
        assert!(missing.contains("weir.toml: cannot be read") && missing.contains("--config"), "{missing}");
        let is_a_folder = Config::load(folder.path()).unwrap_err().to_string();
        assert!(is_a_folder.contains("cannot be read"), "{is_a_folder}");
        let endless = Config::load(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(endless.contains("larger than 1024 KiB"), "{endless}");
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.toml");
        std::fs::write(&path, b"[[port]]\ndevice = \"\xff\"\n").unwrap();
        let problems = Config::load(&path).unwrap_err();
        assert_eq!(problems.0[0].position(), (2, 11));
        assert!(problems.to_string().contains("byte 0xff is not UTF-8"), "{problems}");
    }

    #[test]
    fn a_file_is_read_and_its_paths_are_relative_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.toml");
        std::fs::write(&path, "[[port]]\ndevice = \"eth1\"\n[control]\nsocket = \"run/c.sock\"\n").unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.ports, [PortConfig { device: "eth1".into(), side: None, vlan: None }]);
        assert_eq!(config.control.socket, folder.path().join("run/c.sock"));
        assert_eq!(config.stats.socket, Path::new(STATS_SOCKET));
    }
}
