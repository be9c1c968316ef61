//! The bench's two XDP programs, a few instructions each, and the kernel's own packet generator: `BPF_PROG_TEST_RUN` with live frames,
//! which runs a program over fresh frames and does with them what it says (Documentation/bpf/bpf_prog_run.rst).
//!
//! Invariant of the `unsafe` here: libbpf is given open descriptors and structures that say their own size, are zero but for what is set
//! by name, and outlive the call; a descriptor that it returns is owned by nobody else.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use libbpf_rs::libbpf_sys::{
    self as sys, BPF_ADD, BPF_ALU, BPF_ALU64, BPF_AND, BPF_B, BPF_CALL, BPF_END, BPF_EXIT,
    BPF_FUNC_get_prandom_u32, BPF_FUNC_jiffies64, BPF_H, BPF_JGT, BPF_JMP, BPF_K, BPF_LDX, BPF_MEM, BPF_MOV,
    BPF_ST, BPF_STX, BPF_TO_BE, BPF_W, BPF_X, XDP_ABORTED, XDP_DROP, XDP_TX, bpf_insn, xdp_md,
};

/// Bytes of a generated frame: a TCP acknowledgement with timestamps, the smallest packet that TCP sends all the time.
pub const FRAME: usize = 66;
/// Where the frame has TCP's source port, and where its TSval.
const SOURCE_PORT: i16 = 34;
const TSVAL: i16 = 58;
/// Flows, which differ in their source ports; a power of two.
pub const FLOWS: u16 = 1024;
/// Frames that the kernel generates before it looks at what they have set off: a NAPI poll's budget (linux/netdevice.h).
const BATCH: u32 = 64;

/// A loaded program.
pub struct Program(OwnedFd);

/// A program on a device; off it when dropped, and at the latest with the process.
pub struct Attachment {
    _link: OwnedFd,
}

impl Program {
    /// Drops every packet, in the driver.
    pub fn sink() -> Result<Program> {
        let program = [operation(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_DROP as i32), exit()];
        load(c"weir_sink", &program).context("cannot load the sink's XDP program")
    }

    /// Sends every frame back by the device that it came from, as `frame` was at first. Frames are used again and again, and the kernel's
    /// forwarding writes into them: the addresses, the time to live and the checksum are therefore put right every time. Each is one of
    /// [`FLOWS`] at random, and its TSval is the time in the kernel's ticks.
    pub fn generator(frame: &[u8; FRAME]) -> Result<Program> {
        let word = |at: usize| i32::from_ne_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let checksum = i32::from(i16::from_ne_bytes([frame[24], frame[25]]));
        // The sixth register survives calls.
        let (result, context, end, past, data) = (0, 1, 3, 4, 6);
        let program = [
            operation(BPF_LDX | BPF_MEM | BPF_W, data, context, 0, 0), // xdp_md.data
            operation(BPF_LDX | BPF_MEM | BPF_W, end, context, 4, 0),  // xdp_md.data_end
            operation(BPF_ALU64 | BPF_MOV | BPF_X, past, data, 0, 0),
            operation(BPF_ALU64 | BPF_ADD | BPF_K, past, 0, 0, FRAME as i32),
            operation(BPF_JMP | BPF_JGT | BPF_X, past, end, 13, 0), // what the verifier wants to see
            operation(BPF_ST | BPF_MEM | BPF_W, data, 0, 0, word(0)),
            operation(BPF_ST | BPF_MEM | BPF_W, data, 0, 4, word(4)),
            operation(BPF_ST | BPF_MEM | BPF_W, data, 0, 8, word(8)),
            operation(BPF_ST | BPF_MEM | BPF_B, data, 0, 22, i32::from(frame[22])), // TTL
            operation(BPF_ST | BPF_MEM | BPF_H, data, 0, 24, checksum),
            operation(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_prandom_u32 as i32),
            operation(BPF_ALU64 | BPF_AND | BPF_K, result, 0, 0, i32::from(FLOWS - 1)),
            operation(BPF_STX | BPF_MEM | BPF_H, data, result, SOURCE_PORT, 0),
            operation(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_jiffies64 as i32),
            operation(BPF_ALU | BPF_END | BPF_TO_BE, result, 0, 0, 32),
            operation(BPF_STX | BPF_MEM | BPF_W, data, result, TSVAL, 0),
            operation(BPF_ALU64 | BPF_MOV | BPF_K, result, 0, 0, XDP_TX as i32),
            exit(),
            operation(BPF_ALU64 | BPF_MOV | BPF_K, result, 0, 0, XDP_ABORTED as i32),
            exit(),
        ];
        load(c"weir_generator", &program).context("cannot load the generator's XDP program")
    }

    /// Puts the program on a device of the calling thread's network namespace, in the driver.
    pub fn attach(&self, ifindex: u32) -> Result<Attachment> {
        let options = sys::bpf_link_create_opts {
            sz: size_of::<sys::bpf_link_create_opts>() as sys::size_t,
            flags: sys::XDP_FLAGS_DRV_MODE,
            ..Default::default()
        };
        // SAFETY: the module's invariant.
        let result = unsafe {
            sys::bpf_link_create(self.0.as_raw_fd(), ifindex as i32, sys::BPF_XDP, &raw const options)
        };
        let link = descriptor(result).context("cannot put the sink's XDP program on its device")?;
        Ok(Attachment { _link: link })
    }

    /// Runs the program over `count` copies of `frame` as if they had come in by a device of the calling thread's network namespace.
    pub fn run_live(&self, frame: &[u8; FRAME], ifindex: u32, count: u32) -> io::Result<()> {
        let context = xdp_md { data_end: FRAME as u32, ingress_ifindex: ifindex, ..Default::default() };
        let mut options = sys::bpf_test_run_opts {
            sz: size_of::<sys::bpf_test_run_opts>() as sys::size_t,
            data_in: frame.as_ptr().cast(),
            data_size_in: FRAME as u32,
            ctx_in: (&raw const context).cast(),
            ctx_size_in: size_of::<xdp_md>() as u32,
            repeat: count as i32,
            flags: sys::BPF_F_TEST_XDP_LIVE_FRAMES,
            batch_size: BATCH,
            ..Default::default()
        };
        // SAFETY: the module's invariant; the frame and the context are as long as the options say.
        let result = unsafe { sys::bpf_prog_test_run_opts(self.0.as_raw_fd(), &raw mut options) };
        if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
    }
}

fn operation(code: u32, target: u8, source: u8, offset: i16, immediate: i32) -> bpf_insn {
    let mut instruction = bpf_insn { code: code as u8, off: offset, imm: immediate, ..Default::default() };
    instruction.set_dst_reg(target);
    instruction.set_src_reg(source);
    instruction
}

fn exit() -> bpf_insn {
    operation(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
}

fn load(name: &std::ffi::CStr, program: &[bpf_insn]) -> io::Result<Program> {
    // SAFETY: the module's invariant; no options are given, and the strings end in a zero.
    let result = unsafe {
        sys::bpf_prog_load(
            sys::BPF_PROG_TYPE_XDP,
            name.as_ptr(),
            c"Apache-2.0".as_ptr(),
            program.as_ptr(),
            program.len() as sys::size_t,
            std::ptr::null_mut(),
        )
    };
    descriptor(result).map(Program)
}

fn descriptor(result: i32) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}
