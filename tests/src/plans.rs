//! Plans for hosts of a lab, in the files that LibreQoS has.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::lab::Host;

/// A customer: a host, what it is called, and its plan in Mbit/s.
#[derive(Clone, Copy, Debug)]
pub struct Customer<'a> {
    /// Where it is.
    pub host: &'a Host,
    /// Its Circuit ID.
    pub id: &'a str,
    /// The node that it hangs on; empty: none.
    pub node: &'a str,
    /// Guaranteed, down and up.
    pub min: [f64; 2],
    /// The ceiling, down and up.
    pub max: [f64; 2],
}

/// Writes `network.json` and `ShapedDevices.csv`.
pub fn write(folder: &Path, network: &str, customers: &[Customer<'_>]) -> Result<()> {
    write_with(folder, network, customers, "")
}

/// The same with more lines at the end of `ShapedDevices.csv`.
pub fn write_with(folder: &Path, network: &str, customers: &[Customer<'_>], more: &str) -> Result<()> {
    let mut devices = String::from(
        "Circuit ID,Circuit Name,Device ID,Device Name,Parent Node,MAC,IPv4,IPv6,\
         Download Min Mbps,Upload Min Mbps,Download Max Mbps,Upload Max Mbps,Comment\n",
    );
    for (number, Customer { host, id, node, min, max }) in customers.iter().enumerate() {
        let (address, address6) = (host.address, host.address6);
        let ([min_down, min_up], [max_down, max_up]) = (min, max);
        writeln!(
            devices,
            "{id},customer {id},{number},device,{node},,{address},{address6},{min_down},{min_up},{max_down},{max_up},"
        )?;
    }
    devices += more;
    fs::write(folder.join("network.json"), network)?;
    fs::write(folder.join("ShapedDevices.csv"), devices)?;
    Ok(())
}
