//! (e) A new cluster from a snapshot.

use anyhow::{Result, ensure};

use crate::cluster::Cluster;
use crate::process::until;
use crate::serve::Served;
use crate::set::{SETTLE, Set};
use crate::suite::{AGREE, Suite};
use crate::world::{HOST, Seat};

/// What a restore adds to the revision, so that no client of the old cluster sees it go back.
const BUMP: u64 = 1_000_000_000;
const KEY: &str = "/vm/in-the-snapshot";

pub fn run(suite: &mut Suite) -> Result<()> {
    let (set, before) = suite.running()?;
    let etcdctl = &suite.cluster.etcdctl;
    etcdctl.put(Seat(1), KEY, "restored")?;
    let file = std::path::PathBuf::from("snapshot.db");
    let revision = etcdctl.snapshot(Seat(1), &file)?;
    etcdctl.put(Seat(1), KEY, "after the snapshot")?;
    drop(set);

    let cluster_pem = std::fs::read_to_string(suite.cluster.file("ca.crt"))?;
    let served = Served::file(&suite.cluster, &file, HOST)?;
    let (url, sha256) = (served.url("snapshot.db"), served.sha256.clone());
    let cluster = Cluster::new(&suite.yard.tools, "restored", &["--restore-url", &url, "--restore-sha256", &sha256])?;
    let mut set = Set::default();
    for seat in Seat::all() {
        let place = suite.yard.directory(seat)?;
        let disks = suite.yard.blank(&place)?;
        let seed = cluster.seed(&suite.yard.tools, seat)?;
        set.add(suite.yard.boot(seat, place, disks, Some(seed))?);
    }
    let trust = trust(&cluster_pem)?;
    for machine in set.machines() {
        machine.ask(&trust)?;
    }
    set.wait_settled(SETTLE)?;
    let after = until("agreement of all members", AGREE, || set.whole(&cluster))?;
    ensure!(after.cluster_id != before.cluster_id, "the restored cluster has the ID of the old one: {after}");
    for seat in Seat::all() {
        let value = cluster.etcdctl.get(seat, KEY)?;
        ensure!(value == "restored", "{} reads {value:?} of what is in the snapshot", seat.name());
        let now = cluster.etcdctl.status(seat)?.header.revision;
        ensure!(now > revision + BUMP, "{} is at revision {now}, the snapshot at {revision}: no bump", seat.name());
    }
    for machine in set.machines() {
        suite.clean(machine)?;
    }
    set.power_off()
}

/// A command that makes a guest trust web servers of this CA: the image's list of public ones cannot name it.
fn trust(pem: &str) -> Result<String> {
    let clean = pem.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=- \n".contains(&b));
    ensure!(clean, "a certificate in PEM has no such characters: {pem}");
    let line = pem.replace('\n', "\\n");
    Ok(format!("printf %b '{line}' >/run/roots.pem && mount --bind /run/roots.pem /etc/ssl/certs/ca-certificates.crt"))
}
