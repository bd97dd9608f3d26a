//! A wrong clock for one program: the kernel has one wall clock for all of its namespaces.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A library that, preloaded, takes the wall clock away from a program; made once, by the compiler that ring needs too.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/it/support/clock.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clock-{}.so", std::process::id()));
        let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(status.expect("cc runs").success(), "clock.c does not compile");
        library
    })
}
