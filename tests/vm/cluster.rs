//! A cluster to be: its certificates and the one user-data, as `config new` makes them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::disk;
use crate::etcdctl::Etcdctl;
use crate::process;
use crate::tools::Tools;
use crate::world::Seat;

/// `config new` makes six keys, possibly built without optimisation.
const CONFIG_NEW: Duration = Duration::from_secs(90);

/// For a key and a certificate.
const QUICK: Duration = Duration::from_secs(180);

/// A line of the spec within the user-data, and the beginning of the next one.
const MODE: &str = "      mode: auto\n      ";

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
        Cluster::of(tools, name, &Seat::all().collect::<Vec<_>>(), more)
    }

    /// A cluster of these seats.
    pub fn of(tools: &Tools, name: &str, seats: &[Seat], more: &[&str]) -> Result<Cluster> {
        let peers = seats.iter().map(|seat| format!("--peer={}={}", seat.name(), seat.address()));
        Cluster::configured(
            tools,
            name,
            seats.len(),
            &peers.chain(more.iter().map(|m| (*m).into())).collect::<Vec<_>>(),
        )
    }

    /// A cluster of so many members, whom somebody lists: the value of `discovery`, and a line that follows it.
    pub fn group(tools: &Tools, name: &str, size: usize, [discovery, next]: &[&str; 2]) -> Result<Cluster> {
        const FILE: &str = "/run/inventory.json";
        let mut cluster = Cluster::configured(tools, name, size, &[format!("--discovery-file={FILE}")])?;
        let text = String::from_utf8_lossy(&cluster.user_data);
        let (before, after) = text
            .split_once(&format!("discovery: {{file: \"{FILE}\"}}"))
            .context("the user-data of `config new` has a line with the inventory")?;
        cluster.user_data = format!("{before}discovery: {discovery}\n      {next}{after}").into_bytes();
        Ok(cluster)
    }

    fn configured(tools: &Tools, name: &str, size: usize, more: &[String]) -> Result<Cluster> {
        let directory = PathBuf::from(name);
        let mut command = Command::new(&tools.bootstrapper);
        command.args(["config", "new", "--name", name, "--size", &size.to_string(), "--out", name]);
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
        self.volume(tools, seat, &format!("seed-{name}"), &self.user_data, &[])
    }

    /// A volume with this user-data and more files.
    pub fn seed_of(&self, tools: &Tools, seat: Seat, user_data: &[u8], files: &[(&str, &[u8])]) -> Result<PathBuf> {
        self.volume(tools, seat, &format!("beside-{}", seat.name()), user_data, files)
    }

    /// The document that the user-data writes.
    pub fn document(&self) -> Result<String> {
        let text = String::from_utf8_lossy(&self.user_data);
        let (_, document) = text.split_once("content: |\n").context("the user-data of `config new` writes a file")?;
        let line = |line: &str| line.strip_prefix("      ").unwrap_or(line).to_owned() + "\n";
        Ok(document.lines().map(line).collect())
    }

    /// The same with these keys more in the spec, a line each.
    pub fn seed_with(&self, tools: &Tools, seat: Seat, lines: &[String]) -> Result<PathBuf> {
        self.volume(tools, seat, &format!("changed-{}", seat.name()), self.user_data_with(lines)?.as_bytes(), &[])
    }

    /// The user-data with these keys more in the spec, a line each.
    pub fn user_data_with(&self, lines: &[String]) -> Result<String> {
        let text = String::from_utf8_lossy(&self.user_data);
        let (before, after) =
            text.split_once(MODE).context("the user-data of `config new` has a line with the mode")?;
        let more: String = lines.iter().map(|line| format!("{line}\n      ")).collect();
        Ok(format!("{before}{MODE}{more}{after}"))
    }

    /// The user-data, for a platform that hands it out.
    pub fn user_data(&self) -> String {
        String::from_utf8_lossy(&self.user_data).into_owned()
    }

    /// A certificate of the cluster's CA for this address, and its key.
    pub fn leaf(&self, tools: &Tools, name: &str, address: Ipv4Addr) -> Result<[PathBuf; 2]> {
        let [leaf, key] = ["crt", "key"].map(|form| self.file(&format!("{name}.{form}")));
        let mut openssl = tools.command("openssl");
        // Its own configuration would make a CA of it.
        openssl.args(["req", "-x509", "-config", "/dev/null", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl.args(["-noenc", "-days", "7", "-subj", &format!("/CN={name}")]);
        let names = format!("subjectAltName=IP:{address}");
        openssl.args(["-addext", &names, "-addext", "extendedKeyUsage=serverAuth,clientAuth"]);
        openssl.arg("-CA").arg(self.file("ca.crt")).arg("-CAkey").arg(self.file("ca.key"));
        process::output(openssl.arg("-out").arg(&leaf).arg("-keyout").arg(&key), QUICK)?;
        Ok([leaf, key])
    }

    fn volume(
        &self,
        tools: &Tools,
        seat: Seat,
        volume: &str,
        user_data: &[u8],
        more: &[(&str, &[u8])],
    ) -> Result<PathBuf> {
        let name = seat.name();
        let meta_data = format!("instance-id: {}-{name}\nlocal-hostname: {name}\n", self.name);
        let files = [&[("user-data", user_data), ("meta-data", meta_data.as_bytes())][..], more].concat();
        disk::volume(tools, &self.directory, volume, "cidata", &files)
    }

    /// A file of `config new`.
    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.directory).join(name)
    }
}
