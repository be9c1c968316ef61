//! Compiles the XDP programs of weir-pktgen into `OUT_DIR/generate.bpf.o` and `OUT_DIR/receive.bpf.o`.

#[path = "../xdp-redirect/clang.rs"]
mod clang;

fn main() {
    clang::build(&["generate", "receive"].map(|program| clang::Program {
        source: format!("bpf/{program}.bpf.c"),
        define: None,
        object: format!("{program}.bpf.o"),
    }));
}
