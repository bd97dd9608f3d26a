//! The disks of this machine as an installation sees them; nothing here writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use plan::install::Selector;
use plan::installing::{Content, Lived, Receipt, Target, Whose, matches};
use plan::member::ClusterId;
use plan::place::Kept;
use serde::{Deserialize, Serialize};

use super::gpt::{self, Partition, SECTOR, Table};
use super::iso9660;
use crate::observe::wal;
use crate::paths::Paths;
use crate::sys::disk::{self, Disk, Kind, Layer};
use crate::sys::{fs, imaging, regular};

/// The file beside the configuration that says what was installed.
pub const RECEIPT: &str = "install.json";

/// In the last sector of the partition: when the medium last handed over to this disk.
const HANDED_OVER: &str = "handed over at ";

/// Largest text that is read here, bytes.
const TEXT: u64 = 64 << 10;

/// What an installation writes down on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// What the image is called.
    pub image: String,
    /// sha256 of the packed image.
    pub image_sha256: String,
    /// sha256 of the configuration.
    pub config_sha256: String,
    /// Seconds since 1970 of the machine's own clock.
    pub at: u64,
}

/// The whole disks, but for optical drives and what is made in memory, with what is on them; `image` has to fit. Members are
/// only looked for on the disk that is meant.
///
/// # Errors
/// When the kernel's lists cannot be read.
pub fn targets(
    paths: &Paths,
    disks: &[Disk],
    medium: &str,
    image: &Table,
    wanted: Option<&Selector>,
) -> Result<Vec<Target>> {
    let links = links(paths);
    let mut found = Vec::new();
    for disk in disks.iter().filter(|disk| disk.layer == Layer::Whole && !is_drive(&disk.name)) {
        let parts: Vec<&Disk> = disks.iter().filter(|d| d.layer == Layer::Partition(disk.name.clone())).collect();
        let all = || std::iter::once(disk).chain(parts.iter().copied());
        let sys = paths.host("/sys/class/block").join(&disk.name);
        let attribute = |name: &str| {
            let text = fs::read_text(&sys.join(name), TEXT).ok().flatten()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let table = File::open(&disk.device).ok().and_then(|file| Table::read(&file, disk.bytes).ok().flatten());
        let mut target = Target {
            name: disk.name.clone(),
            bytes: disk.bytes,
            sector: attribute("queue/logical_block_size").and_then(|n| n.parse().ok()).unwrap_or(SECTOR),
            serial: disk.serial.clone(),
            wwid: disk.wwid.clone(),
            model: attribute("device/model"),
            links: links.get(&disk.name).cloned().unwrap_or_default(),
            medium: disk.name == medium,
            removable: disk.removable,
            read_only: disk.read_only,
            mounts: all().flat_map(|d| &d.mounts).map(|at| at.display().to_string()).collect(),
            holders: all().flat_map(|d| d.holders.clone()).collect(),
            content: content(disk, &parts, table.as_ref(), image),
            members: Vec::new(),
        };
        if !target.medium && wanted.is_some_and(|wanted| matches(wanted, &target)) {
            target.members = members(paths, disk, &parts, table.as_ref())?;
        }
        found.push(target);
    }
    Ok(found)
}

/// Whether this volume is what an installation has left beside a system: its own name and its disk's table say so.
pub fn is_of_an_installation(volume: &Disk, disks: &[Disk]) -> bool {
    let Layer::Partition(whole) = &volume.layer else { return false };
    let Some(whole) = disks.iter().find(|disk| disk.name == *whole) else { return false };
    let table = File::open(&whole.device).and_then(|file| Table::read(&file, whole.bytes)).ok().flatten();
    let config = table.and_then(|table| table.named(gpt::CONFIG)).map(|config| config.number);
    volume.probe.kind == Kind::Iso9660 && config.is_some() && number(volume, whole) == config
}

/// A partition's number in its disk's table, which its name ends with.
fn number(partition: &Disk, whole: &Disk) -> Option<u32> {
    partition.name.strip_prefix(&whole.name)?.trim_start_matches('p').parse().ok()
}

fn is_drive(name: &str) -> bool {
    ["sr", "fd"]
        .iter()
        .any(|prefix| name.strip_prefix(prefix).is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit())))
}

/// udev's links, by the kernel's name of the disk.
fn links(paths: &Paths) -> BTreeMap<String, Vec<String>> {
    let mut links: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let entries = std::fs::read_dir(paths.host(plan::install::BY_PATH)).into_iter().flatten().flatten();
    for entry in entries {
        let Ok(target) = std::fs::canonicalize(entry.path()) else { continue };
        let (Some(name), Ok(link)) = (target.file_name(), entry.file_name().into_string()) else { continue };
        let link = format!("{}{link}", plan::install::BY_PATH);
        links.entry(name.to_string_lossy().into_owned()).or_default().push(link);
    }
    links
}

fn content(disk: &Disk, parts: &[&Disk], table: Option<&Table>, image: &Table) -> Content {
    let shared = std::iter::once(disk).chain(parts.iter().copied()).find_map(|d| match d.probe.kind {
        Kind::Other(what) if what.contains("RAID") || what.contains("ZFS") || what.contains("multipath") => Some(what),
        _ => None,
    });
    if let Some(what) = shared {
        return Content::Shared(what.to_owned());
    }
    if let Kind::Unreadable(why) = &disk.probe.kind {
        return Content::Unreadable(why.clone());
    }
    if matches!(disk.probe.kind, Kind::Blank | Kind::Unfinished) && parts.is_empty() {
        return Content::Blank;
    }
    // Before its table is believed: that is there before its last sector is.
    if is_unfinished(disk) {
        return Content::Unfinished;
    }
    if let Some(table) = table
        && table.named(gpt::VAR).is_some()
    {
        let receipt = table.named(gpt::CONFIG).and_then(|config| receipt(&disk.device, &config));
        return Content::Ours { receipt, in_the_way: table.in_the_way(image, disk.bytes) };
    }
    Content::Other(disk.probe.to_string())
}

/// The mark of an installation that was cut short may be there for ever after: it counts while nothing that is known came after
/// it, nor the table at the end, which an installation takes away before all else and its system makes as it first starts.
fn is_unfinished(disk: &Disk) -> bool {
    let mut head = vec![0; imaging::MIB as usize];
    let last = File::open(&disk.device).and_then(|file| {
        file.read_exact_at(&mut head, 0)?;
        Table::last(&file, disk.bytes)
    });
    let unknown = matches!(disk.probe.kind, Kind::Unrecognised | Kind::Other(disk::GPT));
    unknown && matches!(last, Ok(None)) && imaging::has_begun(&head)
}

fn receipt(device: &Path, config: &Partition) -> Option<Receipt> {
    let file = File::open(device).ok()?;
    let volume = iso9660::read(&file, config.start()).ok()??;
    let text = iso9660::file(&file, config.start(), &volume, RECEIPT, TEXT).ok()??;
    let installed: Installed = serde_json::from_slice(&text).ok()?;
    let mut last = [0; SECTOR as usize];
    file.read_exact_at(&mut last, config.last * SECTOR).ok()?;
    let said = String::from_utf8_lossy(&last);
    let handed_over = said.strip_prefix(HANDED_OVER).and_then(|rest| rest.lines().next()?.parse().ok());
    Some(Receipt { image: installed.image_sha256, config: installed.config_sha256, handed_over })
}

/// The sector that says when the medium handed over to this disk.
pub fn handed_over(now: u64) -> Vec<u8> {
    let mut sector = format!("{HANDED_OVER}{now}\n").into_bytes();
    sector.resize(SECTOR as usize, 0);
    sector
}

/// Looks into every file system that a member may live in.
fn members(paths: &Paths, disk: &Disk, parts: &[&Disk], table: Option<&Table>) -> Result<Vec<Lived>> {
    let var = table.and_then(|table| table.named(gpt::VAR)).map(|var| var.number);
    let dir = paths.run().join("look");
    fs::create_dir(&dir, 0o700, None)?;
    let mut found = Vec::new();
    for device in std::iter::once(disk).chain(parts.iter().copied()) {
        let kept = var.is_some() && number(device, disk) == var;
        found.extend(whose(device, &dir).into_iter().map(|whose| Lived { device: device.name.clone(), whose, kept }));
    }
    // Linux takes no table whose first place, or the sector before that, is damaged.
    if let Some(var) = var.filter(|var| parts.iter().all(|part| number(part, disk) != Some(*var))) {
        let p = if disk.name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        let why = "the disk's table has it, and the kernel does not list it".to_owned();
        found.push(Lived { device: format!("{}{p}{var}", disk.name), whose: Whose::Unknown(why), kept: true });
    }
    Ok(found)
}

/// Whose members live on this device; not knowing is not absence.
fn whose(device: &Disk, dir: &Path) -> Vec<Whose> {
    if let Kind::Unreadable(why) = &device.probe.kind {
        return vec![Whose::Unknown(why.clone())];
    }
    let fstype = device.probe.kind.fstype().filter(|fstype| matches!(*fstype, "xfs" | "ext4"));
    let fstype = fstype.filter(|_| device.mounts.is_empty() && device.holders.is_empty());
    let Some(fstype) = fstype else { return Vec::new() };
    match clusters_on(device, fstype, dir) {
        Ok(clusters) => clusters.into_iter().map(|own| own.map_or(Whose::Unsaid, Whose::Cluster)).collect(),
        Err(error) => vec![Whose::Unknown(format!("{error:#}"))],
    }
}

/// With what is only in the journal: of a machine that lost its power, that may be all that there is of a member, and without
/// it the rest is damaged, which ext4 would write down.
fn clusters_on(device: &Disk, fstype: &str, dir: &Path) -> Result<Vec<Option<ClusterId>>> {
    disk::unmount(dir)?;
    disk::mount_replayed(&device.device, dir, fstype)?;
    let found = clusters(dir);
    disk::unmount(dir)?;
    found
}

/// Where members live: on a data disk of ours, on `/var`, on a root, and where etcd's own default and others' are.
const HOMES: [&str; 8] =
    ["", "data", "etcd", "etcd/data", "lib/etcd", "lib/etcd/data", "var/lib/etcd", "var/lib/etcd/data"];

/// The clusters of the members below this directory; nothing for one whose data does not say.
fn clusters(dir: &Path) -> Result<Vec<Option<ClusterId>>> {
    let mut found = Vec::new();
    for home in HOMES {
        let home = dir.join(home);
        let beside = |dir: &Path| identity(&dir.join("bootstrapper/identity.json"));
        let written = beside(&home)?;
        if home.join("member").is_dir() {
            let own = wal::identify(&home.join("member/wal"))?.map(|(cluster, _)| cluster).or(written);
            // A damaged log says nothing; the bootstrapper's own record lies beside the data dir.
            found.push(own.or(beside(&home.join(".."))?));
        } else {
            found.extend(written.map(Some));
        }
    }
    found.extend(logs(dir)?);
    found.sort();
    found.dedup();
    Ok(found)
}

/// The clusters of members whose logs alone are on this disk, in a directory of each life's.
fn logs(dir: &Path) -> Result<Vec<Option<ClusterId>>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let log = entry?.path().join("wal");
        // What is no directory has no log in it.
        if log.is_dir() && !wal::segments(&log)?.is_empty() {
            found.push(wal::identify(&log)?.map(|(cluster, _)| cluster));
        }
    }
    Ok(found)
}

fn identity(path: &Path) -> Result<Option<ClusterId>> {
    let Some(bytes) = regular::read_regular(path, TEXT, false)? else { return Ok(None) };
    Ok(Some(serde_json::from_slice::<Kept>(&bytes)?.identity.cluster_id))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_a_member_s_log_alone_has_that_member_on_it() {
        let dir = std::env::temp_dir().join(format!("eb-logs-{}", std::process::id()));
        std::fs::remove_dir_all(&dir).ok();
        let (log, empty) = (dir.join("0a/wal"), dir.join("0b/wal"));
        std::fs::create_dir_all(&log).unwrap();
        std::fs::create_dir_all(&empty).unwrap();
        assert_eq!(clusters(&dir).unwrap(), []);
        let (metadata, file) = ([0x08, 7, 0x10, 9], log.join("0000000000000000-0000000000000000.wal"));
        std::fs::write(&file, wal::of_records([(1, &metadata[..])])).unwrap();
        assert_eq!(clusters(&dir).unwrap(), [Some(ClusterId(9))]);
        std::fs::write(&file, "of whom nobody knows").unwrap();
        assert_eq!(clusters(&dir).unwrap(), [None], "a log that says nothing is a member's all the same");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
