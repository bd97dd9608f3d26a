//! The configuration that `run` goes by: what is found, waited for, asked of the platform, or remembered.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plan::spec::Host;

use crate::exit::Exit;
use crate::metadata::{Loaded, Sources};
use crate::report::Report;

/// Between two looks for something that announces itself in no way.
const LOOK: Duration = Duration::from_millis(200);

/// Between two questions to a platform that has nothing for this machine.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What says how this host is configured: today's carriers, or what an earlier boot has kept of them.
pub struct Found {
    /// By today's.
    pub loaded: Option<Loaded>,
    /// As an earlier boot has kept it.
    pub remembered: Option<Loaded>,
    /// Why today's is not used.
    pub fault: Option<anyhow::Error>,
}

impl Found {
    /// Looks once. A carrier that was broken since the last boot must not keep a member from starting.
    ///
    /// # Errors
    /// As [`Sources::load`], where nothing was kept.
    pub fn look(sources: &Sources) -> Result<Found> {
        let found = sources.load();
        let remembered = if matches!(found, Ok(Some(_))) { None } else { sources.remembered()? };
        match found {
            Ok(loaded) => Ok(Found { loaded, remembered, fault: None }),
            Err(error) if remembered.is_some() => Ok(Found { loaded: None, remembered, fault: Some(error) }),
            Err(error) => Err(error),
        }
    }

    /// The same now that the platform was asked.
    ///
    /// # Errors
    /// 75 when `data` has changed: a disk that is in use cannot become another one in this run.
    pub fn today(&self, sources: &Sources) -> Result<Found> {
        let today = self.beside_data(sources)?;
        if today.host()?.wal_device == self.host()?.wal_device { Ok(today) } else { Err(changed("data.wal_device")) }
    }

    /// As [`Found::today`] while only the data disk is in use.
    ///
    /// # Errors
    /// 75 when `data.device` has changed.
    pub fn beside_data(&self, sources: &Sources) -> Result<Found> {
        let today = Found::look(sources)?;
        if today.host()?.device == self.host()?.device { Ok(today) } else { Err(changed("data.device")) }
    }

    /// The part of this host alone, by the one or the other.
    ///
    /// # Errors
    /// When there is neither.
    pub fn host(&self) -> Result<&Host> {
        let loaded = self.loaded.as_ref().or(self.remembered.as_ref());
        Ok(&loaded.context("there is no configuration any more")?.host)
    }
}

fn changed(key: &str) -> anyhow::Error {
    Exit::TryAgain.because(format!("`{key}` has changed since the last boot: beginning again with today's"))
}

/// Asks the platform that launched this machine, if there is one that can be asked; whether it was. Where it does not answer,
/// a configuration that is whole without it will do.
///
/// # Errors
/// As [`Sources::ask`], unless the configuration that is there will do.
pub async fn platform(sources: &Sources, report: &mut Report) -> Result<bool> {
    match sources.ask(&mut |text| report.say(text)).await {
        Ok(()) => Ok(true),
        Err(error) if !matches!(Exit::of(&error), Exit::Unavailable | Exit::TryAgain) => Err(error),
        // Without its word a copy of a member would pass for it.
        Err(error) if sources.moved()? => Err(error.context(
            "the system of this machine was another machine's when its platform was asked last, so only the platform can \
             say who it is",
        )),
        Err(error) => match sources.load() {
            Ok(Some(loaded)) => {
                tracing::warn!("going on with the configuration in {}: {error:#}", loaded.carrier);
                Ok(false)
            }
            Ok(None) => Err(error),
            Err(fault) => Err(error.context(format!("the configuration that is here cannot be used either: {fault:#}"))),
        },
    }
}

/// Waits for a carrier with our configuration: a volume may be attached at any time, and some platforms let their users
/// change what they handed to a machine that runs.
///
/// # Errors
/// As [`Sources::load`].
pub async fn configuration(sources: &Sources, report: &mut Report) -> Result<Loaded> {
    let mut asked = Instant::now();
    loop {
        report.say(&format!("waiting for a configuration: {}", sources.looked_at()));
        tokio::time::sleep(LOOK).await;
        if asked.elapsed() >= ASK_AGAIN {
            if let Err(error) = sources.ask(&mut |text| report.say(text)).await {
                tracing::warn!("{error:#}");
            }
            asked = Instant::now();
        }
        if let Some(loaded) = sources.load()? {
            return Ok(loaded);
        }
    }
}

/// Waits `timeouts.metadata` for the carrier of an earlier boot, then goes on with what it said then.
///
/// # Errors
/// As [`Sources::load`].
pub async fn again(sources: &Sources, remembered: Option<Loaded>, report: &mut Report) -> Result<Loaded> {
    let Some(remembered) = remembered else { return configuration(sources, report).await };
    let deadline = Instant::now() + Duration::from_secs(remembered.host.metadata_timeout);
    while Instant::now() < deadline {
        report.say(&format!(
            "waiting up to {} s for the configuration that came from {} before, then using the one kept from it",
            remembered.host.metadata_timeout, remembered.carrier
        ));
        tokio::time::sleep(LOOK).await;
        if let Some(loaded) = sources.load()? {
            return Ok(loaded);
        }
    }
    Ok(remembered)
}
