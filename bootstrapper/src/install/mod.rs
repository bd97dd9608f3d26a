//! `install`: what the installation medium runs. It finds its medium, its configuration and its disk; `plan::installing` says
//! what is done, and everything that is said is said on every console.

pub mod disks;
pub mod gpt;
pub mod iso9660;
pub mod medium;
pub mod site;
#[cfg(test)]
pub(crate) mod tests;

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plan::install::After;
use plan::installing::{Content, Target, Verdict, Wanted, changed, choose, list};

use crate::exit::Exit;
use crate::paths::Paths;
use crate::sys::clock;
use crate::sys::console::Consoles;
use crate::sys::disk;
use crate::sys::efi::{self, Loader};
use crate::sys::imaging::{Disk, MIB};
use crate::sys::power::{self, Power};
use disks::{Installed, handed_over, targets};
use gpt::Table;
use medium::Medium;
use site::Site;

/// How long a slow drive has until it shows its medium.
const MEDIUM: Duration = Duration::from_secs(90);

/// At the latest after this no driver is still busy.
const SETTLE: Duration = Duration::from_secs(30);

/// Between two looks for a configuration, and between two times of saying that there is none.
const LOOK: Duration = Duration::from_secs(2);
const SAY: Duration = Duration::from_secs(60);

/// Between two words about how far it is.
const PROGRESS: Duration = Duration::from_secs(3);

/// `/var` beside an etcd of its default quota: what an image's disk has at least, beyond the image.
const VAR: u64 = 1 << 30;

/// Runs `install`.
///
/// # Errors
/// 65 for a medium or a configuration that is wrong, 78 for a disk that is not written to, 75 when the disk fails.
pub fn run(paths: &Paths, args: &[OsString]) -> Result<()> {
    if let Some(first) = args.first() {
        return Err(Exit::Usage.because(format!("`install` takes no argument, and there is {}", first.display())));
    }
    let consoles = Consoles::of(paths);
    let done = installed(paths, &consoles);
    if let Err(error) = &done {
        consoles.say(&format!(
            "\nNot installed: {error:#}\nThis is looked at again in a minute. Exit code {}.\n",
            Exit::of(error) as u8
        ));
    }
    power::end(done?)
}

fn installed(paths: &Paths, consoles: &Consoles) -> Result<Power> {
    let medium = wait_for_medium(paths, consoles)?;
    consoles.say(&format!("Installing {} from {}.", medium.title, medium.name));
    let site = wait_for_site(paths, consoles, &medium)?;
    let mut image = medium.unpack().map_err(|error| medium::bad(&medium.name, &error))?;
    let mut head = vec![0; MIB as usize];
    let read = image.read_exact(&mut head).context("cannot unpack the image");
    let table = read.and_then(|()| gpt::of_image(&head)).map_err(|error| medium::bad(&medium.name, &error))?;
    let all = disk::list(paths.root())?;
    let targets = targets(paths, &all, &medium.name, &table, site.disk.as_ref())?;
    let Some(selector) = &site.disk else {
        return Err(Exit::Refused.because(format!(
            "nothing was written: {} names no disk; expected `install.disk`, or `iso customize --dest-disk`; there is {}",
            site.name,
            list(targets.iter())
        )));
    };
    let (config, now) = (site.sum(), clock::now().0);
    let image_sum = medium.image.sha256.as_str();
    let least = medium.image.bytes + VAR;
    let wanted = Wanted { entry: &site.entry, disk: selector, image: image_sum, config: &config, least, now };
    let (target, keep) = match choose(&wanted, &targets) {
        Verdict::Write { disk, keep } => (disk, keep),
        Verdict::Start(disk) => return start(paths, consoles, disk, &head, now),
        Verdict::Halt(disk) => {
            consoles.say(&format!(
                "\n{disk} has this image and this configuration already, and starting it has led back to this medium.\n\
                 Take the medium out, or let the firmware start {} first, and switch the machine off and on.\n\
                 To install anew, change the configuration, or erase the disk.\n",
                disk.name
            ));
            return Ok(Power::Halt);
        }
        Verdict::Refuse(refusal) => return Err(Exit::Refused.because(refusal.to_string())),
    };
    if target.content == Content::Unfinished {
        consoles.say(&format!("{target} has {}: it is written anew.", target.content));
    }
    // Nothing is lost to a medium that is not whole.
    let mut progress = Progress::new(consoles, format!("Reading {}", medium::IMAGE), medium.image.packed);
    medium.check(|at| progress.at(at)).map_err(|error| medium::bad(&medium.name, &error))?;
    let job = Job { site: &site, target, keep, head: &head, table: &table, config: &config, now };
    write(paths, consoles, &medium, image, &job)?;
    consoles.say(&format!(
        "\nInstalled: {} is on {target}, with the configuration of {}: {}.\n",
        medium.title,
        site.name,
        crate::metadata::validate::summary(&site.spec)
    ));
    Ok(match site.entry.after {
        After::Reboot => Power::Reboot,
        After::Poweroff => Power::Off,
    })
}

fn wait_for_medium(paths: &Paths, consoles: &Consoles) -> Result<Medium> {
    let since = Instant::now();
    let mut said = false;
    loop {
        match medium::find(paths)? {
            Some(medium) => return Ok(medium),
            None if since.elapsed() > MEDIUM => {
                return Err(Exit::Unavailable.because(format!(
                    "the medium that this installer was started from is not there: expected a volume labelled {}, and of \
                     this very build: plug it in again",
                    medium::LABEL
                )));
            }
            None if !said => consoles.say("Looking for the medium."),
            None => {}
        }
        said = true;
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A stick beside the medium counts more than the medium, and a disk that is late is not absent.
fn settle(paths: &Paths) {
    let since = Instant::now();
    while (disk::settling(paths.root()) || clock::since_boot() < disk::SHOWN) && since.elapsed() < SETTLE {
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The maintenance screen: nothing is written, and a configuration may come at any time.
fn wait_for_site(paths: &Paths, consoles: &Consoles, medium: &Medium) -> Result<Site> {
    settle(paths);
    let mut said: Option<Instant> = None;
    loop {
        let all = disk::list(paths.root())?;
        if let Some(site) = site::look(paths, &all, medium)? {
            consoles.say(&format!("The configuration is of {}.", site.name));
            return Ok(site);
        }
        if said.is_none_or(|said| said.elapsed() > SAY) {
            said = Some(Instant::now());
            let disks = all.iter().filter(|d| d.layer == disk::Layer::Whole).map(|d| format!("  {d}\n"));
            consoles.say(&format!(
                "\nThere is no configuration, and nothing is written. Plug in a stick labelled `cidata` with user-data (and\n\
                 network-config), or make this medium anew by `etcd-bootstrapper iso customize`.\nThe disks of this machine:\n{}",
                disks.collect::<String>()
            ));
        }
        std::thread::sleep(LOOK);
    }
}

/// It is there already; `image` is the first MiB of what is.
fn start(paths: &Paths, consoles: &Consoles, target: &Target, image: &[u8], now: u64) -> Result<Power> {
    let disk = Disk::open(&paths.host("/dev").join(&target.name))?;
    let table = Table::read(disk.file(), disk.bytes()).context("cannot read its partition table")?;
    let config = table.as_ref().and_then(|table| table.named(gpt::CONFIG));
    let config = config.with_context(|| format!("{target} has lost its partition table since it was looked at"))?;
    let mut head = vec![0; MIB as usize];
    disk.file().read_exact_at(&mut head, 0).context("cannot read its partition table")?;
    // A power cut may have come between the two places of the table.
    if let (None, Some(table)) = (Table::parse(&head), &table) {
        put_table(&disk, &table.anew(disk.bytes()))?;
    }
    if !gpt::is_protected(&head) {
        disk.put(0, &image[..gpt::SECTOR as usize])?;
    }
    disk.put(config.last * gpt::SECTOR, &handed_over(now))?;
    disk.sync()?;
    drop(disk);
    consoles.say(&format!(
        "\n{target} has this image and this configuration already: nothing is written, and it is started. Take the medium out.\n"
    ));
    boot_next(paths, consoles, table.as_ref());
    Ok(Power::Reboot)
}

/// As good as the firmware allows; who stands before the machine takes the medium out otherwise.
fn boot_next(paths: &Paths, consoles: &Consoles, table: Option<&Table>) {
    let Some(esp) = table.and_then(|table| table.named(gpt::ESP)) else { return };
    let sectors = esp.bytes() / gpt::SECTOR;
    let loader = Loader { number: esp.number, first: esp.first, sectors, id: esp.id };
    if let Err(error) = efi::start_next(paths, &loader) {
        consoles.say(&format!("The firmware was not told to start the disk next: {error:#}."));
    }
}

/// What is written.
struct Job<'a> {
    site: &'a Site,
    target: &'a Target,
    keep: bool,
    head: &'a [u8],
    table: &'a Table,
    config: &'a str,
    now: u64,
}

fn write(
    paths: &Paths,
    consoles: &Consoles,
    medium: &Medium,
    mut image: medium::Unpacked<'_>,
    job: &Job<'_>,
) -> Result<()> {
    let Job { site, target, keep, head, table, config, now } = *job;
    let disk = Disk::open(&paths.host("/dev").join(&target.name)).with_context(|| format!("{target}"))?;
    // It was chosen by its name before the medium was read, which takes minutes; from now on that name is its own.
    let held = targets(paths, &disk::list(paths.root())?, &medium.name, table, None)?;
    if let Some(refusal) = changed(target, &held) {
        return Err(Exit::Unavailable.because(refusal.to_string()));
    }
    let named = |name: &str| table.named(name).with_context(|| format!("the image has no one partition `{name}`"));
    let (place, var) = (named(gpt::CONFIG)?, named(gpt::VAR)?);
    let receipt = Installed {
        image: medium.title.clone(),
        image_sha256: medium.image.sha256.as_str().to_owned(),
        config_sha256: config.to_owned(),
        at: now,
    };
    let receipt = serde_json::to_vec(&receipt).context("cannot write the receipt as JSON")?;
    let mut volume = site::volume(site, &receipt, place.bytes())?;
    // Zeros behind it, so that nobody reads there when the medium last handed over to what was here before.
    volume.resize(usize::try_from(place.bytes())?, 0);

    let (last, end) = if keep {
        let kept = Table::read(disk.file(), disk.bytes()).context("cannot read its partition table")?;
        let kept = kept.with_context(|| format!("{target} has lost its partition table since it was looked at"))?;
        // Behind the slots lies what is kept.
        let slots = table.partitions().into_iter().filter(|slot| slot.number != var.number);
        let end = slots.map(|slot| (slot.last + 1) * gpt::SECTOR).max().unwrap_or(MIB);
        put_table(&disk, &kept.only_var(disk.bytes())?)?;
        (Some(table.around(&kept, disk.bytes())?), end)
    } else {
        disk.begin()?;
        (None, medium.image.bytes)
    };
    let range = place.start()..place.start() + place.bytes();
    let mut progress = Progress::new(consoles, format!("Writing to {}", target.name), end);
    let mut written = disk.copy(&mut image, end, &range, |at| progress.at(at))?;
    image.end().map_err(|error| medium::bad(&medium.name, &error))?;
    disk.write(place.start(), &volume, &mut written)?;
    let mut progress = Progress::new(consoles, format!("Reading {} back", target.name), end);
    disk.verify(&written, |at| progress.at(at))?;
    match &last {
        Some(table) => {
            // Another program may have written there; with `/var` alone in the table nothing starts yet.
            disk.put(0, &head[..gpt::SECTOR as usize])?;
            disk.sync()?;
            put_table(&disk, table)?;
        }
        None => disk.finish(head)?,
    }
    drop(disk);
    boot_next(paths, consoles, Some(last.as_ref().unwrap_or(table)));
    Ok(())
}

/// Both places of a table, one after the other: at each moment one of them is whole.
fn put_table(disk: &Disk, table: &Table) -> Result<()> {
    let backup = table.backup();
    disk.put(disk.bytes() - backup.len() as u64, &backup)?;
    disk.sync()?;
    disk.put(gpt::SECTOR, &table.primary())?;
    disk.sync()
}

/// How far something is, every few seconds.
struct Progress<'a> {
    consoles: &'a Consoles,
    what: String,
    of: u64,
    said: Instant,
}

impl<'a> Progress<'a> {
    fn new(consoles: &'a Consoles, what: String, of: u64) -> Progress<'a> {
        consoles.say(&format!("{what}: {} MiB.", of / MIB));
        Progress { consoles, what, of: of.max(1), said: Instant::now() }
    }

    fn at(&mut self, at: u64) {
        if self.said.elapsed() >= PROGRESS {
            self.said = Instant::now();
            self.consoles.say(&format!("{}: {} %", self.what, at * 100 / self.of));
        }
    }
}
