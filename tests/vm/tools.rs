//! The programs of others that the machines need: QEMU and friends in the tool root, etcdctl, our own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process;

/// Making the tool root downloads packages.
const TOOL_ROOT: Duration = Duration::from_secs(900);
/// `qemu-img`, `xorriso` and the like.
const QUICK: Duration = Duration::from_secs(180);

/// Where the tools are.
pub struct Tools {
    /// The repository.
    pub repository: PathBuf,
    /// The directory with `etcd`, `etcdctl` and `etcdutl`.
    pub etcd: PathBuf,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// Our program, built for this host.
    pub bootstrapper: PathBuf,
}

impl Tools {
    /// Finds the tools, after making the tool root if this host has none.
    pub fn find() -> Result<Tools> {
        let repository = repository()?;
        let etcd = ask(&repository, "etcd.sh")?.into();
        let accelerator = ask(&repository, "accel.sh")?;
        Ok(Tools { etcd, accelerator, repository, bootstrapper: env!("CARGO_BIN_EXE_etcd-bootstrapper").into() })
    }

    /// moto's server, a bucket for tests; installed first if this host has none, which takes a network that leads out.
    pub fn moto(&self) -> Result<PathBuf> {
        ask(&self.repository, "moto.sh").map(PathBuf::from)
    }

    /// What `make bench` compares with; made first, which takes a network that leads out.
    pub fn baseline(&self) -> Result<PathBuf> {
        ask(&self.repository, "baseline.sh").map(PathBuf::from)
    }

    /// A command of the tool root, in this directory and network namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.repository.join("tools/enter.sh"));
        command.arg(program);
        command
    }

    /// Runs a command of the tool root to its end.
    pub fn run<I: AsRef<std::ffi::OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = I>,
    ) -> Result<String> {
        process::output(self.command(program).args(arguments), QUICK)
    }
}

/// What a script of `tools/` prints.
fn ask(repository: &Path, script: &str) -> Result<String> {
    let printed = process::output(&mut Command::new(repository.join("tools").join(script)), TOOL_ROOT)?;
    Ok(printed.trim().to_owned())
}

/// The repository that this was built from.
pub fn repository() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?)
}
