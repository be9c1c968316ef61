//! Compiles the XDP programs into `OUT_DIR/redirect.bpf.o` and `OUT_DIR/bridge.bpf.o`, and again, asking the driver for tags, into `redirect-tags.bpf.o` and
//! `bridge-tags.bpf.o`.

mod clang;

fn main() {
    let kinds = [("", None), ("-tags", Some("-DTAGS_BESIDE"))];
    let programs = ["redirect", "bridge"].into_iter().flat_map(|program| {
        kinds.map(|(suffix, define)| clang::Program {
            source: format!("bpf/{program}.bpf.c"),
            define,
            object: format!("{program}{suffix}.bpf.o"),
        })
    });
    clang::build(&programs.collect::<Vec<_>>());
}
