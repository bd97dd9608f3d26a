//! libFuzzer over one of `bootstrapper::fuzz::TARGETS`, which `FUZZ_TARGET` names: started by `run.sh`.
#![no_main]

use std::alloc::System;
use std::sync::OnceLock;

use bootstrapper::fuzz::{TARGETS, Target};
use cap::Cap;
use libfuzzer_sys::fuzz_target;

/// Bytes that reading one input may hold at a time, beyond what the process held before the first one.
///
/// The program's own allocator counts them: what the sanitizer and libFuzzer need for themselves is not among them. Over
/// the limit an allocation fails, which ends the process, and libFuzzer keeps the input.
const MOST: usize = 64 << 20;

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn target() -> &'static Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    if name == "list" {
        // For run.sh: how long an input may be, and where each of them begins.
        for Target { name, most, seeds, .. } in &TARGETS {
            println!("{name}\t{most}\ttests/fuzz/corpus/{name} {}", seeds.join(" "));
        }
        std::process::exit(0);
    }
    let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        panic!("FUZZ_TARGET is {name:?}; there are {}", known());
    };
    // What is made once is made here: it belongs to no input.
    for bytes in [&b""[..], b"{}", b"a: b", b"#cloud-config\n"] {
        (target.read)(bytes);
    }
    assert!(HEAP.set_limit(HEAP.allocated() + MOST).is_ok(), "more is allocated than the limit");
    target
}

fuzz_target!(|bytes: &[u8]| (TARGET.get_or_init(target).read)(bytes));
