//! `install:` — which disk the ISO writes the image to, and what it may write over. A machine that is installed reads the same
//! document and passes this over.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::member::ClusterId;
use crate::spec::Problem;

/// `install:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallEntry {
    /// Which disk; `iso customize --dest-disk` says it for one machine, and counts more.
    #[serde(default)]
    pub disk: Option<DiskEntry>,
    /// Whether what is on the disk may be written over.
    #[serde(default)]
    pub wipe: bool,
    /// The cluster whose member on the disk may be written over.
    #[serde(default)]
    pub wipe_member: Option<ClusterId>,
    /// Whether the partition of `/var` that an earlier installation left on the disk stays as it is.
    #[serde(default)]
    pub keep_data: bool,
    /// What happens when it is done.
    #[serde(default)]
    pub after: After,
}

/// `install.disk:` as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskEntry {
    /// Its serial number.
    #[serde(default)]
    pub serial: Option<String>,
    /// Its World Wide ID.
    #[serde(default)]
    pub wwid: Option<String>,
    /// Where it is plugged in: a link in `/dev/disk/by-path`.
    #[serde(default)]
    pub path: Option<String>,
    /// Its model, together with its size.
    #[serde(default)]
    pub model: Option<String>,
    /// Its size as its vendor prints it, such as `480GB` or `447GiB`.
    #[serde(default)]
    pub size: Option<String>,
}

/// `install.after`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// The machine starts what was installed.
    #[default]
    Reboot,
    /// The machine is switched off.
    Poweroff,
}

/// `install.disk:` as it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By its serial number.
    Serial(String),
    /// By its World Wide ID.
    Wwid(String),
    /// By where it is plugged in.
    Path(String),
    /// By its model and size.
    Model {
        /// As the disk says it.
        model: String,
        /// As its vendor prints it.
        size: Size,
    },
}

/// A size as vendors print it: a whole number of a unit, to which the disk's own size is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    number: u64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unit(&'static str, u64);

const UNITS: [Unit; 6] = [
    Unit("TiB", 1 << 40),
    Unit("GiB", 1 << 30),
    Unit("MiB", 1 << 20),
    Unit("TB", 1_000_000_000_000),
    Unit("GB", 1_000_000_000),
    Unit("MB", 1_000_000),
];

impl Size {
    fn parse(text: &str) -> Option<Size> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = UNITS.into_iter().find(|known| known.0 == unit.trim_start())?;
        Some(Size { number: number.parse().ok()?, unit })
    }

    /// Whether so many bytes are printed as this.
    pub fn is_of(&self, bytes: u64) -> bool {
        bytes.saturating_add(self.unit.1 / 2) / self.unit.1 == self.number
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.unit.0)
    }
}

impl Selector {
    /// Reads what `--dest-disk` says: `serial=…`, `wwid=…`, `path=…`, or `model=…,size=…`.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Selector, String> {
        let mut entry = DiskEntry::default();
        // A model or a path may have a comma in it, and nothing after a size has.
        let (text, size) = match text.rsplit_once(",size=") {
            Some((text, size)) => (text, Some(size.to_owned())),
            None => (text, None),
        };
        entry.size = size;
        let value = |value: &str| Some(value.to_owned());
        match text.split_once('=') {
            Some(("serial", serial)) => entry.serial = value(serial),
            Some(("wwid", wwid)) => entry.wwid = value(wwid),
            Some(("path", path)) => entry.path = value(path),
            Some(("model", model)) => entry.model = value(model),
            Some(_) | None => return Err(format!("{text:?} names no disk: write {FORMS}")),
        }
        entry.means()
    }
}

const FORMS: &str = "serial=…, wwid=…, path=… or model=…,size=…";

/// Where udev has a link for every disk by the way to it.
pub const BY_PATH: &str = "/dev/disk/by-path/";

impl DiskEntry {
    /// What the entry means.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn means(&self) -> Result<Selector, String> {
        let text = |text: &String| match text.trim() {
            "" => Err("an empty text names no disk".to_owned()),
            text => Ok(text.to_owned()),
        };
        match self {
            DiskEntry { serial: Some(serial), wwid: None, path: None, model: None, size: None } => {
                text(serial).map(Selector::Serial)
            }
            DiskEntry { serial: None, wwid: Some(wwid), path: None, model: None, size: None } => {
                text(wwid).map(Selector::Wwid)
            }
            DiskEntry { serial: None, wwid: None, path: Some(path), model: None, size: None } => {
                let path = text(path)?;
                match path.strip_prefix(BY_PATH) {
                    Some(name) if !name.is_empty() && !name.contains('/') => Ok(Selector::Path(path)),
                    Some(_) | None => Err(format!(
                        "{path:?} is no link in {BY_PATH}: the names below /dev itself change from boot to boot"
                    )),
                }
            }
            DiskEntry { serial: None, wwid: None, path: None, model: Some(model), size: Some(size) } => {
                let size = Size::parse(size.trim())
                    .ok_or_else(|| format!("{size:?} is no size such as 480GB, 447GiB or 2TB"))?;
                Ok(Selector::Model { model: text(model)?, size })
            }
            DiskEntry { .. } => {
                Err("name the disk in one way: by serial, by wwid, by path, or by model and size".into())
            }
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Serial(serial) => write!(f, "serial {serial}"),
            Selector::Wwid(wwid) => write!(f, "World Wide ID {wwid}"),
            Selector::Path(path) => f.write_str(path),
            Selector::Model { model, size } => write!(f, "model {model} and {size}"),
        }
    }
}

pub(crate) fn check(entry: &InstallEntry) -> Vec<Problem> {
    let problem = |path: &str, message: String| Problem { path: format!("install{path}"), message };
    let mut problems = Vec::new();
    if let Some(Err(message)) = entry.disk.as_ref().map(DiskEntry::means) {
        problems.push(problem(".disk", message));
    }
    if entry.keep_data && (entry.wipe || entry.wipe_member.is_some()) {
        let with = if entry.wipe { "`wipe`" } else { "`wipe_member`" };
        problems.push(problem(
            ".keep_data",
            format!("{with} says the opposite: keep the data, or write over it, and remove the other"),
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_names_a_disk_in_one_way() {
        let said = |text: &str| Selector::parse(text).map_or_else(|why| why, |selector| selector.to_string());
        for (text, expected) in [
            ("serial=S1", "serial S1"),
            ("serial= S1 ", "serial S1"),
            ("wwid=naa.5000c500", "World Wide ID naa.5000c500"),
            ("path=/dev/disk/by-path/pci-0000:00:1f.2-ata-1", "/dev/disk/by-path/pci-0000:00:1f.2-ata-1"),
            ("model=KIOXIA A,B,size=480GB", "model KIOXIA A,B and 480GB"),
            ("serial=", "an empty text names no disk"),
            ("/dev/sda", "\"/dev/sda\" names no disk: write serial=…, wwid=…, path=… or model=…,size=…"),
            ("model=X", "name the disk in one way: by serial, by wwid, by path, or by model and size"),
            ("serial=S1,size=1GB", "name the disk in one way: by serial, by wwid, by path, or by model and size"),
            ("model=X,size=big", "\"big\" is no size such as 480GB, 447GiB or 2TB"),
            (
                "path=/dev/sda",
                "\"/dev/sda\" is no link in /dev/disk/by-path/: the names below /dev itself change from boot to boot",
            ),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    #[test]
    fn a_size_is_what_the_vendor_prints() {
        // Drives of 480 GB have the sectors that IDEMA's LBA1-03 says.
        for (size, bytes, fits) in [
            ("480GB", 480_103_981_056, true),
            ("447GiB", 480_103_981_056, true),
            ("447 GiB", 480_103_981_056, true),
            ("500GB", 480_103_981_056, false),
            ("4TB", 4_000_787_030_016, true),
            ("3TiB", 4 << 30, false),
        ] {
            assert_eq!(Size::parse(size).map(|size| size.is_of(bytes)), Some(fits), "{size}");
        }
        for bad in ["", "GB", "1", "1.5TB", "480gb", "-1GB"] {
            assert_eq!(Size::parse(bad), None, "{bad}");
        }
    }
}
