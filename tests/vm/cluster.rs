//! A cluster to be: its certificates and the one user-data, as `config new` makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::disk;
use crate::etcdctl::Etcdctl;
use crate::process;
use crate::tools::Tools;
use crate::world::{SEATS, Seat};

/// `config new` makes six keys, possibly built without optimisation.
const CONFIG_NEW: Duration = Duration::from_secs(30);

/// What all members of a cluster share.
pub struct Cluster {
    /// `cluster.name`.
    pub name: String,
    /// What `config new` made, and the seeds.
    pub directory: PathBuf,
    /// Its client.
    pub etcdctl: Etcdctl,
    user_data: Vec<u8>,
}

impl Cluster {
    /// A cluster of all seats.
    pub fn new(tools: &Tools, name: &str, more: &[&str]) -> Result<Cluster> {
        let directory = PathBuf::from(name);
        let mut command = Command::new(&tools.bootstrapper);
        command.args(["config", "new", "--name", name, "--size", &SEATS.to_string(), "--out", name]);
        for seat in Seat::all() {
            command.args(["--peer", &format!("{}={}", seat.name(), seat.address())]);
        }
        process::output(command.args(more), CONFIG_NEW)?;
        let user_data = directory.join("user-data");
        let user_data =
            fs::read(&user_data).with_context(|| format!("`config new` has made no {}", user_data.display()))?;
        let etcdctl = Etcdctl::new(&tools.etcd, &directory)?;
        Ok(Cluster { name: name.to_owned(), directory, etcdctl, user_data })
    }

    /// The configuration volume of a member: the same user-data for all, only its instance ID and host name are its own.
    pub fn seed(&self, tools: &Tools, seat: Seat) -> Result<PathBuf> {
        let name = seat.name();
        let volume = self.directory.join(format!("seed-{name}.iso"));
        if volume.exists() {
            return Ok(volume);
        }
        let meta_data = format!("instance-id: {}-{name}\nlocal-hostname: {name}\n", self.name);
        let files: [(&str, &[u8]); 2] = [("user-data", &self.user_data), ("meta-data", meta_data.as_bytes())];
        disk::seed(tools, &self.directory, &format!("seed-{name}"), &files)
    }

    /// A file of `config new`.
    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.directory).join(name)
    }
}
