//! The configuration that an installation goes by: of a volume labelled `cidata` that is attached, else what is in the
//! medium's area.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use plan::install::{InstallEntry, Selector};
use plan::spec::Spec;

use super::disks::is_of_an_installation;
use super::iso9660;
use super::medium::{AREA, Medium, sum};
use crate::exit::Exit;
use crate::metadata::{self, Seed};
use crate::paths::Paths;
use crate::sys::disk::{self, Disk};
use crate::sys::fs;

/// In the area: which disk, for this one machine.
pub const DEST_DISK: &str = "dest-disk";

/// What is to be installed beside the image.
pub struct Site {
    /// Where it came from, for a person.
    pub name: String,
    /// The files that the installed system reads.
    pub files: BTreeMap<&'static str, Vec<u8>>,
    /// What they ask for.
    pub spec: Spec,
    /// `install`.
    pub entry: InstallEntry,
    /// Which disk; nothing where nobody says.
    pub disk: Option<Selector>,
}

impl Site {
    /// Checks the files of a seed as the installed system will.
    ///
    /// # Errors
    /// 65 for what is wrong with them.
    pub fn of(mut seed: Seed, machine: &str, dest: Option<Selector>, dest_counts: bool) -> Result<Site> {
        // Nobody should have to make up an ID for each machine.
        seed.files.entry("meta-data").or_insert_with(|| format!("instance-id: {machine}\n").into_bytes());
        let (spec, host) = metadata::of_seed(&seed)?.ok_or_else(|| {
            Exit::BadInput
                .because(format!("{} has no configuration of ours: it needs user-data that has one", seed.name))
        })?;
        seed.network().map_or(Ok(()), |told| metadata::network::parse(&told?).map(drop))?;
        let named = host.install.disk.as_ref().map(|disk| disk.means()).transpose();
        // `check` has refused it before.
        let named = named.map_err(|why| Exit::BadInput.because(format!("{}: install.disk: {why}", seed.name)))?;
        let disk = if dest_counts { dest.or(named) } else { named.or(dest) };
        Ok(Site { name: seed.name, files: seed.files, spec, entry: host.install, disk })
    }

    /// sha256 of the files: what a receipt compares.
    pub fn sum(&self) -> String {
        let mut text = String::new();
        for (name, bytes) in &self.files {
            text.push_str(&format!("{name} {}\n", sum(bytes).as_str()));
        }
        sum(text.as_bytes()).as_str().to_owned()
    }
}

/// Looks once; `None` where there is no configuration yet.
///
/// # Errors
/// 65 for one that is wrong, 78 for two volumes that could be meant.
pub fn look(paths: &Paths, disks: &[Disk], medium: &Medium) -> Result<Option<Site>> {
    let area = medium.site().map_err(|error| super::medium::bad(&medium.name, &error))?;
    let dest = match area.get(DEST_DISK) {
        None => None,
        Some(text) => {
            let text = String::from_utf8_lossy(text);
            let bad = |why| Exit::BadInput.because(format!("{DEST_DISK} in {AREA}: {why}"));
            Some(Selector::parse(text.trim()).map_err(bad)?)
        }
    };
    let volumes = disk::labelled(disks, iso9660::CIDATA);
    // The partition of an earlier installation is no carrier of this one.
    let attached: Vec<&Disk> = volumes.into_iter().filter(|volume| !is_of_an_installation(volume, disks)).collect();
    let machine = machine(paths);
    match attached[..] {
        [] => {
            let files: BTreeMap<&'static str, Vec<u8>> =
                metadata::SEED_FILES.into_iter().filter_map(|name| Some((name, area.get(name)?.clone()))).collect();
            if !files.contains_key("user-data") && !files.contains_key("etcd-bootstrapper.yaml") {
                return Ok(None);
            }
            let seed = Seed::of_files(&format!("{AREA} of the medium"), files);
            Site::of(seed, &machine, dest, true).map(Some)
        }
        [volume] => match metadata::seed_of(paths, volume)? {
            Some(seed) => Site::of(seed, &machine, dest, false).map(Some),
            None => Err(Exit::BadInput.because(format!("{volume} is passed over: make it ISO 9660 or FAT"))),
        },
        [one, other, ..] => Err(Exit::Refused.because(format!(
            "two volumes are labelled {}, and neither counts more: {one}, and {other}: unplug one of them",
            iso9660::CIDATA
        ))),
    }
}

/// A name for this machine that stays: its firmware's UUID.
fn machine(paths: &Paths) -> String {
    let uuid = fs::read_text(&paths.host("/sys/class/dmi/id/product_uuid"), 128).ok().flatten();
    match uuid.map(|uuid| uuid.trim().to_ascii_lowercase()).filter(|uuid| !uuid.is_empty()) {
        Some(uuid) => format!("installed-{uuid}"),
        None => "installed".to_owned(),
    }
}

/// What lies on the disk: the configuration, and the receipt.
///
/// # Errors
/// When it has no room there.
pub fn volume(site: &Site, receipt: &[u8], room: u64) -> Result<Vec<u8>> {
    let mut files: BTreeMap<&str, &[u8]> = site.files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    files.insert(super::disks::RECEIPT, receipt);
    let volume = iso9660::make(&files).context("cannot make the volume with the configuration")?;
    if volume.len() as u64 + super::gpt::SECTOR > room {
        let why = format!("{}: {} bytes of configuration, and there is room for {room}", site.name, volume.len());
        return Err(Exit::BadInput.because(why));
    }
    Ok(volume)
}
