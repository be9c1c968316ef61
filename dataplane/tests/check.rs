//! `weir check`, as users run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::process::Command;

#[test]
fn warnings_are_said_line_by_line_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let ports = "[[port]]\ndevice = \"eth1\"\nside = \"wan\"\n[[port]]\ndevice = \"eth2\"\nside = \"lan\"\n";
    let shaper = "[rtt]\n[shaper]\ntree = \"network.json\"\ncircuits = \"ShapedDevices.csv\"\n";
    write("weir.toml", &format!("{ports}[bridge]\nports = [\"eth1\", \"eth2\"]\n{shaper}"));
    write("network.json", "{ \"Mast\": { \"downloadBandwidthMbps\": 1000, \"uploadBandwidthMbps\": 1000 } }");
    let mut devices =
        "Circuit ID,Parent Node,IPv4,Download Min Mbps,Upload Min Mbps,Download Max Mbps,Upload Max Mbps\n"
            .to_owned();
    devices += "a,Mast,192.0.2.1,1,1,10,10\na,Mast,192.0.2.2,1,1,20,10\nb,Mast,192.0.2.1,1,1,10,10\n";
    for at in 0..25 {
        devices += &format!("{at},Mats,198.51.100.{at},1,1,10,10\n");
    }
    write("ShapedDevices.csv", &devices);
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("check")
        .arg("--config")
        .arg(folder.path().join("weir.toml"))
        .output()
        .unwrap();
    let (said, warned) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{warned}");
    for (line, what) in [
        ("ShapedDevices.csv:3:22: ", "circuit `a` has 10 Mbit/s, as in line 2, and not 20 Mbit/s"),
        (
            "ShapedDevices.csv:4:8: ",
            "192.0.2.1/32 stands in line 2 already: circuit `b` has it, and `a` goes without",
        ),
        ("ShapedDevices.csv:5:3: ", "there is no node `Mats`: circuit `0` is left out"),
        ("", "circuits that are left out: 5 more like these"),
    ] {
        assert!(
            warned.lines().any(|it| it.contains(line) && it.contains(what)),
            "{what}\nis not in\n{warned}"
        );
    }
    // The line that counts stands for five.
    let count = warned.lines().filter(|line| line.starts_with("warning: ")).count() + 4;
    assert!(said.ends_with(&format!("weir.toml: ok, {count} warnings\n")), "{said}{warned}");
}
