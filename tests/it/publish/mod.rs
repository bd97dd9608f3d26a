//! How the image gets to where it is launched: Packer's templates, the forms of the disk, the platforms.

mod aws;
mod formats;
mod launch;
mod missing;
mod requests;
mod sums;
mod templates;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::scratch::Scratch;

const BLOCK: usize = 512 * 1024;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

fn packer_sh() -> Command {
    Command::new(repository().join("packer/packer.sh"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// A disk that `publish` has summed up: program code, a hole, and an end that is neither a whole block nor a whole MiB.
struct Published {
    directory: Scratch,
    raw: PathBuf,
    bytes: Vec<u8>,
}

impl Published {
    fn new() -> Published {
        let code = std::fs::read(env!("CARGO_BIN_EXE_etcd-bootstrapper")).expect("our program");
        let mut bytes = vec![0; 40 * BLOCK + 20 * 1024];
        for (at, length) in [(0, BLOCK + 4096), (7 * BLOCK + 512, 512), (39 * BLOCK, BLOCK + 20 * 1024)] {
            bytes[at..at + length].copy_from_slice(&code[at % BLOCK..][..length]);
        }
        let directory = Scratch::new();
        let published = Published { raw: directory.join("etcd-bootstrapper_0.1.0.raw"), directory, bytes };
        published.write();
        published
    }

    /// Writes the disk, and the sums as `publish` writes them.
    fn write(&self) {
        std::fs::write(&self.raw, &self.bytes).expect("a disk");
        let sums =
            Command::new("sha256sum").arg("etcd-bootstrapper_0.1.0.raw").current_dir(self.directory.path()).output();
        std::fs::write(self.directory.join("SHA256SUMS"), sums.expect("sha256sum runs").stdout).expect("sums");
    }

    fn sha256(&self) -> String {
        let sums = std::fs::read_to_string(self.directory.join("SHA256SUMS")).expect("sums");
        sums[..64].to_owned()
    }
}
