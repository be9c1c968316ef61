//! A device, as the kernel describes it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A device of the calling thread's network namespace.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// The kernel's number of it.
    pub index: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The longest packet behind Ethernet's header and tags.
    pub mtu: u32,
    /// It is up.
    pub up: bool,
}

impl Device {
    /// The device of this name.
    pub fn named(name: &str) -> Result<Device> {
        let said = describe(name)?;
        let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| said.get(key).and_then(Value::as_u64).and_then(|it| u32::try_from(it).ok());
        Ok(Device {
            name: name.to_owned(),
            index: number("ifindex").with_context(|| format!("{name} has no number"))?,
            mac: mac(text("address")).with_context(|| format!("{name} is no Ethernet device"))?,
            mtu: number("mtu").with_context(|| format!("{name} has no MTU"))?,
            up: said
                .get("flags")
                .and_then(Value::as_array)
                .is_some_and(|flags| flags.iter().any(|flag| flag == "UP")),
        })
    }

    /// Packets that it has sent, by the kernel's count; of a veth those that the other end has received.
    pub fn sent(&self) -> Result<u64> {
        let said = describe(&self.name)?;
        let packets = said.pointer("/stats64/tx/packets").and_then(Value::as_u64);
        packets.with_context(|| format!("the kernel does not count {}", self.name))
    }
}

/// What `ip` says of the device: unlike /sys it speaks of the calling thread's namespace.
fn describe(name: &str) -> Result<Value> {
    let output = Command::new("ip")
        .args(["-json", "-statistics", "link", "show", "dev", name])
        .output()
        .context("cannot run `ip`: install iproute2")?;
    ensure!(
        output.status.success(),
        "there is no device {name} in this network namespace: `ip link` lists them (`ip netns exec` enters another namespace)"
    );
    let said: Value = serde_json::from_slice(&output.stdout).context("cannot read what `ip` says")?;
    said.get(0).cloned().with_context(|| format!("`ip` says nothing of {name}"))
}

/// A MAC address from its text.
pub fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<Vec<u8>>>()?;
    bytes.try_into().ok()
}
