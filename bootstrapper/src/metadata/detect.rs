//! Which platform launched this machine, by files of this machine alone: no network, no other program.
//!
//! An address that every network may have, such as 169.254.169.254, is asked only where the firmware, an attached volume or
//! a person vouches for who answers there.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::providers::{self, Dmi, Provider, configdrive, nocloud, vultr};
use crate::exit::Exit;
use crate::paths::Paths;

/// Bytes of a file of the kernel's that are read; none that matters is longer.
const MOST: u64 = 64 << 10;

/// What tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// What the firmware or the hypervisor calls the machine.
    Dmi,
    /// An attached volume.
    Volume,
    /// cloud-init's or Ignition's word on the kernel command line.
    Cmdline,
    /// A directory of cloud-init's.
    Seed,
    /// A person's word for this program.
    Override,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// Who launched this machine.
    pub provider: Provider,
    /// What tells; nothing does for a machine of no platform.
    pub source: Option<Source>,
    /// The same in words.
    pub why: String,
}

impl Detected {
    fn by(source: Source, provider: Provider, why: String) -> Detected {
        Detected { provider, source: Some(source), why }
    }
}

/// Looks; takes less than a millisecond.
///
/// A person's word comes first, then what is attached, which somebody attached for this machine, then the firmware.
///
/// # Errors
/// 65 when `etcd_bootstrapper.provider=` names none.
pub fn detect(paths: &Paths) -> Result<Detected> {
    let line = text(&paths.host("/proc/cmdline"));
    if let Some(named) = named(&words(&line))? {
        return Ok(named);
    }
    let labels = labels(&paths.host("/dev/disk/by-label"));
    for (label, provider) in [(configdrive::LABEL, Provider::ConfigDrive), (nocloud::LABEL, Provider::NoCloud)] {
        if let Some(found) = labels.iter().find(|found| found.eq_ignore_ascii_case(label)) {
            return Ok(Detected::by(Source::Volume, provider, format!("a volume labelled {found} is attached")));
        }
    }
    for name in nocloud::SEEDS {
        let seed = paths.host("/var/lib/cloud/seed").join(name);
        if let Some(file) = ["meta-data", "user-data"].into_iter().find(|file| seed.join(file).is_file()) {
            let why = format!("there is {}", seed.join(file).display());
            return Ok(Detected::by(Source::Seed, Provider::NoCloud, why));
        }
    }
    let dmi = dmi(paths);
    let vouched = providers::ALL.into_iter().find_map(|provider| Some((provider, provider.vouched(&dmi)?)));
    if let Some((provider, why)) = vouched {
        return Ok(Detected::by(Source::Dmi, provider, why));
    }
    let firmware = [dmi.sys_vendor.as_str(), &dmi.product_name].join(" ");
    let firmware = if firmware.trim().is_empty() { "says nothing".into() } else { format!("says {}", firmware.trim()) };
    let why = format!(
        "no volume is labelled {} or {}, there is no seed, and the firmware {firmware}, which is no platform that is known",
        configdrive::LABEL,
        nocloud::LABEL
    );
    Ok(Detected { provider: Provider::None, source: None, why })
}

/// What the kernel command line says, our own word first.
pub(super) fn named(words: &[String]) -> Result<Option<Detected>> {
    let value = |names: &[&str]| {
        words.iter().rev().find_map(|word| {
            let (name, value) = word.split_once('=')?;
            // To the kernel a dash in a name is an underscore.
            names.contains(&name.replace('-', "_").as_str()).then(|| (word.clone(), value.to_owned()))
        })
    };
    if let Some((word, name)) = value(&["etcd_bootstrapper.provider"])
        && name != "auto"
    {
        let provider = Provider::named(&name).ok_or_else(|| {
            let names: Vec<&str> = providers::ALL.iter().map(|provider| provider.name()).collect();
            Exit::BadInput.because(format!(
                "the kernel command line has {word:?}, and there is no such provider: write auto, {}",
                names.join(", ")
            ))
        })?;
        return Ok(Some(Detected::by(Source::Override, provider, format!("the kernel command line has {word}"))));
    }
    for names in [&["ignition.platform.id"][..], &["ds", "ci.ds", "ci.datasource"]] {
        if let Some((word, value)) = value(names)
            && let Some(provider) = Provider::named(value.split(';').next().unwrap_or_default())
        {
            // What stands behind it may have a URL with a password in it.
            let word = word.split(';').next().unwrap_or_default();
            return Ok(Some(Detected::by(Source::Cmdline, provider, format!("the kernel command line has {word}"))));
        }
    }
    let bare = words.iter().any(|word| word == vultr::WORD);
    Ok(bare.then(|| {
        Detected::by(Source::Cmdline, Provider::Vultr, format!("the kernel command line has {}", vultr::WORD))
    }))
}

/// Of the kernel command line: words between blanks, which may be in double quotes, whole or behind the `=`.
pub(super) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// As udev names them; what cannot be in a name it writes as `\x` and two digits, which none of ours needs.
fn labels(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// What the firmware says.
pub(super) fn dmi(paths: &Paths) -> Dmi {
    let id = paths.host("/sys/class/dmi/id");
    let field = |name: &str| said(&id.join(name));
    Dmi {
        sys_vendor: field("sys_vendor"),
        product_name: field("product_name"),
        product_uuid: field("product_uuid").to_ascii_lowercase(),
        product_serial: field("product_serial"),
        chassis_asset_tag: field("chassis_asset_tag"),
        bios_vendor: field("bios_vendor"),
        board_asset_tag: field("board_asset_tag"),
        hypervisor_uuid: said(&paths.host("/sys/hypervisor/uuid")).to_ascii_lowercase(),
    }
}

/// A field of the firmware; one that was never set has all bits set.
fn said(path: &Path) -> String {
    let bytes = read(path);
    if bytes.iter().all(|b| matches!(b, 0xff | b'\n' | b'\0')) {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).trim_matches(|c: char| c == '\0' || c.is_ascii_whitespace()).to_owned()
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&read(path)).into_owned()
}

/// Nothing where there is no such file, or it may not be read.
fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map(|file| file.take(MOST));
    let _what_was_read = file.and_then(|mut file| file.read_to_end(&mut bytes));
    bytes
}
