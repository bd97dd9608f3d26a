//! A host with a snapshot to restore, and the disks of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootstrapper::observe::data_dir;
use bootstrapper::paths::Paths;
use bootstrapper::secrets::Places;
use bootstrapper::snapshot::origin::Origin;
use bootstrapper::snapshot::source::Access;
use bootstrapper::snapshot::stage::{Staging, install, stage, staged};
use bootstrapper::sys::fs::Owner;
use plan::facts::Disk;
use plan::founding::{Founder, Founding, Terms};
use plan::spec::Secret;
use plan::wal_disk::WalDisk;

use crate::support::etcd::{binary, port};
use crate::support::fixture::sha256;
use crate::support::scratch::Scratch;

/// A host with a snapshot on a USB stick.
pub struct Host {
    pub scratch: Scratch,
    pub paths: Paths,
    pub founding: Founding,
    pub url: String,
    pub etcdutl: PathBuf,
    pub owner: Option<Owner>,
    pub quota: Option<u64>,
    pub wal: Option<WalDisk>,
}

impl Host {
    /// A host of a founding of so many members, with this file as its snapshot.
    pub fn new(members: u16, bytes: &[u8]) -> Host {
        let scratch = Scratch::new();
        // etcd's user must reach what lies below.
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let paths = Paths::under(scratch.join("root"));
        fs::create_dir_all(paths.bootstrapper()).unwrap();
        fs::write(scratch.join("usb.db"), bytes).unwrap();
        let terms = Terms {
            cluster: "prod".parse().unwrap(),
            epoch: 1,
            generation: 1,
            size: members as u8,
            set: Vec::new(),
            store: None,
            snapshot: Some(sha256(bytes).parse().unwrap()),
            etcd: "3.5".into(),
        };
        let founder = |i: u16| Founder {
            name: format!("etcd-{i}").parse().unwrap(),
            peer_url: format!("https://127.0.0.1:{}", port()).parse().unwrap(),
            nonce: format!("{i:032x}").parse().unwrap(),
        };
        let founding = Founding::new(terms, (1..=members).map(founder).collect());
        let url = format!("file://{}", scratch.join("usb.db").display());
        Host { scratch, paths, founding, url, etcdutl: binary("etcdutl"), owner: None, quota: Some(8 << 30), wal: None }
    }

    pub async fn stage(&self) -> anyhow::Result<Vec<String>> {
        self.stage_while(|_| ()).await
    }

    /// Does this with everything that is said.
    pub async fn stage_while(&self, mut heard: impl FnMut(&str) + Send) -> anyhow::Result<Vec<String>> {
        let urls: Vec<Secret> = self.url.split(' ').map(|url| Secret::new(url.to_owned())).collect();
        let places = Places { paths: &self.paths, credentials: None };
        let me = &self.founding.founders[0];
        let mut said = Vec::new();
        let staging = Staging {
            paths: &self.paths,
            founding: &self.founding,
            me: (&me.name, &me.peer_url),
            origins: Origin::open(&urls, &Access::without(&self.paths))?,
            keys: None,
            signer: None,
            newest: None,
            places: &places,
            quota: self.quota,
            etcdutl: self.etcdutl.to_str().unwrap(),
            owner: self.owner,
        };
        let mut say = |text: String| {
            heard(&text);
            said.push(text);
        };
        stage(&staging, &mut say).await?;
        Ok(said)
    }

    pub fn staged(&self) -> bool {
        staged(&self.paths, &self.founding.id())
    }

    pub fn install(&self) -> anyhow::Result<()> {
        install(&self.paths, &self.founding.id(), self.wal.as_ref())
    }

    /// What is on its data disk.
    pub fn look(&self) -> Disk {
        data_dir::look(&self.paths.data(), &self.paths.wal(self.wal.as_ref())).unwrap()
    }

    pub fn home(&self) -> PathBuf {
        self.paths.staging().join(self.founding.id().as_str())
    }

    /// A program that stands in for etcdutl; `$REAL` in it is the real one.
    pub fn script(&mut self, text: &str) {
        let path = self.scratch.join("etcdutl");
        let text = text.replace("$REAL", binary("etcdutl").to_str().unwrap());
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.etcdutl = path;
    }
}

/// Shell that finds the value of `--data-dir`.
pub const DATA: &str = "for a in \"$@\"; do [ \"$p\" = --data-dir ] && data=$a; p=$a; done; ";

/// A filesystem in memory, mounted as long as this lives.
pub struct Mounted(PathBuf);

impl Mounted {
    pub fn tmpfs(path: &Path, mebibytes: u32) -> Mounted {
        Mounted::with(path, &format!("size={mebibytes}m"))
    }

    /// With these options of tmpfs(5).
    pub fn with(path: &Path, options: &str) -> Mounted {
        fs::create_dir_all(path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).status().unwrap();
        assert!(mount.success(), "cannot mount a tmpfs: these tests want root");
        Mounted(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().ok();
    }
}
