//! Brings the disk that the write-ahead log may have for itself to where it belongs, before anybody looks at the log.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use plan::progress::Life;
use plan::spec::Host;

use crate::apply::journal::Journal;
use crate::configuration::{Found, platform};
use crate::exit::Exit;
use crate::metadata::Sources;
use crate::observe::volume::{self, Volume};
use crate::paths::Paths;
use crate::prepare::LOOK;
use crate::report::Report;
use crate::sys::format::Programs;
use crate::sys::netlink::Watch;
use crate::sys::{self, fs};

/// Mounts the disk that has this life's log, or that the configuration names for it, and formats a blank one that it names.
/// The platform is asked first where it may name another disk today.
///
/// A life whose log is in the data dir keeps it there: what is named for its successor is mounted if it is at hand, and is
/// not waited for.
///
/// # Errors
/// 75 when the disk is not there after `timeouts.data_device`, 78 when it is none that may be used.
pub async fn prepare(paths: &Paths, sources: &Sources, mut found: Found, report: &mut Report) -> Result<Found> {
    let life = Journal::of(paths).read()?;
    if let Some(device) = &found.host()?.wal_device
        && paths.root() != Path::new("/")
    {
        tracing::info!("{device:?} is {} below this root", paths.wal_volume().display());
        fs::create_dir(&paths.wal_volume(), 0o755, None)?;
    }
    let mut uncertain = sources.unasked()?;
    if life.is_bound() && life.archiving.is_none() && life.wal.is_none() {
        if let Err(error) = at_hand(paths, &found, &life, uncertain).await {
            tracing::warn!("this member's log stays in its data dir: {error:#}");
        }
        return Ok(found);
    }
    loop {
        match one(paths, &found, &life, uncertain, report).await {
            Ok(true) => return Ok(found),
            Err(error) if !uncertain => return Err(error),
            Ok(false) | Err(_) => {}
        }
        uncertain = false;
        platform(sources, report).await?;
        found = found.beside_data(sources)?;
    }
}

/// Mounts what is there already.
async fn at_hand(paths: &Paths, found: &Found, life: &Life, uncertain: bool) -> Result<()> {
    match volume::look_wal(paths, found.host()?.wal_device.as_ref(), life)? {
        Some(Volume::Prepare(work)) if !(work.format && uncertain) => {
            sys::volume::prepare(paths, &work, &Programs::default()).await
        }
        Some(Volume::Refused { found, expected }) => anyhow::bail!("found {found}, expected {expected}"),
        Some(Volume::Missing { what }) => anyhow::bail!("the disk for it is not there: {what}"),
        Some(Volume::Prepare(_) | Volume::Ready { .. }) | None => Ok(()),
    }
}

/// A life that began in this run has no disk for its log where none was at hand before: the next run waits for it.
pub fn counts(life: &Life, host: &Host) -> Result<()> {
    if host.wal_device.is_none() || life.wal.is_some() || life.nonce.is_none() || life.is_bound() {
        return Ok(());
    }
    Err(Exit::TryAgain.because("`data.wal_device` counts from this life of the disk on: beginning again with it"))
}

/// Waits `timeouts.data_device` for the disk; `false` when it would be formatted, and it is not certain that it is the one.
async fn one(paths: &Paths, found: &Found, life: &Life, uncertain: bool, report: &mut Report) -> Result<bool> {
    let host = found.host()?;
    let deadline = Instant::now() + Duration::from_secs(host.data_device_timeout);
    // Made before the first look, so that no disk comes unheard.
    let disks = Watch::disks()?;
    loop {
        match volume::look_wal(paths, host.wal_device.as_ref(), life)? {
            None => return Ok(true),
            Some(Volume::Ready { description }) => {
                tracing::info!("WAL disk: {description}");
                return Ok(true);
            }
            Some(Volume::Prepare(work)) if work.format && uncertain => return Ok(false),
            Some(Volume::Prepare(work)) => {
                report.say(&format!("WAL disk: {work}"));
                sys::volume::prepare(paths, &work, &Programs::default()).await?;
            }
            Some(Volume::Refused { found, expected }) => {
                return Err(
                    Exit::Refused.because(format!("the WAL disk is not used: found {found}, expected {expected}"))
                );
            }
            Some(Volume::Missing { what }) if Instant::now() >= deadline => {
                // As a data disk: systemd starts this again, and takes it however late it comes.
                return Err(Exit::TryAgain.because(format!(
                    "the WAL disk is not there after {} s: {what}; attach it, or name a blank one in `data.wal_device` by \
                     its serial, with which this host joins anew",
                    host.data_device_timeout
                )));
            }
            Some(Volume::Missing { what }) => {
                report.say(&format!("waiting for the WAL disk: {what}"));
                // udev says in no way that it is done, so look now and then too.
                disks.changed(LOOK).await?;
            }
        }
    }
}
