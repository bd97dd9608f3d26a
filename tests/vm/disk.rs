//! Disks: the image, overlays on it, blank ones, seeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process;
use crate::tools::Tools;

/// Half a gigabyte, on a slow and busy disk.
const COPY: Duration = Duration::from_secs(300);

/// A disk and how QEMU is to read it.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The file.
    pub file: PathBuf,
    /// Its format.
    pub format: Format,
    /// Where every write is recorded, if it is.
    pub record: Option<PathBuf>,
}

/// The format of a disk's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the disk.
    Raw,
    /// QEMU's own, which can stand on another disk.
    Qcow2,
}

impl Format {
    /// As QEMU calls it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        }
    }
}

impl Disk {
    /// A raw disk.
    pub fn raw(file: impl Into<PathBuf>) -> Disk {
        Disk { file: file.into(), format: Format::Raw, record: None }
    }

    /// The same disk, with every write recorded into this file.
    pub fn recorded(self, record: impl Into<PathBuf>) -> Disk {
        Disk { record: Some(record.into()), ..self }
    }

    /// A raw copy of a raw disk, grown to this size in bytes.
    pub fn copy(&self, file: impl Into<PathBuf>, size: u64) -> Result<Disk> {
        let file = file.into();
        // Unlike the standard library's, this one leaves the holes out.
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--reflink=auto"]).args([&self.file, &file]);
        process::output(&mut copy, COPY)?;
        fs::OpenOptions::new().write(true).open(&file)?.set_len(size)?;
        Ok(Disk::raw(file))
    }

    /// A new disk that starts as this one; this one must not change any more. Size in bytes, this one's without it.
    pub fn overlay(&self, tools: &Tools, file: impl Into<PathBuf>, size: Option<u64>) -> Result<Disk> {
        let file = file.into();
        // A relative name would be looked for beside the overlay.
        let base = self.file.canonicalize().with_context(|| format!("no disk at {}", self.file.display()))?;
        let mut command = vec!["create", "-q", "-f", "qcow2", "-F", self.format.name(), "-b"];
        let (base, name, size) = (base.to_string_lossy(), file.to_string_lossy(), size.map(|s| s.to_string()));
        command.extend([&*base, &*name]);
        command.extend(size.as_deref());
        tools.run("qemu-img", command)?;
        Ok(Disk { file, format: Format::Qcow2, record: None })
    }
}

/// A disk without a byte on it. Size in bytes.
pub fn blank(file: impl Into<PathBuf>, size: u64) -> Result<Disk> {
    let file = file.into();
    fs::File::create(&file)?.set_len(size)?;
    Ok(Disk::raw(file))
}

/// A file of the host's under this name of this run.
pub fn adopt(image: &Path, name: &str) -> Result<Disk> {
    let own = PathBuf::from(name);
    if fs::hard_link(image, &own).is_err() {
        fs::copy(image, &own).with_context(|| format!("cannot copy {}", image.display()))?;
    }
    Ok(Disk::raw(own))
}

/// A volume of this label with these files.
pub fn volume(tools: &Tools, directory: &Path, name: &str, label: &str, files: &[(&str, &[u8])]) -> Result<PathBuf> {
    let (tree, volume) = (directory.join(name), directory.join(format!("{name}.iso")));
    for (name, contents) in files {
        let file = tree.join(name);
        fs::create_dir_all(file.parent().unwrap_or(&tree))?;
        fs::write(file, contents)?;
    }
    if volume.exists() {
        fs::remove_file(&volume)?;
    }
    let (tree, target) = (tree.to_string_lossy(), volume.to_string_lossy());
    let common = ["-as", "mkisofs", "-quiet", "-volid", label, "-joliet", "-rational-rock", "-o"];
    tools.run("xorriso", common.into_iter().chain([&*target, &*tree]))?;
    Ok(volume)
}
