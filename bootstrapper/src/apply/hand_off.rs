//! The hand-off to etcd: its environment, its data dir, the proof that this boot's run succeeded, and the queued start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::Result;
use plan::facts::Identity;
use plan::place::{Kept, Place};
use plan::render::{EtcdConfig, QUOTA, fits, listen_on};

use super::Tools;
use super::journal::Journal;
use crate::observe::data_dir;
use crate::report::Report;
use crate::sys::disk::Bytes;
use crate::sys::fs::Owner;
use crate::sys::{fs, systemd};

/// As whom etcd starts.
pub struct HandOff {
    /// Who this host is.
    pub identity: Identity,
    /// Names and peer URLs for `--initial-cluster`.
    pub initial_cluster: Vec<(String, String)>,
    /// Whether to say `new`.
    pub new: bool,
    /// Whether the founding had no leader yet.
    pub unled: bool,
}

/// Renders etcd's environment, marks this boot as ready and queues etcd's start when systemd runs us.
///
/// # Errors
/// When something cannot be written, or systemd refuses to queue etcd.
pub async fn hand_off(tools: &Tools<'_>, to: &HandOff, report: &mut Report) -> Result<()> {
    let paths = tools.paths;
    let wal = Journal::of(paths).read()?.wal;
    let config = EtcdConfig {
        name: to.identity.name.clone(),
        data_dir: paths.data().display().to_string(),
        wal_dir: wal.as_ref().map(|wal| paths.wal(Some(wal)).display().to_string()),
        pki: paths.pki().display().to_string(),
        initial_cluster: to.initial_cluster.clone(),
        new: to.new,
        unled: to.unled,
        token: to.identity.token.clone(),
        peer_url: tools.me.peer_url.clone(),
        client_url: tools.me.client_url.clone(),
        listen: tools.me.client_url.host().parse().map_or_else(|_| everywhere(tools.address), listen_on),
        version: tools.etcd,
        fits: room_for_database(tools)?,
        options: tools.host.etcd.clone(),
    };
    keep_identity(tools, &to.identity)?;
    make_own(&paths.data(), tools.owner)?;
    if let Some(wal) = &wal {
        let home = paths.wal_home(wal);
        // Made when the journal named it. What would be made now would be empty.
        anyhow::ensure!(data_dir::is_dir(&home)?, "{} is not there: the log's disk, {wal}, is missing", home.display());
        make_own(&home, tools.owner)?;
    }
    fs::create_dir(&paths.run(), 0o755, None)?;
    fs::write_atomic(&paths.environment(), config.environment().as_bytes(), 0o600, None)?;
    fs::write_atomic(&paths.me(), serde_json::to_string(tools.me)?.as_bytes(), 0o600, None)?;
    match &tools.host.backup {
        Some(_) => fs::write_atomic(&paths.backup(), b"", 0o644, None)?,
        None => fs::remove(&paths.backup())?,
    }
    fs::write_atomic(&paths.ready(), b"", 0o644, None)?;
    report.reached("handed_off");
    let status = report.status();
    status.bootstrapped = true;
    status.member_id = Some(to.identity.member_id.to_string());
    status.cluster_id = Some(to.identity.cluster_id.to_string());
    report.say(&format!(
        "handed off to etcd: {} ({}) of cluster {} ({}), {}",
        to.identity.name,
        to.identity.member_id,
        to.identity.cluster,
        to.identity.cluster_id,
        if to.new { "new" } else { "existing" }
    ));
    if systemd::is_here() { systemd::queue_etcd().await } else { Ok(()) }
}

/// What the database may come to on this disk, said where that is less than a person may think.
fn room_for_database(tools: &Tools<'_>) -> Result<u64> {
    let disk = fs::room(&tools.paths.volume())?.bytes;
    let fits = fits(disk, fs::size_below(&tools.paths.data().join("member/snap")));
    let set = tools.host.etcd.contains_key("ETCD_QUOTA_BACKEND_BYTES");
    if set && plan::render::quota(&tools.host.etcd).is_none_or(|asked| asked > fits) {
        tracing::warn!(
            "quota-backend-bytes lets etcd's database grow beyond {}, and its disk has {}: etcd ends when its disk is full; \
             give it a larger disk or a lower quota",
            Bytes(fits),
            Bytes(disk)
        );
    } else if !set && fits < QUOTA {
        tracing::info!(
            "etcd's quota is {} in the place of {}: its disk has {}",
            Bytes(fits),
            Bytes(QUOTA),
            Bytes(disk)
        );
    }
    Ok(fits)
}

/// Every address of this one's family: a name may mean loopback here and another address elsewhere.
fn everywhere(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// `identity.json`, written only when it changes: a reboot of a settled member writes nothing to its disk.
///
/// The place is noted with the identity in one rename, and only here, where it was just decided that the disk is no
/// copy: a crash leaves the old record or the new one, and the disk is no copy by either.
fn keep_identity(tools: &Tools<'_>, identity: &Identity) -> Result<()> {
    let path = tools.paths.identity();
    let before = fs::read_text(&path, 1 << 16)?;
    let noted = before
        .as_ref()
        .and_then(|text| serde_json::from_str::<Kept>(text).ok())
        .map_or_else(Place::default, |kept| kept.place);
    let kept = Kept { identity: identity.clone(), place: noted.going_on_at(tools.place) };
    let text = serde_json::to_string_pretty(&kept)?;
    if before.as_deref() == Some(text.as_str()) {
        return Ok(());
    }
    fs::write_atomic(&path, text.as_bytes(), 0o600, None)
}

/// etcd makes its directory 0700, and cannot make it in one that belongs to root.
fn make_own(directory: &Path, owner: Option<Owner>) -> Result<()> {
    let theirs = fs::owner_of(directory);
    if theirs.is_some() && owner.is_none_or(|owner| theirs == Some(owner)) {
        return Ok(());
    }
    if let Some((theirs, ours)) = theirs.zip(owner) {
        // The numeric user of an older image; sealing is what makes the data readable for today's.
        tracing::info!(
            "{} belongs to user {} and is this member's: it now belongs to etcd, user {}",
            directory.display(),
            theirs.uid,
            ours.uid
        );
        return fs::seal_tree(directory, owner);
    }
    fs::create_dir(directory, 0o700, owner)
}
