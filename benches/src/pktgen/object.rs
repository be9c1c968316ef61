//! The two XDP programs, and the kernel's run of one over live frames (Documentation/bpf/bpf_prog_run.rst).
//!
//! Invariant of the `unsafe` here: libbpf is given an open descriptor and a structure that says its own size, is zero but for what is set by name, and outlives
//! the call, as do the buffers that it names.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, anyhow};
use libbpf_rs::libbpf_sys as sys;
use libbpf_rs::{ErrorKind, Link, MapCore as _, MapHandle, Object, ObjectBuilder, OpenObject};

use crate::pktgen::Device;

#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

/// The ELF files that build.rs makes, aligned as libelf wants them.
static GENERATE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/generate.bpf.o")));
static RECEIVE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/receive.bpf.o")));

/// A program in the kernel, with its maps.
pub(super) struct Loaded(Object);

impl Loaded {
    /// The generator, after `prepare` has seen to its maps.
    pub(super) fn generator(
        prepare: impl FnOnce(&mut OpenObject) -> libbpf_rs::Result<()>,
    ) -> Result<Loaded> {
        load(GENERATE, prepare).context("cannot load the generator's XDP program")
    }

    /// The receiver, likewise.
    pub(super) fn receiver(prepare: impl FnOnce(&mut OpenObject) -> libbpf_rs::Result<()>) -> Result<Loaded> {
        load(RECEIVE, prepare).context("cannot load the receiver's XDP program")
    }

    /// One of its maps.
    pub(super) fn map(&self, name: &str) -> Result<MapHandle> {
        let map = self.0.maps().find(|map| map.name() == name);
        let map = map.with_context(|| format!("the XDP program has no map {name}"))?;
        Ok(MapHandle::try_from(&map)?)
    }

    /// Puts the program on a device of the calling thread's network namespace, in the driver if that can do it; off it when the link is dropped.
    pub(super) fn attach(&self, device: &Device) -> Result<Link> {
        let program = self.0.progs_mut().next().context("the object holds no program")?;
        program.attach_xdp(i32::try_from(device.index)?).map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => "run as root, or with CAP_NET_ADMIN and CAP_BPF",
                _ => "another XDP program may be there (`ip link show` names it), or an MTU above some 3,500 bytes",
            };
            anyhow!("cannot put the receiver's XDP program on {}: {hint} ({error:#})", device.name)
        })
    }

    /// Runs the program `count` times over frames of so many bytes, all zeros at first, as if they had come in by a device of the calling thread's network namespace; what
    /// it sends is sent whenever it has run `batch` times.
    pub(super) fn run_live(&self, frame: &[u8], device: &Device, count: u32, batch: u32) -> io::Result<()> {
        let length = frame.len() as u32;
        let context = sys::xdp_md { data_end: length, ingress_ifindex: device.index, ..Default::default() };
        let mut options = sys::bpf_test_run_opts {
            sz: size_of::<sys::bpf_test_run_opts>() as sys::size_t,
            data_in: frame.as_ptr().cast(),
            data_size_in: length,
            ctx_in: (&raw const context).cast(),
            ctx_size_in: size_of::<sys::xdp_md>() as u32,
            repeat: count as i32,
            flags: sys::BPF_F_TEST_XDP_LIVE_FRAMES,
            batch_size: batch,
            ..Default::default()
        };
        let Some(program) = self.0.progs().next() else { return Err(io::ErrorKind::NotFound.into()) };
        // SAFETY: the module's invariant; the frame and the context are as long as the options say.
        let result = unsafe { sys::bpf_prog_test_run_opts(program.as_fd().as_raw_fd(), &raw mut options) };
        if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
    }

    /// Runs the program once over `frame` in a buffer of its own, and returns what has become of it.
    #[cfg(test)]
    pub(super) fn run_once(&self, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        let program = self.0.progs_mut().next().context("the object holds no program")?;
        let mut out = vec![0; 4096];
        let input =
            libbpf_rs::ProgramInput { data_in: Some(frame), data_out: Some(&mut out), ..Default::default() };
        let output = program.test_run(input)?;
        let data = output.data.context("the kernel gives nothing back")?.to_vec();
        Ok((output.return_value, data))
    }
}

fn load(
    elf: &Aligned<[u8]>,
    prepare: impl FnOnce(&mut OpenObject) -> libbpf_rs::Result<()>,
) -> Result<Loaded> {
    let loaded = ObjectBuilder::default().open_memory(&elf.0).and_then(|mut object| {
        prepare(&mut object)?;
        object.load()
    });
    loaded.map(Loaded).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied => "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
            _ => "Linux 5.18 or newer is needed",
        };
        anyhow!("{hint} ({error:#})")
    })
}
