use std::time::Duration;

use super::ports::wrong_device_name;
use super::*;

use crate::config::{BridgeConfig, PortConfig, RttConfig, VlanConfig};
use weir_graph::ports::Side;

fn machine() -> Machine {
    Machine { cores: vec![0, 1, 2, 3, 8], has_group: |group| group == "weir" }
}

fn read(text: &str) -> Result<Config, Problems> {
    config(text, Path::new("/etc/weir/weir.toml"), &machine())
}

/// A config with a port and these lines.
fn with(lines: &str) -> Result<Config, Problems> {
    // The shaper asks for sides.
    let side = if lines.contains("[shaper]") { ", side = \"lan\"" } else { "" };
    read(&format!("port = [{{ device = \"eth1\"{side} }}]\n{lines}"))
}

/// What is wrong with the second and later lines: `(line, column, what, fix)`.
#[track_caller]
fn only_problem(lines: &str) -> (usize, usize, String, String) {
    let problems = with(lines).unwrap_err();
    let [problem] = &problems.0[..] else { panic!("not one problem:\n{problems}") };
    let (line, column) = problem.position();
    (line, column, problem.what.clone(), problem.fix.clone())
}

#[track_caller]
fn assert_problem(lines: &str, line: usize, column: usize, what: &str, fix: &str) {
    let problem = only_problem(lines);
    assert_eq!((problem.0, problem.1), (line, column), "{problem:?}");
    assert!(problem.2.contains(what) && problem.3.contains(fix), "{problem:?}");
}

#[test]
fn two_ports_alone_make_a_router() {
    let config = read("[[port]]\ndevice = \"eth1\"\n\n[[port]]\ndevice = \"eth2\"\n").unwrap();
    let expected = Config {
        ports: vec![
            PortConfig { device: "eth1".into(), side: None, vlan: None },
            PortConfig { device: "eth2".into(), side: None, vlan: None },
        ],
        bridge: None,
        workers: WorkersConfig { cores: vec![8], idle: Idle::Adaptive },
        stats: StatsConfig { socket: "/run/weir/stats.sock".into(), group: None, size: None },
        control: ControlConfig { socket: "/run/weir/control.sock".into() },
        fib: FibConfig { routes: 1_048_576, routes6: 524_288 },
        rtt: None,
        shaper: None,
    };
    assert_eq!(config, expected);
}

#[test]
fn every_key_is_read() {
    let config = with(
        "[workers]\ncores = [2, 0x1]\nidle = \"poll\"\n\
         [stats]\nsocket = \"run/stats.sock\"\ngroup = \"weir\"\nsize = \"16GiB\"\n\
         [control]\nsocket = \"/run/c.sock\"\n[fib]\nroutes = 1_024\nroutes6 = 2_048\n",
    )
    .unwrap();
    assert_eq!(config.workers, WorkersConfig { cores: vec![2, 1], idle: Idle::Poll });
    let stats = StatsConfig {
        socket: "/etc/weir/run/stats.sock".into(),
        group: Some("weir".into()),
        size: Some(16 << 30),
    };
    assert_eq!(config.stats, stats);
    assert_eq!(config.control.socket, Path::new("/run/c.sock"));
    assert_eq!(config.fib, FibConfig { routes: 1024, routes6: 2048 });
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let problems = read(
        "[[port]]\ndevise = \"eth1\"\n\n[[port]]\ndevice = 7\n\n[worker]\n\n[workers]\ncores = [1, 1, 9]\nidle = \"pol\"\n",
    )
    .unwrap_err();
    assert_eq!(
        problems.to_string(),
        "\
/etc/weir/weir.toml:1:1: this port has no device
  1 | [[port]]
    | ^^^^^^^^ write `device = \"eth1\"` below it
/etc/weir/weir.toml:2:1: [[port]] has no key `devise`
  2 | devise = \"eth1\"
    | ^^^^^^ write `device`
/etc/weir/weir.toml:5:10: `device` is of type integer, and must be a string
  5 | device = 7
    |          ^ write `device = \"eth1\"`
/etc/weir/weir.toml:7:2: `worker` is not a section of weir's
  7 | [worker]
    |  ^^^^^^ write `[workers]`
/etc/weir/weir.toml:10:13: core 1 has a worker already
  10 | cores = [1, 1, 9]
     |             ^ name each core once
/etc/weir/weir.toml:10:16: the machine has no core 9, or this process may not use it
  10 | cores = [1, 1, 9]
     |                ^ the usable cores are 0-3, 8
/etc/weir/weir.toml:11:8: there is no idle policy \"pol\"
  11 | idle = \"pol\"
     |        ^^^^^ write \"poll\""
    );
}

#[test]
fn what_is_not_toml_is_reported_beside_what_is_wrong_elsewhere() {
    let problems = read("[[port]]\ndevice = eth1\n[workers]\ncores = 1, 2\nidel = \"poll\"\n").unwrap_err();
    let places: Vec<_> = problems.0.iter().map(Problem::position).collect();
    assert_eq!(places, [(2, 10), (4, 10), (5, 1)], "{problems}");
    assert!(problems.to_string().contains("write \"eth1\""), "{problems}");
}

#[test]
fn a_broken_header_is_not_blamed_on_the_keys_below_it() {
    let problems = read("[[port]\ndevice = \"eth1\"\n").unwrap_err();
    assert_eq!(problems.0.len(), 1, "{problems}");
    assert_eq!((problems.0[0].position(), problems.0[0].fix.as_str()), ((1, 8), "write `]` here"));
}

#[test]
fn a_config_without_ports_says_how_to_write_one() {
    for text in ["", "# nothing\n", "[workers]\n"] {
        let problems = read(text).unwrap_err().to_string();
        assert!(problems.contains("there is no [[port]]: write `[[port]]` and below it"), "{problems}");
    }
    for text in ["port = []\n", "port = 1\n", "[port]\ndevice = \"eth1\"\n", "port = [1]\n"] {
        let problems = read(text).unwrap_err();
        assert_eq!(problems.0[0].position().0, 1, "{problems}");
        assert!(problems.0[0].fix.contains("[[port]]"), "{problems}");
    }
}

#[test]
fn device_names_are_those_that_linux_allows() {
    for name in ["e", "eth1.100", "wg-home_0", "exactly15bytes_", "déva"] {
        assert_eq!(wrong_device_name(name), None, "{name}");
    }
    for name in
        ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "a\0", "sixteen_bytes_ab", "fünfzehnbytes_ab", "à"]
    {
        assert!(wrong_device_name(name).is_some(), "{name}");
    }
    let twice = read("[[port]]\ndevice = \"a\"\n[[port]]\ndevice = \"a\"\n").unwrap_err();
    assert_eq!(twice.0[0].position(), (4, 10), "{twice}");
    assert!(twice.0[0].what.contains("is a port already"), "{twice}");
}

#[test]
fn unknown_names_lead_to_the_known_ones() {
    assert_problem("[workers]\ncore = [1]\n", 3, 1, "[workers] has no key `core`", "write `cores`");
    assert_problem("[workers]\nthreads = 2\n", 3, 1, "no key `threads`", "are `cores`, `idle`");
    assert_problem("[fib]\ncores = [1]\n", 3, 1, "no key `cores`", "move it below `[workers]`");
    assert_problem("[Stats]\n", 2, 2, "`Stats` is not a section", "write `[stats]`");
    assert_problem(
        "[firewall]\n",
        2,
        2,
        "`firewall` is not a section",
        "[[port]], [bridge], [workers], [stats], [control], [fib]",
    );
    assert_problem("routes = 4096\n", 2, 1, "outside of its section", "move it below `[fib]`");
    assert_problem("colour = 1\n", 2, 1, "`colour` is not a key", "the sections are");
    assert_problem("[[fib]]\n", 2, 1, "stands once", "write `[fib]`");
    assert_problem("workers = 3\n", 2, 11, "stands once", "write `[workers]`");
}

#[test]
fn cores_are_a_list_of_usable_numbers() {
    assert_problem("[workers]\ncores = 1\n", 3, 9, "is of type integer, and must be a list", "`cores = [8]`");
    assert_problem("[workers]\ncores = []\n", 3, 9, "names no core", "`cores = [8]`");
    assert_problem("[workers]\ncores = [\"1\"]\n", 3, 10, "a core is of type string", "`cores = [8]`");
    assert_problem("[workers]\ncores = [-1]\n", 3, 10, "no core -1", "0-3, 8");
    assert_problem("[workers]\ncores = [4]\n", 3, 10, "no core 4", "0-3, 8");
    assert_problem("[workers]\ncores = [99999999999999999999]\n", 3, 10, "", "");
}

#[test]
fn idle_is_one_of_two_words() {
    assert_problem(
        "[workers]\nidle = \"sleep\"\n",
        3,
        8,
        "no idle policy \"sleep\"",
        "\"adaptive\", \"poll\"",
    );
    assert_problem("[workers]\nidle = true\n", 3, 8, "is of type boolean", "`idle = \"adaptive\"`");
}

#[test]
fn sizes_carry_their_unit() {
    for (text, bytes) in
        [("16MiB", 16 << 20), ("16384KiB", 16 << 20), ("16777216", 16 << 20), ("3GiB", 3 << 30)]
    {
        assert_eq!(size(text), Some(bytes));
        assert_eq!(with(&format!("[stats]\nsize = \"{text}\"\n")).unwrap().stats.size, Some(bytes));
    }
    assert_eq!(with("[stats]\nsize = 16777216\n").unwrap().stats.size, Some(16 << 20));
    for text in [
        "",
        "GiB",
        "16GB",
        "16gib",
        "1.5GiB",
        "-1",
        "+16MiB",
        "16 MiB",
        "99999999999999999999",
        "17179869184GiB",
    ] {
        assert_eq!(size(text), None, "{text}");
    }
    assert_problem("[stats]\nsize = \"16GB\"\n", 3, 8, "not a number of bytes", "\"16GiB\"");
    assert_problem("[stats]\nsize = -1\n", 3, 8, "not a number of bytes", "\"16GiB\"");
    assert_problem("[stats]\nsize = 1.5\n", 3, 8, "of type float", "\"16GiB\"");
    assert_problem("[stats]\nsize = 16777215\n", 3, 8, "out of range", "\"16MiB\"");
    assert_problem("[stats]\nsize = \"65537GiB\"\n", 3, 8, "out of range", "\"65536GiB\"");
}

#[test]
fn sockets_are_paths_that_fit_into_an_address() {
    for path in ["", "run/", "/", "..", "a\\u0000b"] {
        assert_problem(
            &format!("[control]\nsocket = \"{path}\"\n"),
            3,
            10,
            "cannot name a socket",
            "/run/weir/control.sock",
        );
    }
    let fits = format!("/{}", "s".repeat(106));
    assert_eq!(with(&format!("[stats]\nsocket = \"{fits}\"\n")).unwrap().stats.socket, Path::new(&fits));
    assert_problem(
        &format!("[stats]\nsocket = \"{fits}s\"\n"),
        3,
        10,
        "has 108 bytes",
        "/run/weir/stats.sock",
    );
    assert_problem("[stats]\nsocket = \"/run/weir/control.sock\"\n", 3, 10, "are the same", "another path");
    assert_problem(
        "[stats]\nsocket = \"/a\"\n[control]\nsocket = \"/a\"\n",
        5,
        10,
        "are the same",
        "another path",
    );
}

#[test]
fn the_group_exists() {
    for group in ["wheel", "", "a:b", "a\\u0000"] {
        assert_problem(&format!("[stats]\ngroup = \"{group}\"\n"), 3, 9, "there is no group", "groupadd");
    }
    assert!((Machine::this().has_group)("root"));
    assert!(!(Machine::this().has_group)("weir-no-such-group"));
}

#[test]
fn routes_are_in_range() {
    for routes in ["1023", "4194305", "-1", "99999999999999999999"] {
        assert_problem(&format!("[fib]\nroutes = {routes}\n"), 3, 10, "out of range", "from 1024 to 4194304");
    }
    assert_problem("[fib]\nroutes = \"1024\"\n", 3, 10, "of type string", "from 1024 to 4194304");
    assert_eq!(with("[fib]\nroutes = 4194304\n").unwrap().fib.routes, 4_194_304);
    assert_problem("[fib]\nroutes6 = 1048577\n", 3, 11, "out of range", "from 1024 to 1048576");
}

#[test]
fn this_machine_has_cores() {
    let cores = Machine::this().cores;
    assert_eq!(cores.len(), std::thread::available_parallelism().unwrap().get());
    assert!(cores.is_sorted());
}

#[test]
fn numbers_are_listed_as_ranges() {
    assert_eq!(ranges(&[]), "");
    assert_eq!(ranges(&[0]), "0");
    assert_eq!(ranges(&[0, 1, 2, 4, 6, 7]), "0-2, 4, 6-7");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC*") {
        let _ = read(&text);
    }

    /// Pieces of real configs in any order reach deeper than any text.
    #[test]
    fn any_mixture_of_real_pieces_is_read_without_a_panic(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "[[port]]", "[port]", "[workers]", "[stats]", "[", "]", "device", "cores", "idle", "size", "=", " ", "\n", "\"",
            "é", "'", "'''", "1", "-", "{", "}", ",", ".", "\"eth1\"", "\"16GiB\"", "#", "\r\n", "\u{1b}", "1979-05-27",
        ]), 0..40)
    ) {
        if let Err(problems) = read(&pieces.concat()) {
            proptest::prop_assert!(!problems.to_string().contains('\u{1b}'), "{}", problems);
        }
    }
}

#[test]
fn the_measurement_is_on_where_its_section_stands() {
    let config = with("[rtt]\n").unwrap();
    let expected = RttConfig {
        interval: Duration::from_millis(100),
        flows: 131_072,
        handshakes: false,
        prefixes: None,
        customers: [].into(),
    };
    assert_eq!(config.rtt, Some(expected));
    let rtt = with("[rtt]\ninterval = \"0\"\nflows = 0x1000\nhandshakes = true\n").unwrap().rtt.unwrap();
    assert_eq!((rtt.interval, rtt.flows, rtt.handshakes), (Duration::ZERO, 4096, true));
    let rtt = with("[rtt]\ninterval = \"1s 500ms\"\n").unwrap().rtt.unwrap();
    assert_eq!(rtt.interval, Duration::from_millis(1500));
    for interval in ["\"\"", "\"100\"", "\"-1s\"", "\"fast\"", "\"2h\"", "100"] {
        assert_problem(&format!("[rtt]\ninterval = {interval}\n"), 3, 12, "`interval`", "\"100ms\"");
    }
    assert_problem("[rtt]\nflows = 10\n", 3, 9, "`flows` is out of range", "from 1024 to 16777216");
    assert_problem(
        "[rtt]\nhandshakes = \"yes\"\n",
        3,
        14,
        "`handshakes` is of type string",
        "handshakes = true",
    );
    assert_problem("[rtt]\nprefix = \"a\"\n", 3, 1, "has no key `prefix`", "write `prefixes`");
}

#[test]
fn prefixes_stand_in_a_file_beside_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[[port]]\ndevice = \"eth1\"\n[rtt]\nprefixes = \"customers.txt\"\n";
    let path = folder.path().join("weir.toml");
    let missing = config(text, &path, &machine()).unwrap_err().to_string();
    assert!(missing.contains("customers.txt: can't read the prefixes"), "{missing}");
    std::fs::write(folder.path().join("customers.txt"), "10.0.0.0/24 alice\n10.0.1.0/24\n").unwrap();
    let wrong = config(text, &path, &machine()).unwrap_err().to_string();
    assert!(wrong.contains("customers.txt:2:1: a prefix without a name"), "{wrong}");
    std::fs::write(folder.path().join("customers.txt"), "10.0.0.0/24 alice\n10.0.1.0/24 bob\n").unwrap();
    let rtt = config(text, &path, &machine()).unwrap().rtt.unwrap();
    assert_eq!(rtt.prefixes, Some(folder.path().join("customers.txt")));
    let names: Vec<_> = rtt.customers.iter().map(|customer| &*customer.name).collect();
    assert_eq!(names, ["alice", "bob"]);
}

const CUSTOMER: &str =
    "[[shaper.customer]]\nname = \"a\"\nprefixes = [\"10.0.0.1\"]\ndown = \"10mbit\"\nup = \"2mbit\"\n";

#[test]
fn what_is_shaped_stands_in_the_config_or_in_files_beside_it() {
    let shaper = with(&format!("[shaper]\n{CUSTOMER}")).unwrap().shaper.unwrap();
    let max =
        |plan: &crate::shaper::Plan| plan.customers.iter().map(|it| it.rates.down.max).collect::<Vec<_>>();
    assert_eq!((max(&shaper.plan), shaper.memory, shaper.plan.unknown), (vec![10_000_000], 256 << 20, None));
    assert_eq!(shaper.plan.link.up.max, 100_000_000_000);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.toml");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("network.json", "{ \"AP\": { \"downloadBandwidthMbps\": 50, \"uploadBandwidthMbps\": 20 } }");
    write(
        "devices.csv",
        "Circuit ID,Parent Node,IPv4,Download Max Mbps,Upload Max Mbps\n7,AP,10.0.0.7,25.5,5\n",
    );
    let text = format!(
        "port = [{{ device = \"eth1\", side = \"lan\" }}]\n\n[shaper]\ntree = \"network.json\"\ncircuits = \"devices.csv\"\nmemory = \"1GiB\"\n\
         unknown = {{ down = \"5mbit\", up = \"1mbit\" }}\ndown = \"1gbit\"\nup = \"500mbit\"\noverhead = \"ethernet\"\n\
         queue = \"besteffort/diffserv8\"\n{CUSTOMER}"
    );
    let shaper = config(&text, &path, &machine()).unwrap().shaper.unwrap();
    assert_eq!((max(&shaper.plan), shaper.memory), (vec![25_500_000, 10_000_000, 5_000_000], 1 << 30));
    assert_eq!((shaper.plan.link.down.max, shaper.plan.unknown), (1_000_000_000, Some(2)));
    assert_eq!((shaper.plan.overheads[0].bytes, shaper.plan.disciplines.len()), (38, 2));
    write(
        "devices.csv",
        "Circuit ID,Parent Node,IPv4,Download Max Mbps,Upload Max Mbps\n7,AP,10.0.0.1,fast,5\n",
    );
    let problems = config(&text.replace("2mbit", "2"), &path, &machine()).unwrap_err().to_string();
    for expected in [
        "weir.toml:16:6: 2 bit/s is not between 64 kbit/s and 100 Gbit/s",
        "weir.toml:14:14: 10.0.0.1/32 stands in ",
        "devices.csv, line 2, already",
        "devices.csv:2:15: `fast` is not a rate",
    ] {
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}

#[test]
fn mistakes_of_the_section_shaper_have_remedies() {
    for (line, column, what, fix) in [
        ("unknown = \"drop\"", 11, "no policy", "unknown = \"unshaped\""),
        ("unknown = 5", 11, "must be a string or a table", "unknown = \"unshaped\""),
        ("unknown = { down = \"5mbit\" }", 11, "`unknown` has no `up`", "up = \"2mbit\""),
        ("down = \"fast\"", 8, "`down` is not a rate", "\"1gbit\""),
        ("up = \"1kbit\"", 6, "1 kbit/s is not between", "\"1gbit\""),
        ("queue = \"pie\"", 9, "the word `pie`", "diffserv4"),
        ("queue = \"docsis\"", 9, "not how it is queued", "overhead ="),
        ("queue = \"nat\"", 9, "nothing like `nat`", "leave it out"),
        ("overhead = \"docsi\"", 12, "`docsi` is no keyword for overhead", "docsis"),
        ("memory = \"1KiB\"", 10, "`memory` is out of range", "\"4MiB\""),
        ("memory = \"much\"", 10, "not a number of bytes", "\"4MiB\""),
        ("tree = 5", 8, "`tree` is of type integer", "tree = "),
        ("circuit = \"a\"", 1, "has no key `circuit`", "write `circuits`"),
    ] {
        assert_problem(&format!("[shaper]\n{line}\n{CUSTOMER}"), 3, column, what, fix);
    }
    let problems = with("[shaper]\n").unwrap_err().to_string();
    assert!(problems.contains("[shaper] names no customers: write `circuits ="), "{problems}");
    let sideless = read(&format!("{NO_SIDES}[shaper]\n{CUSTOMER}")).unwrap_err().to_string();
    assert!(sideless.contains("[shaper] needs to know the side of \"eth2\": write `side = "), "{sideless}");
    let two = "[workers]\ncores = [0, 1]\n";
    assert!(with(&format!("{two}[shaper]\n{CUSTOMER}")).is_ok(), "customers alone are each one worker's");
    assert!(with(&format!("{two}[shaper]\ndown = \"1gbit\"\n{CUSTOMER}")).is_ok(), "workers share the link");
    let both = with(&format!("[rtt]\nprefixes = \"p\"\n[shaper]\n{CUSTOMER}")).unwrap_err().to_string();
    assert!(both.contains(":3:12: `prefixes` names customers, and [shaper] does too"), "{both}");
}

#[test]
fn a_port_can_be_a_vlan_of_another_one() {
    let text = "port = [{ device = \"eth1\" }, \
        { device = \"eth1.100\", parent = \"eth1\", vlan = 100, side = \"lan\" }, \
        { device = \"customer\", parent = \"eth1\", vlan = 100, service-vlan = 7 }]\n";
    let config = read(text).unwrap();
    let one = VlanConfig { parent: "eth1".into(), vlan: 100, service_vlan: None };
    let two = VlanConfig { service_vlan: Some(7), ..one.clone() };
    assert_eq!((config.ports[0].vlan.as_ref(), config.ports[1].vlan.as_ref()), (None, Some(&one)));
    assert_eq!(config.ports[2].vlan, Some(two.clone()));
    assert_eq!(one.tags().bytes()[..4], [0x81, 0, 0, 100]);
    assert_eq!(two.tags().bytes(), [0x88, 0xa8, 0, 7, 0x81, 0, 0, 100]);
    for (port, what, fix) in [
        ("parent = \"eth1\"", "has a `parent` and a `vlan`", "`vlan = 100`"),
        ("vlan = 7", "has a `parent` and a `vlan`", "`parent = \"eth1\"`"),
        ("service-vlan = 7", "has a `parent` and a `vlan`", "`parent = \"eth1\"`"),
        ("parent = \"eth1\", vlan = 4095", "out of range", "from 1 to 4094"),
        ("parent = \"eth1\", vlan = 7, service-vlan = 0", "out of range", "from 1 to 4094"),
        ("parent = 1, vlan = 7", "of type integer", "\"eth1\""),
        ("parent = \"eth9\", vlan = 7", "no [[port]] \"eth9\"", "`device = \"eth9\"`"),
        ("parent = \"eth2\", vlan = 7", "\"eth2\" is a VLAN itself", "`service-vlan` and `vlan`"),
        ("parent = \"eth1\", vlan = 5", "\"eth2\" is this VLAN already", "another one"),
    ] {
        let ports = "{ device = \"eth1\" }, { device = \"eth2\", parent = \"eth1\", vlan = 5 }";
        let problems = read(&format!("port = [{ports}, {{ device = \"eth3\", {port} }}]\n")).unwrap_err();
        let [problem] = &problems.0[..] else { panic!("{port}: {problems}") };
        assert!(problem.what.contains(what) && problem.fix.contains(fix), "{port}: {problems}");
    }
    let ports = "port = [{ device = \"eth1\" }, { device = \"eth2\", parent = \"eth1\", vlan = 5 }]\n";
    let problems = read(&format!("{ports}[bridge]\nports = [\"eth1\", \"eth2\"]\n")).unwrap_err();
    assert!(problems.to_string().contains("\"eth2\" is a VLAN, and a bridge"), "{problems}");
}

const TWO: &str = "port = [{ device = \"eth1\", side = \"wan\" }, { device = \"eth2\", side = \"lan\" }]\n";
const NO_SIDES: &str = "port = [{ device = \"eth1\" }, { device = \"eth2\" }]\n";

#[test]
fn a_bridge_is_between_two_ports_or_two_vlans_of_one() {
    let config = read(&format!("{TWO}[bridge]\nports = [\"eth2\", \"eth1\"]\n")).unwrap();
    assert_eq!(config.bridge, Some(BridgeConfig::TwoPorts));
    assert_eq!(config.ports[0], PortConfig { device: "eth1".into(), side: Some(Side::Wan), vlan: None });
    assert_eq!(config.ports[1].side, Some(Side::Lan));
    let config = read(&format!("{NO_SIDES}[bridge]\nports = [\"eth1\", \"eth2\"]\n")).unwrap();
    assert_eq!((config.bridge, config.ports[0].side), (Some(BridgeConfig::TwoPorts), None));
    let config = with("[bridge]\nport = \"eth1\"\nwan-vlan = 4094\nlan-vlan = 1\n").unwrap();
    assert_eq!(config.bridge, Some(BridgeConfig::OnePort { wan_vlan: 4094, lan_vlan: 1 }));
    // A router's ports may have sides too.
    assert_eq!(read(TWO).unwrap().bridge, None);
}

#[test]
fn what_is_wrong_with_a_bridge_is_told() {
    let one = "port = [{ device = \"eth1\" }]\n";
    let three = "port = [{ device = \"eth1\" }, { device = \"eth2\" }, { device = \"eth3\" }]\n";
    let same = "port = [{ device = \"eth1\", side = \"lan\" }, { device = \"eth2\", side = \"lan\" }]\n";
    let half = "port = [{ device = \"eth1\" }, { device = \"eth2\", side = \"lan\" }]\n";
    for (ports, bridge, place, what, fix) in [
        (TWO, "", (2, 2), "names no ports", "write `ports = ["),
        (TWO, "ports = \"eth1\"", (3, 9), "of type string", "write `ports = ["),
        (TWO, "ports = [\"eth1\"]", (3, 9), "two ports, and this has 1", "two [[port]] tables"),
        (TWO, "ports = [\"eth1\", 2]", (3, 18), "of type integer", "such as \"eth1\""),
        (TWO, "ports = [\"eth1\", \"eth1\"]", (3, 18), "on both sides", "write `ports = ["),
        (TWO, "ports = [\"eth1\", \"eth22\"]", (3, 18), "no [[port]] \"eth22\"", "write \"eth2\""),
        (TWO, "ports = [\"eth1\", \"wlan0\"]", (3, 18), "no [[port]] \"wlan0\"", "`device = \"wlan0\"`"),
        (
            three,
            "ports = [\"eth1\", \"eth2\"]",
            (1, 62),
            "\"eth3\" is not in the bridge",
            "leave this [[port]] out",
        ),
        (
            three,
            "ports = [\"eth1\", \"eth2\", \"eth3\"]",
            (3, 9),
            "two ports, and this has 3",
            "two [[port]]",
        ),
        (
            same,
            "ports = [\"eth1\", \"eth2\"]",
            (1, 70),
            "both ports are on the side \"lan\"",
            "write \"wan\"",
        ),
        (
            half,
            "ports = [\"eth1\", \"eth2\"]",
            (1, 56),
            "\"eth1\" has none",
            "write `side = \"wan\"` for \"eth1\"",
        ),
        (TWO, "ports = [\"eth1\", \"eth2\"]\nwan-vlan = 2", (4, 12), "`wan-vlan` belongs to", "leave it out"),
        (TWO, "ports = [\"eth1\", \"eth2\"]\nport = \"eth1\"", (4, 8), "can't both", "write `ports = ["),
        (one, "port = \"eth1\"\nlan-vlan = 3", (2, 2), "`wan-vlan` is missing", "write `wan-vlan = 2`"),
        (one, "port = \"eth1\"\nwan-vlan = 2", (2, 2), "`lan-vlan` is missing", "write `lan-vlan = 3`"),
        (one, "port = \"eth1\"\nwan-vlan = 2\nlan-vlan = 4095", (5, 12), "out of range", "from 1 to 4094"),
        (one, "port = \"eth1\"\nwan-vlan = 0\nlan-vlan = 3", (4, 12), "out of range", "from 1 to 4094"),
        (one, "port = \"eth1\"\nwan-vlan = 2\nlan-vlan = 2", (5, 12), "the same VLAN", "another one"),
        (
            one,
            "port = \"eth2\"\nwan-vlan = 2\nlan-vlan = 3",
            (3, 8),
            "no [[port]] \"eth2\"",
            "write \"eth1\"",
        ),
        (
            NO_SIDES,
            "port = \"eth1\"\nwan-vlan = 2\nlan-vlan = 3",
            (1, 41),
            "is not in the bridge",
            "leave this",
        ),
        (
            "port = [{ device = \"eth1\", side = \"wan\" }]\n",
            "port = \"eth1\"\nwan-vlan = 2\nlan-vlan = 3",
            (1, 35),
            "this port is both sides",
            "leave `side` out",
        ),
        (one, "prot = \"eth1\"", (3, 1), "[bridge] has no key `prot`", "write `port`"),
    ] {
        let problems = read(&format!("{ports}[bridge]\n{bridge}\n")).unwrap_err();
        let found = problems.0.iter().any(|problem| {
            problem.position() == place && problem.what.contains(what) && problem.fix.contains(fix)
        });
        assert!(found, "{bridge}\n{problems}");
        assert!(problems.0.len() == 1 || bridge.starts_with("prot"), "{problems}");
    }
    let problems = read("[[port]]\ndevice = \"eth1\"\nside = \"wam\"\n").unwrap_err();
    assert!(problems.to_string().contains("there is no side \"wam\""), "{problems}");
    assert_eq!((problems.0[0].position(), problems.0[0].fix.as_str()), ((3, 8), "write \"wan\""));
    let problems = read("[[ports]]\ndevice = \"eth1\"\n").unwrap_err();
    assert!(problems.to_string().contains("write `[[port]]`"), "{problems}");
}
