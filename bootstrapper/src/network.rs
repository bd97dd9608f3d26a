//! The network of the image without cloud-init: what a NoCloud volume says of it, as files of systemd-networkd, before that
//! begins. What was said last is kept on `/var`, for boots without the volume.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::metadata::Sources;
use crate::metadata::network::{self as config, FILES, Network, Told};
use crate::paths::Paths;
use crate::sys::output::say;
use crate::sys::{fs, regular, systemd};

/// Of the file on `/var`.
const FORMAT: u32 = 1;

/// Room for a text of a MiB as JSON, in which every byte may be escaped.
const LIMIT: u64 = 8 << 20;

/// Bytes of a file that a person asks about.
const TEXT: u64 = 1 << 20;

/// Where systemd-networkd looks for settings of this boot, which count more than the image's.
fn directory(paths: &Paths) -> PathBuf {
    paths.host("/run/systemd/network")
}

/// What was said last, kept for boots in which nobody says anything.
fn kept_at(paths: &Paths) -> PathBuf {
    paths.host("/var/lib/etcd-bootstrapper/network.json")
}

/// What this boot's network was made of; only there where this program makes the network.
fn made_of(paths: &Paths) -> PathBuf {
    paths.run().join("network.json")
}

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    /// Who was told so: a copy of the system on another machine must not take this one's address.
    machine: String,
    told: Told,
}

/// Runs `network`: makes this boot's settings, or shows what a file would come to.
///
/// # Errors
/// 64 for a wrong command line, 65 for what is wrong with `network-config`, 78 for two volumes that could be meant.
pub fn run(paths: &Paths, args: Vec<OsString>) -> Result<()> {
    match args.as_slice() {
        [] => make(paths),
        [file] => show(Path::new(file)),
        [_, more, ..] => Err(Exit::Usage.because(format!("`network` takes one file, and there is {}", more.display()))),
    }
}

fn show(file: &Path) -> Result<()> {
    let bytes = regular::read_regular(file, TEXT, true)?
        .ok_or_else(|| Exit::BadInput.because(format!("{}: there is no such file", file.display())))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Exit::BadInput.because(format!("{}: this is not UTF-8: save it as UTF-8", file.display())))?;
    let network = config::parse(&Told { source: file.display().to_string(), text: Some(text) })?;
    let files = config::render(&network);
    if files.is_empty() {
        return say("nothing is said of the network: the image's own settings hold");
    }
    let shown: Vec<String> = files.iter().map(|(name, text)| format!("# {name}\n{text}")).collect();
    say(shown.join("\n").trim_end())
}

/// Before systemd-networkd starts.
fn make(paths: &Paths) -> Result<()> {
    let sources = Sources::new(paths);
    let kept = kept(paths);
    let said = match told(&sources) {
        Ok(None) => kept.map(|told| config::parse(&told).map(|network| (told, network))).transpose(),
        said => said,
    };
    match said {
        Ok(None) => {
            write(paths, &Network::default())?;
            mark(paths, None)
        }
        Ok(Some((told, network))) => {
            write(paths, &network)?;
            mark(paths, Some(&told))?;
            tracing::info!("the network is as {} says", told.source);
            keep(paths, &told)
        }
        Err(error) => {
            // Whoever has a member here reaches it as before.
            let before = self::kept(paths).and_then(|told| Some((config::parse(&told).ok()?, told)));
            if let Some((network, told)) = &before {
                write(paths, network)?;
                tracing::warn!("the network stays as {} said to an earlier boot", told.source);
            }
            mark(paths, before.as_ref().map(|(_, told)| told))?;
            Err(error)
        }
    }
}

/// Looks again: a volume may have come after systemd-networkd had begun. Nothing where the network is not this program's.
///
/// # Errors
/// As [`run`], and when systemd refuses.
pub async fn again(paths: &Paths, sources: &Sources) -> Result<()> {
    let Some(before) = marked(paths)? else { return Ok(()) };
    let Some((told, network)) = told(sources)? else { return Ok(()) };
    warn_of_absent(paths, &told, &network);
    let before = before.and_then(|told| told.text);
    if told.text == before {
        return Ok(());
    }
    write(paths, &network)?;
    mark(paths, Some(&told))?;
    keep(paths, &told)?;
    tracing::info!("the network is made anew, as {} says", told.source);
    systemd::reload_network().await
}

fn told(sources: &Sources) -> Result<Option<(Told, Network)>> {
    let Some(told) = sources.network()? else { return Ok(None) };
    let network = config::parse(&told)?;
    Ok(Some((told, network)))
}

/// A card that is not there may be a wrong digit in an address, and the machine stays silent.
fn warn_of_absent(paths: &Paths, told: &Told, network: &Network) {
    let class = paths.host("/sys/class/net");
    let Ok(entries) = std::fs::read_dir(&class) else { return };
    let interface = |entry: std::fs::DirEntry| {
        let address = std::fs::read_to_string(entry.path().join("address")).unwrap_or_default();
        (entry.file_name().to_string_lossy().into_owned(), address.trim().to_owned())
    };
    let there: Vec<(String, String)> = entries.flatten().map(interface).filter(|(name, _)| name != "lo").collect();
    let list: Vec<String> = there.iter().map(|(name, address)| format!("{name} ({address})")).collect();
    for link in network.absent(&there) {
        tracing::warn!(
            "{} speaks of {link}, which this machine does not have: it has {}",
            told.source,
            list.join(", ")
        );
    }
}

/// Puts the files there, and takes those of before away.
fn write(paths: &Paths, network: &Network) -> Result<()> {
    let (files, dir) = (config::render(network), directory(paths));
    let mut old = BTreeSet::new();
    if let Ok(entries) = std::fs::read_dir(&dir) {
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        old.extend(names.filter(|name| name.starts_with(FILES) || name == config::OF_THE_IMAGE));
    }
    if files.is_empty() && old.is_empty() {
        return Ok(());
    }
    fs::create_dir(&dir, 0o755, None)?;
    for name in old.iter().filter(|name| !files.contains_key(*name)) {
        fs::remove(&dir.join(name))?;
    }
    // systemd-networkd is a user of its own.
    files.iter().try_for_each(|(name, text)| fs::write_atomic(&dir.join(name), text.as_bytes(), 0o644, None))
}

fn mark(paths: &Paths, told: Option<&Told>) -> Result<()> {
    let text = serde_json::to_string(&told).context("cannot write what the network is made of as JSON")?;
    fs::create_dir(&paths.run(), 0o755, None)?;
    fs::write_atomic(&made_of(paths), text.as_bytes(), 0o600, None)
}

fn marked(paths: &Paths) -> Result<Option<Option<Told>>> {
    let text = fs::read_text(&made_of(paths), LIMIT)?;
    text.map(|text| serde_json::from_str(&text).context("what this boot's network was made of is damaged")).transpose()
}

/// Empty where the machine has none.
fn machine(paths: &Paths) -> String {
    let id = fs::read_text(&paths.host("/etc/machine-id"), 128).ok().flatten();
    id.unwrap_or_default().trim().to_owned()
}

fn keep(paths: &Paths, told: &Told) -> Result<()> {
    let path = kept_at(paths);
    if told.text.is_none() {
        return fs::remove(&path);
    }
    let kept = Kept { format: FORMAT, machine: machine(paths), told: told.clone() };
    let text = serde_json::to_string(&kept).context("cannot write the network as JSON")?;
    // An unreadable one is replaced like any other.
    if fs::read_text(&path, LIMIT).ok().flatten().as_deref() == Some(&text) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir(dir, 0o700, None)?;
    }
    fs::write_atomic(&path, text.as_bytes(), 0o600, None)
}

/// What this machine was told before; what cannot be used is as good as nothing.
fn kept(paths: &Paths) -> Option<Told> {
    let path = kept_at(paths);
    let text = fs::read_text(&path, LIMIT).unwrap_or_else(|error| {
        tracing::warn!("the network of an earlier boot is not used: {error:#}");
        None
    })?;
    let kept = serde_json::from_str::<Kept>(&text).ok().filter(|kept| kept.format == FORMAT);
    let Some(kept) = kept else {
        tracing::warn!("{} is damaged or of another version, and is not used", path.display());
        return None;
    };
    if kept.machine != machine(paths) {
        tracing::warn!(
            "{} is of another machine, which may still have these addresses, and is not used",
            path.display()
        );
        return None;
    }
    Some(kept.told)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATIC: &str = "version: 2\nethernets:\n  eth0: {addresses: [10.0.0.11/24]}\n";
    const SEED: &str = "/var/lib/cloud/seed/nocloud/network-config";

    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Host {
            let host = Host(tempfile::tempdir().unwrap());
            host.put("/etc/machine-id", "one\n");
            host
        }

        fn paths(&self) -> Paths {
            Paths::under(self.0.path())
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.paths().host(path);
            fs::create_dir(path.parent().unwrap(), 0o755, None).unwrap();
            fs::write_atomic(&path, text.as_bytes(), 0o600, None).unwrap();
        }

        fn detach(&self) {
            fs::remove(&self.paths().seed()).unwrap();
        }

        /// A boot: what `/run` had is gone.
        fn boot(&self) -> (Exit, Vec<String>) {
            fs::remove(&self.paths().host("/run")).unwrap();
            let exit = make(&self.paths()).map_or_else(|error| Some(Exit::of(&error)), |()| None);
            (exit.unwrap_or(Exit::Usage), self.files())
        }

        fn files(&self) -> Vec<String> {
            let Ok(entries) = std::fs::read_dir(directory(&self.paths())) else { return Vec::new() };
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    /// [`Exit::Usage`] stands for none.
    const WELL: Exit = Exit::Usage;

    #[test]
    fn a_reboot_without_the_volume_has_the_network_of_before() {
        let host = Host::new();
        assert_eq!(host.boot(), (WELL, vec![]), "nobody has said anything");
        host.put(SEED, STATIC);
        let files = vec!["10-site-eth0.network".to_owned(), "80-dhcp.network".to_owned()];
        assert_eq!(host.boot(), (WELL, files.clone()));
        host.detach();
        assert_eq!(host.boot(), (WELL, files.clone()), "the volume is gone");
        host.put(SEED, "version: 2\nethernets: {eth0: {dhcp4: perhaps}}\n");
        assert_eq!(host.boot(), (Exit::BadInput, files), "the volume was broken since");
    }

    #[test]
    fn a_volume_that_says_nothing_of_the_network_takes_back_what_was_said() {
        let host = Host::new();
        host.put(SEED, STATIC);
        host.boot();
        host.detach();
        host.put("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: i-1\n");
        assert_eq!(host.boot(), (WELL, vec![]));
        host.detach();
        assert_eq!(host.boot(), (WELL, vec![]), "and it is forgotten");
    }

    #[test]
    fn a_copy_of_the_system_does_not_take_the_addresses_of_the_machine_it_was_made_of() {
        let host = Host::new();
        host.put(SEED, STATIC);
        host.boot();
        host.detach();
        host.put("/etc/machine-id", "another\n");
        assert_eq!(host.boot(), (WELL, vec![]));
    }

    #[test]
    fn the_readers_of_the_network_may_read_its_files() {
        use std::os::unix::fs::PermissionsExt;
        let host = Host::new();
        host.put(SEED, STATIC);
        host.boot();
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let dir = directory(&host.paths());
        assert_eq!((mode(dir.clone()), mode(dir.join("10-site-eth0.network"))), (0o755, 0o644));
        assert_eq!(std::fs::read(dir.join("80-dhcp.network")).unwrap(), b"", "an empty file takes the image's out");
    }
}
