//! Which disk the ISO writes to, or why none: pure, from what the configuration says and what the disks are.
//!
//! First match wins; a disk is chosen by exactly one match, and nothing that is not known about it is taken for absent.

use std::fmt;

use crate::install::{InstallEntry, Selector};
use crate::member::ClusterId;

/// A whole disk, as far as an installation cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kernel's name, such as `sda`.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its logical sectors' size in bytes.
    pub sector: u64,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its World Wide ID.
    pub wwid: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its links in `/dev/disk/by-path`.
    pub links: Vec<String>,
    /// Whether the installation came from it.
    pub medium: bool,
    /// Whether a person takes it out.
    pub removable: bool,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Where it or a part of it is mounted.
    pub mounts: Vec<String>,
    /// What is made of it or of a part of it: device mapper, software RAID, multipath.
    pub holders: Vec<String>,
    /// What is on it.
    pub content: Content,
    /// Members of etcd clusters that live on it, or may.
    pub members: Vec<Lived>,
}

/// What is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Provably nothing.
    Blank,
    /// An installation of ours that did not come to its end: nothing of anybody's.
    Unfinished,
    /// An installation of ours.
    Ours {
        /// What it says of itself; nothing where it cannot be read.
        receipt: Option<Receipt>,
        /// Why its `/var` cannot stay where it is; nothing where it can.
        in_the_way: Option<String>,
    },
    /// A part of something that is on several disks, such as `a software RAID`.
    Shared(String),
    /// Anything else.
    Other(String),
    /// Unknown, and why.
    Unreadable(String),
}

/// What an installation has left on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// sha256 of the image that was written.
    pub image: String,
    /// sha256 of the configuration that was written.
    pub config: String,
    /// When the medium last handed over to it, in seconds since 1970 of the machine's own clock.
    pub handed_over: Option<u64>,
}

/// Where a member lives on a disk, or may live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lived {
    /// On which device, such as `sda5`.
    pub device: String,
    /// Whose it is.
    pub whose: Whose,
    /// Whether `keep_data` keeps it.
    pub kept: bool,
}

/// Whose a member's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This cluster's.
    Cluster(ClusterId),
    /// A cluster's that the data does not name.
    Unsaid,
    /// Nobody knows whether there is a member, and why: what cannot be looked at.
    Unknown(String),
}

/// What an installation is to come to, beside the `install` of its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// `install`.
    pub entry: &'a InstallEntry,
    /// Which disk.
    pub disk: &'a Selector,
    /// sha256 of the image.
    pub image: &'a str,
    /// sha256 of the configuration.
    pub config: &'a str,
    /// Bytes that a disk must have.
    pub least: u64,
    /// Seconds since 1970 of the machine's own clock.
    pub now: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Write the image to this disk.
    Write {
        /// Which.
        disk: &'a Target,
        /// Whether the partition of `/var` stays.
        keep: bool,
    },
    /// It is there already: start this disk.
    Start(&'a Target),
    /// It is there already, and starting it led back here.
    Halt(&'a Target),
    /// Nothing is written.
    Refuse(Refusal),
}

/// Why nothing is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was found, with the disk by name, size and serial.
    pub found: String,
    /// What was expected, and what to do.
    pub expected: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing was written: found {}; expected {}", self.found, self.expected)
    }
}

/// A firmware that does not start the disk is back within this; whoever comes later was switched off and on.
pub const LOOP: u64 = 900;

/// Decides.
pub fn choose<'a>(wanted: &Wanted<'_>, disks: &'a [Target]) -> Verdict<'a> {
    let found: Vec<&Target> = disks.iter().filter(|disk| matches(wanted.disk, disk)).collect();
    let disk = match found[..] {
        [disk] => disk,
        [] => {
            let there = if disks.is_empty() { "no disk at all".into() } else { list(disks.iter()) };
            return refuse(
                format!("no disk with {}; there is {there}", wanted.disk),
                "exactly one: correct `install.disk`, or plug the disk in",
            );
        }
        [_, _, ..] => {
            return refuse(
                format!("{} disks with {}: {}", found.len(), wanted.disk, list(found.iter().copied())),
                "exactly one: name it by its serial or World Wide ID; two paths to one disk are not supported",
            );
        }
    };
    if disk.wwid.is_some()
        && let Some(path) = disks.iter().find(|other| other.name != disk.name && other.wwid == disk.wwid)
    {
        return refuse(
            format!("{disk}, and {} with the same World Wide ID", path.name),
            "one path to each disk: unplug the other one, since multipath is not supported",
        );
    }
    if let Some((what, expected)) = unusable(wanted, disk) {
        return refuse(format!("{disk}, {what}"), expected);
    }
    if let Content::Ours { receipt: Some(receipt), .. } = &disk.content
        && receipt.image == wanted.image
        && receipt.config == wanted.config
    {
        let back = receipt.handed_over.is_some_and(|then| wanted.now < then.saturating_add(LOOP));
        return if back { Verdict::Halt(disk) } else { Verdict::Start(disk) };
    }
    over(wanted, disk)
}

/// Why a disk that was chosen is not the one of its name any more, or not as it was; members are not looked at again.
///
/// The kernel gives the name of a disk that went away to the next one that comes.
pub fn changed(chosen: &Target, disks: &[Target]) -> Option<Refusal> {
    let before = Target { members: Vec::new(), ..chosen.clone() };
    if disks.contains(&before) {
        return None;
    }
    let now = match disks.iter().find(|disk| disk.name == chosen.name) {
        Some(disk) => format!("{disk} with {}", disk.content),
        None => format!("no {}, but {},", chosen.name, list(disks.iter())),
    };
    Some(Refusal {
        found: format!("{now} where {chosen} with {} was chosen", chosen.content),
        expected: "the same disk as before: leave the disks alone while this installs".to_owned(),
    })
}

/// Why a disk is never written to, whatever is on it.
fn unusable(wanted: &Wanted<'_>, disk: &Target) -> Option<(String, &'static str)> {
    let named = !matches!(wanted.disk, Selector::Model { .. });
    let another = "another disk: correct `install.disk`";
    if disk.medium {
        return Some(("the medium that this installation came from".into(), another));
    }
    if disk.read_only {
        return Some(("which is read-only".into(), "a disk that can be written: unlock it, or name another one"));
    }
    if disk.removable && !named {
        return Some((
            "a removable medium".into(),
            "a disk that stays: name another one, or this one by its serial, World Wide ID or path",
        ));
    }
    if let Some(at) = disk.mounts.first() {
        return Some((format!("mounted at {at}"), another));
    }
    if let Content::Shared(what) = &disk.content {
        return Some((
            format!("a part of {what}"),
            "a disk by itself: name another one, or take this one out of that elsewhere",
        ));
    }
    if let Some(holder) = disk.holders.first() {
        return Some((format!("which {holder} is made of"), another));
    }
    if disk.sector != 512 {
        return Some((
            format!("with sectors of {} bytes", disk.sector),
            "sectors of 512 bytes, for which the image was made: set the disk's format to 512e, or name another one",
        ));
    }
    if disk.bytes < wanted.least {
        return Some((format!("too small: {} are needed", Bytes(wanted.least)), "a larger disk: name another one"));
    }
    None
}

/// What may be written over.
fn over<'a>(wanted: &Wanted<'_>, disk: &'a Target) -> Verdict<'a> {
    let InstallEntry { wipe, wipe_member, keep_data, .. } = wanted.entry;
    let keep = match &disk.content {
        Content::Blank | Content::Unfinished => return Verdict::Write { disk, keep: false },
        Content::Unreadable(why) => {
            return refuse(
                format!("{disk}, which cannot be read: {why}"),
                "a disk that works: name another one, or replace it",
            );
        }
        Content::Ours { in_the_way: Some(why), .. } if *keep_data => {
            return refuse(
                format!("{disk}, whose data cannot stay: {why}"),
                "the partitions of an installation of this kind: copy the data elsewhere, and install with `wipe`",
            );
        }
        Content::Ours { .. } => *keep_data,
        Content::Shared(_) | Content::Other(_) if *keep_data => {
            return refuse(
                format!("{disk}, with {}", disk.content),
                "an installation of ours, whose data `install.keep_data` keeps: name another disk, or take `keep_data` out",
            );
        }
        Content::Shared(_) | Content::Other(_) => false,
    };
    if let Some(refusal) = member(disk, keep, wipe_member.filter(|_| !keep)) {
        return refusal;
    }
    if keep || *wipe && matches!(wanted.disk, Selector::Serial(_) | Selector::Wwid(_)) {
        return Verdict::Write { disk, keep };
    }
    let expected = if *wipe {
        "an empty disk, or one that is named by its serial or World Wide ID, since `install.wipe` is for one disk and no other"
    } else {
        "an empty disk: name another one, or say `install.wipe: true` to lose what is on this one"
    };
    refuse(format!("{disk}, which is not empty: {}", disk.content), expected)
}

/// A member's data is lost on nobody's word but its own cluster's ID, and not knowing is not absence.
fn member<'a>(disk: &Target, keep: bool, wipe: Option<ClusterId>) -> Option<Verdict<'a>> {
    let lost = disk.members.iter().filter(|member| !(keep && member.kept));
    let refused = lost.into_iter().find(|member| wipe.is_none_or(|wipe| member.whose != Whose::Cluster(wipe)))?;
    let device = &refused.device;
    Some(match (&refused.whose, wipe) {
        (Whose::Unknown(why), _) => refuse(
            format!("{disk}, of which {device} cannot be looked at: {why}"),
            &format!(
                "to know that no member lives there: {}look at it elsewhere, and erase the disk there with `wipefs -a` and \
                 `sgdisk --zap-all` if nobody needs it",
                if refused.kept { "leave it by `install.keep_data: true`, or " } else { "" }
            ),
        ),
        (Whose::Unsaid, _) => refuse(
            format!("{disk}, with a member of an etcd cluster on {device} whose data does not say of which one"),
            "a disk without one: look at it elsewhere, and erase it there with `wipefs -a` if nobody needs it",
        ),
        (Whose::Cluster(id), None) => refuse(
            format!("{disk}, with a member of the etcd cluster {} on {device}", Id(*id)),
            &format!(
                "a disk without one: name another disk, or say `install.wipe: true` and `install.wipe_member: \"{}\"` to \
                 lose this member's data",
                Id(*id)
            ),
        ),
        (Whose::Cluster(id), Some(other)) => refuse(
            format!("{disk}, with a member of the etcd cluster {} on {device}", Id(*id)),
            &format!("one of the cluster {}, which `install.wipe_member` names: name another disk", Id(other)),
        ),
    })
}

fn refuse<'a>(found: String, expected: &str) -> Verdict<'a> {
    Verdict::Refuse(Refusal { found, expected: expected.to_owned() })
}

/// Whether this is the disk, or one of those.
pub fn matches(selector: &Selector, disk: &Target) -> bool {
    match selector {
        Selector::Serial(serial) => disk.serial.as_ref() == Some(serial),
        Selector::Wwid(wwid) => disk.wwid.as_deref().is_some_and(|own| plain(own) == plain(wwid)),
        Selector::Path(path) => disk.links.contains(path),
        Selector::Model { model, size } => disk.model.as_ref() == Some(model) && size.is_of(disk.bytes),
    }
}

/// The kernel writes `naa.5000…`, udev `0x5000…` and `wwn-0x5000…`.
pub fn plain(wwid: &str) -> String {
    let lower = wwid.trim().to_ascii_lowercase();
    let known = ["wwn-0x", "0x", "naa.", "eui.", "nvme."];
    known.iter().find_map(|prefix| lower.strip_prefix(prefix)).unwrap_or(&lower).to_owned()
}

/// Disks for people, in one line.
pub fn list<'d>(disks: impl Iterator<Item = &'d Target>) -> String {
    disks.map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, Bytes(self.bytes))?;
        self.model.as_ref().map_or(Ok(()), |model| write!(f, ", {model}"))?;
        match &self.serial {
            Some(serial) => write!(f, ", serial {serial})"),
            None => f.write_str(", no serial)"),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Blank => f.write_str("nothing"),
            Content::Unfinished => f.write_str("an installation that was cut short"),
            Content::Ours { .. } => f.write_str("an installation of this image"),
            Content::Shared(what) => write!(f, "a part of {what}"),
            Content::Other(what) => f.write_str(what),
            Content::Unreadable(why) => write!(f, "unreadable ({why})"),
        }
    }
}

/// A cluster's ID with all its digits, as etcd's log writes it.
struct Id(ClusterId);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0.0)
    }
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = if self.0 >= 10_000_000_000 { (1_000_000_000, "GB") } else { (1_000_000, "MB") };
        write!(f, "{} {name}", self.0 / unit)
    }
}
