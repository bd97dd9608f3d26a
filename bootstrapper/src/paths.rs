//! Every path that the program touches, under one root.

use std::path::{Path, PathBuf};

use plan::wal_disk::WalDisk;

use crate::exit::Exit;

/// The paths below `--root`, `/` without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The paths below this directory.
    pub fn under(root: impl Into<PathBuf>) -> Paths {
        Paths { root: root.into() }
    }

    /// The paths below what a person has named as `--root`.
    ///
    /// # Errors
    /// 65 when it is no directory: nothing below it says anything about a host, and no command makes one of it.
    pub fn of_root(root: impl Into<PathBuf>) -> anyhow::Result<Paths> {
        let paths = Paths::under(root);
        let root = paths.root.display();
        match paths.root.metadata() {
            Ok(found) if found.is_dir() => Ok(paths),
            Ok(_) => Err(Exit::BadInput
                .because(format!("--root {root} is no directory: name the one that the host's files are in"))),
            Err(error) => Err(Exit::BadInput
                .because(format!("--root {root}: {error}; name the directory that the host's files are in"))),
        }
    }

    /// An absolute path of the host, below the root.
    pub fn host(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// Mount of the data disk, or a directory on `/var`.
    pub fn volume(&self) -> PathBuf {
        self.host("/var/lib/etcd")
    }
    /// etcd's data dir.
    pub fn data(&self) -> PathBuf {
        self.volume().join("data")
    }
    /// Mount of the disk that the write-ahead log may have for itself.
    pub fn wal_volume(&self) -> PathBuf {
        self.host("/var/lib/etcd-wal")
    }
    /// The directory of one life's log on that disk.
    pub fn wal_home(&self, wal: &WalDisk) -> PathBuf {
        self.wal_volume().join(&wal.directory)
    }
    /// etcd's log: on a disk of its own, or in the data dir.
    pub fn wal(&self, wal: Option<&WalDisk>) -> PathBuf {
        wal.map_or_else(|| self.data().join("member"), |wal| self.wal_home(wal)).join("wal")
    }
    /// Logs on their way out, as [`Paths::trash`] for the data dirs.
    pub fn wal_trash(&self) -> PathBuf {
        self.wal_volume().join("trash")
    }
    /// The bootstrapper's directory on the data disk.
    pub fn bootstrapper(&self) -> PathBuf {
        self.volume().join("bootstrapper")
    }
    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.bootstrapper().join("journal.jsonl")
    }
    /// Who lives here.
    pub fn identity(&self) -> PathBuf {
        self.bootstrapper().join("identity.json")
    }
    /// The instance whose launch is over, by its group's word.
    pub fn launch_hook(&self) -> PathBuf {
        self.bootstrapper().join("launch-hook")
    }

    /// The lock that one bootstrapper holds.
    pub fn lock(&self) -> PathBuf {
        self.bootstrapper().join("lock")
    }
    /// Leaves and keys: `ca.crt`, `server.*`, `peer.*`, `client.*`.
    pub fn pki(&self) -> PathBuf {
        self.bootstrapper().join("pki")
    }
    /// Snapshots on their way in.
    pub fn download(&self) -> PathBuf {
        self.bootstrapper().join("download")
    }
    /// Data dirs on their way in, one directory a founding.
    pub fn staging(&self) -> PathBuf {
        self.bootstrapper().join("staging")
    }
    /// Data dirs on their way out; nothing of the user's is deleted.
    pub fn trash(&self) -> PathBuf {
        self.bootstrapper().join("trash")
    }
    /// What lives until the next boot.
    pub fn run(&self) -> PathBuf {
        self.host("/run/etcd-bootstrapper")
    }
    /// etcd's EnvironmentFile.
    pub fn environment(&self) -> PathBuf {
        self.run().join("etcd.env")
    }
    /// The state for people and machines.
    pub fn status(&self) -> PathBuf {
        self.run().join("status.json")
    }
    /// Proves that this boot's run succeeded.
    pub fn ready(&self) -> PathBuf {
        self.run().join("ready")
    }
    /// A link to the data disk's device, which `var-lib-etcd.mount` names.
    pub fn data_device(&self) -> PathBuf {
        self.run().join("data-device")
    }
    /// The same for the disk of the log and `var-lib-etcd\x2dwal.mount`.
    pub fn wal_device(&self) -> PathBuf {
        self.run().join("wal-device")
    }
    /// Who this host is in this boot, for `finish`.
    pub fn me(&self) -> PathBuf {
        self.run().join("me.json")
    }
    /// Says that the configuration has `backup`: the timer's condition.
    pub fn backup(&self) -> PathBuf {
        self.run().join("backup")
    }
    /// Metrics for a textfile collector.
    pub fn metrics(&self) -> PathBuf {
        self.run().join("metrics")
    }
    /// Says that etcd ended by its own will, as a removed member does: its cluster is asked before it starts again.
    pub fn left(&self) -> PathBuf {
        self.run().join("left")
    }
    /// The user's configuration, 0700.
    pub fn etc(&self) -> PathBuf {
        self.host("/etc/etcd-bootstrapper")
    }
    /// Image defaults.
    pub fn defaults(&self) -> PathBuf {
        self.host("/usr/lib/etcd-bootstrapper")
    }
    /// cloud-init's seed directory for NoCloud.
    pub fn seed(&self) -> PathBuf {
        self.host("/var/lib/cloud/seed/nocloud")
    }
    /// What a reboot without metadata needs of it.
    pub fn remembered(&self) -> PathBuf {
        self.host("/var/lib/etcd-bootstrapper").join("configuration.json")
    }
    /// What the platform said of this machine when it was asked last.
    pub fn launched(&self) -> PathBuf {
        self.host("/var/lib/etcd-bootstrapper").join("platform.json")
    }
    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
