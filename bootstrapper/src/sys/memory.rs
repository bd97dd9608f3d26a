//! Files that are nowhere but in memory: for tests that make millions of them.

use std::fs::File;
use std::io::{Result, Seek, Write};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// A file with these bytes, at its beginning.
///
/// # Errors
/// When the kernel has no memory or no descriptor for it.
pub fn file(bytes: &[u8]) -> Result<File> {
    let mut file = File::from(memfd_create("etcd-bootstrapper", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
