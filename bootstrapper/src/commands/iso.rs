//! `iso customize`, `iso show`, `iso reset`: a site's configuration in the area of an installation medium, on any Linux, by
//! anybody who may read the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plan::install::Selector;
use serde_json::json;

use crate::exit::Exit;
use crate::install::iso9660;
use crate::install::medium::{AREA, LABEL, MANIFEST, area, sum};
use crate::install::site::{DEST_DISK, Site};
use crate::metadata::validate::summary;
use crate::metadata::{SEED_FILES, Seed};
use crate::sys::fs;
use crate::sys::output::say;
use crate::sys::regular::read_regular;

/// More than an area has room for, so that its own size speaks.
const LIMIT: u64 = 64 << 20;

const USAGE: &str = "usage: etcd-bootstrapper iso customize [--user-data FILE] [--network FILE] [--dest-disk DISK] --out NEW.iso FILE.iso
       etcd-bootstrapper iso show [--json] FILE.iso
       etcd-bootstrapper iso reset --out NEW.iso FILE.iso
  DISK is serial=…, wwid=…, path=/dev/disk/by-path/… or model=…,size=…";

#[derive(Default)]
struct Wanted {
    user_data: Option<PathBuf>,
    network: Option<PathBuf>,
    dest_disk: Option<String>,
    out: Option<PathBuf>,
    json: bool,
    iso: Option<PathBuf>,
}

/// Runs `iso` with the arguments that follow it.
///
/// # Errors
/// 64 for a wrong command line, 65 for a file that is no such medium or a configuration that is wrong; nothing is written
/// then.
pub fn run(args: Vec<OsString>) -> Result<()> {
    let usage = |why: String| Exit::Usage.because(format!("{why}\n{USAGE}"));
    let mut args = args.into_iter();
    let command = args.next().and_then(|name| name.into_string().ok());
    let Some(command) = command.filter(|name| matches!(name.as_str(), "customize" | "show" | "reset")) else {
        return Err(usage("`iso` needs customize, show or reset".into()));
    };
    let mut wanted = Wanted::default();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy().into_owned();
        let mut value = || args.next().ok_or_else(|| usage(format!("{text} needs a value")));
        match (command.as_str(), text.as_str()) {
            ("customize", "--user-data") => wanted.user_data = Some(value()?.into()),
            ("customize", "--network") => wanted.network = Some(value()?.into()),
            ("customize", "--dest-disk") => wanted.dest_disk = Some(value()?.to_string_lossy().into_owned()),
            ("customize" | "reset", "--out") => wanted.out = Some(value()?.into()),
            ("show", "--json") => wanted.json = true,
            (_, option) if option.starts_with('-') => return Err(usage(format!("unknown option {option}"))),
            _ if wanted.iso.is_none() => wanted.iso = Some(arg.into()),
            _ => return Err(usage(format!("one medium at a time, and there is {text} as well"))),
        }
    }
    let iso = wanted.iso.clone().ok_or_else(|| usage("which medium?".into()))?;
    let medium = Medium::open(&iso)?;
    match (command.as_str(), &wanted.out) {
        ("show", _) => show(&medium, wanted.json),
        (_, None) => Err(usage(format!("`iso {command}` writes a copy: where to? --out"))),
        ("reset", Some(out)) => medium.write(out, &[]),
        (_, Some(out)) => customize(&medium, &wanted, out, usage),
    }
}

fn customize(medium: &Medium, wanted: &Wanted, out: &Path, usage: impl Fn(String) -> anyhow::Error) -> Result<()> {
    let read = |path: &PathBuf| {
        let bytes = read_regular(path, LIMIT, true)?;
        bytes.ok_or_else(|| Exit::BadInput.because(format!("{}: there is no such file", path.display())))
    };
    let dest = wanted.dest_disk.as_deref().map(|text| Selector::parse(text).map(|_| text));
    let dest = dest.transpose().map_err(|why| usage(format!("--dest-disk: {why}")))?;
    let user_data = wanted.user_data.as_ref().map(read).transpose()?;
    let network = wanted.network.as_ref().map(read).transpose()?;
    if user_data.is_none() && (network.is_some() || dest.is_none()) {
        return Err(usage("what is to be installed? --user-data".into()));
    }
    let mut files: BTreeMap<&'static str, Vec<u8>> = BTreeMap::new();
    files.extend(user_data.map(|bytes| ("user-data", bytes)));
    files.extend(network.map(|bytes| ("network-config", bytes)));
    if let Some(path) = &wanted.user_data {
        let site = checked(&path.display().to_string(), files.clone(), dest)?;
        if site.disk.is_none() {
            return Err(Exit::BadInput.because(format!(
                "{}: it names no disk, and such a medium installs nothing: give it `install.disk`, or this command \
                 --dest-disk",
                path.display()
            )));
        }
    }
    let mut all: BTreeMap<&str, &[u8]> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    all.extend(dest.map(|text| (DEST_DISK, text.as_bytes())));
    medium.write(out, &iso9660::make(&all)?)?;
    show(&Medium::open(out)?, false)
}

fn checked(name: &str, files: BTreeMap<&'static str, Vec<u8>>, dest: Option<&str>) -> Result<Site> {
    let dest = dest.and_then(|text| Selector::parse(text).ok());
    Site::of(Seed::of_files(name, files), "of-the-machine", dest, true)
}

fn show(medium: &Medium, as_json: bool) -> Result<()> {
    let path = medium.path.display();
    let files = area(&medium.file, medium.at, medium.length).with_context(|| format!("{path}: {AREA} is damaged"))?;
    let seed: BTreeMap<&'static str, Vec<u8>> =
        SEED_FILES.into_iter().filter_map(|name| Some((name, files.get(name)?.clone()))).collect();
    let dest = files.get(DEST_DISK).map(|text| String::from_utf8_lossy(text).into_owned());
    let site = if seed.is_empty() { None } else { Some(checked(&format!("{AREA} of {path}"), seed, dest.as_deref())?) };
    let disk = site.as_ref().and_then(|site| site.disk.as_ref()).map(ToString::to_string).or(dest);
    if as_json {
        let list: BTreeMap<&String, _> = files
            .iter()
            .map(|(name, bytes)| (name, json!({"bytes": bytes.len(), "sha256": sum(bytes).as_str()})))
            .collect();
        let report = json!({"image": medium.title, "room": medium.length, "files": list, "disk": disk,
            "cluster": site.as_ref().map(|site| site.spec.cluster.as_str())});
        return say(&serde_json::to_string_pretty(&report)?);
    }
    let mut text = format!("{path}: {}\n", medium.title);
    match &site {
        Some(site) => text.push_str(&format!("  {}\n", summary(&site.spec))),
        None => text.push_str("  no configuration: it waits for a volume labelled cidata\n"),
    }
    if let Some(disk) = disk {
        text.push_str(&format!("  onto the disk with {disk}\n"));
    }
    for (name, bytes) in &files {
        text.push_str(&format!("  {name}: {} bytes, sha256 {}\n", bytes.len(), sum(bytes).as_str()));
    }
    say(&text)
}

/// A medium as a file.
struct Medium {
    path: PathBuf,
    file: File,
    title: String,
    at: u64,
    length: u64,
}

impl Medium {
    fn open(path: &Path) -> Result<Medium> {
        let name = path.display();
        let no = |why: &str| {
            Exit::BadInput
                .because(format!("{name} is not an installation medium of this program: {why}; `make iso` makes one"))
        };
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        let volume = iso9660::read(&file, 0).map_err(|error| no(&format!("{error:#}")))?;
        let volume = volume.ok_or_else(|| no("it is no ISO 9660"))?;
        if volume.label != LABEL {
            return Err(no(&format!("it is labelled `{}`, not {LABEL}", volume.label)));
        }
        let (at, length) = *volume.files.get(AREA).ok_or_else(|| no(&format!("it has no {AREA}")))?;
        let there = file.metadata().with_context(|| format!("cannot look at {name}"))?.len();
        if at.saturating_add(length) > there {
            return Err(no(&format!("it has {there} bytes, and {AREA} ends behind them")));
        }
        let manifest = iso9660::file(&file, 0, &volume, MANIFEST, LIMIT).map_err(|error| no(&format!("{error:#}")))?;
        let manifest = manifest.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let manifest = manifest.ok_or_else(|| no(&format!("it has no {MANIFEST}")))?;
        let text = |key: &str| manifest[key].as_str().unwrap_or("?").to_owned();
        let title = format!("{} {}", text("name"), text("version"));
        Ok(Medium { path: path.to_owned(), file, title, at, length })
    }

    /// A copy whose area holds this and nothing else.
    fn write(&self, out: &Path, content: &[u8]) -> Result<()> {
        if content.len() as u64 > self.length {
            return Err(Exit::BadInput.because(format!(
                "{}: {} bytes of configuration, and {AREA} has room for {}: make it smaller",
                self.path.display(),
                content.len(),
                self.length
            )));
        }
        let mut all = content.to_vec();
        all.resize(usize::try_from(self.length)?, 0);
        fs::copy_with(&self.path, out, self.at, &all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../../tests/fixtures/spec/good/three.yaml");

    /// A medium with so much room, and a user-data for it.
    fn medium(dir: &Path, room: usize) -> (PathBuf, PathBuf) {
        let manifest: &[u8] = b"{\"name\": \"test\", \"version\": \"1\"}";
        let mut iso = iso9660::make(&BTreeMap::from([(MANIFEST, manifest), (AREA, &vec![0; room][..])])).unwrap();
        iso[32768 + 40..][..LABEL.len()].copy_from_slice(LABEL.as_bytes());
        let (path, user_data) = (dir.join("a.iso"), dir.join("user-data"));
        fs::write_atomic(&path, &iso, 0o644, None).unwrap();
        fs::write_atomic(&user_data, format!("#etcd-bootstrapper\n{GOOD}").as_bytes(), 0o600, None).unwrap();
        (path, user_data)
    }

    fn iso(words: &[&OsString]) -> Result<()> {
        run(words.iter().map(|word| (*word).clone()).collect())
    }

    #[test]
    fn a_copy_has_the_configuration_and_what_does_not_fit_or_is_wrong_makes_none() {
        let dir = tempfile::tempdir().unwrap();
        let (path, user_data) = medium(dir.path(), 64 << 10);
        let out = dir.path().join("b.iso");
        let word = |text: &str| OsString::from(text);
        let (customize, data, disk, to) = (word("customize"), word("--user-data"), word("--dest-disk"), word("--out"));
        let (by, user, new, old) =
            (word("serial=S1"), user_data.clone().into(), out.clone().into(), path.clone().into());
        iso(&[&customize, &data, &user, &disk, &by, &to, &new, &old]).unwrap();
        let (before, after) = (std::fs::read(&path).unwrap(), std::fs::read(&out).unwrap());
        let made = Medium::open(&out).unwrap();
        let (from, end) = (made.at as usize, (made.at + made.length) as usize);
        assert_eq!((&before[..from], &before[end..]), (&after[..from], &after[end..]), "nothing else has changed");
        let files = area(&made.file, made.at, made.length).unwrap();
        assert_eq!(files["dest-disk"], b"serial=S1");
        assert_eq!(files["user-data"], std::fs::read(&user_data).unwrap());

        fs::remove(&out).unwrap();
        let refused = |words: &[&OsString]| {
            let error = iso(words).unwrap_err();
            assert!(!out.exists(), "{error:#}");
            format!("{} {error:#}", Exit::of(&error) as u8)
        };
        let said = refused(&[&customize, &data, &user, &to, &new, &old]);
        assert!(said.contains("65 ") && said.contains("it names no disk"), "{said}");
        let said = refused(&[&customize, &data, &user, &disk, &word("/dev/sda"), &to, &new, &old]);
        assert!(said.starts_with("64 --dest-disk: \"/dev/sda\" names no disk"), "{said}");
        let said = refused(&[&customize, &data, &user, &disk, &by, &to, &new, &user]);
        assert!(said.starts_with("65 ") && said.contains("is not an installation medium"), "{said}");
        let small = dir.path().join("small");
        fs::create_dir(&small, 0o700, None).unwrap();
        let (narrow, _) = medium(&small, 20 << 10);
        let said = refused(&[&customize, &data, &user, &disk, &by, &to, &new, &narrow.into()]);
        assert!(said.starts_with("65 ") && said.contains("site.img has room for 20480: make it smaller"), "{said}");
        let error = iso(&[&customize, &data, &user, &disk, &by, &to, &old, &old]).unwrap_err();
        assert!(format!("{error:#}").contains("name another file"), "{error:#}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
