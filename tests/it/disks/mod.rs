//! Disks: what is on them, which one becomes the data volume, and what a power cut during a format leaves. The images are
//! made by the mkfs programs of the tool root; loop devices and mounts need root.

mod beneath;
mod choice;
mod format;
mod mount;
mod probe;
mod twins;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use bootstrapper::sys::format::Programs;

use crate::support::scratch::Scratch;

const MIB: u64 = 1 << 20;

/// A sparse file of zeros.
fn image(scratch: &Scratch, name: &str, bytes: u64) -> PathBuf {
    let path = scratch.join(name);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

/// xfsprogs of the tool root.
fn programs(scratch: &Scratch) -> Programs {
    let shim = |name: &str| {
        let path = scratch.join(name);
        fs::write(&path, format!("#!/bin/sh\nexec {} {name} \"$@\"\n", enter())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    Programs { mkfs_xfs: shim("mkfs.xfs"), xfs_db: shim("xfs_db"), xfs_growfs: shim("xfs_growfs") }
}

fn enter() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/enter.sh")
}

/// Runs a shell command in the tool root.
fn tool(command: &str) -> String {
    let output = Command::new(enter()).args(["sh", "-ec", command]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
