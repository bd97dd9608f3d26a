//! Everything that must be there before anything can be observed: configuration, data disk, address, certificates.
//! Each of them is waited for, and the wait says for what.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plan::facts::Me;
use plan::member::Version;
use plan::place::Place;
use plan::spec::{Host, Spec};

use crate::apply::journal::Journal;
use crate::exit::{Exit, Failure};
use crate::metadata::{self, Loaded, Sources};
use crate::observe::volume::{self, Volume};
use crate::observe::{self, Group};
use crate::paths::Paths;
use crate::report::Report;
use crate::run::etcd_version;
use crate::sys::format::Programs;
use crate::sys::fs::{self, Owner};
use crate::sys::netlink::Watch;
use crate::sys::{self, clock, net};
use crate::tls;
use crate::who::{found_address, listed, me, who};

/// For how long another etcd-bootstrapper is waited for.
const LOCK: Duration = Duration::from_secs(10);

/// Between two looks for something that announces itself in no way.
const LOOK: Duration = Duration::from_millis(200);

/// Between two questions to a platform that has nothing for this machine.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What is settled before the loop begins.
pub struct Prepared {
    /// What the user asked for.
    pub spec: Spec,
    /// What only this host needs of it.
    pub host: Host,
    /// Who lists the others, where they come and go.
    pub group: Option<Arc<Group>>,
    /// Where it came from.
    pub carrier: String,
    /// Who this host is; the nonce changes with every life of the disk.
    pub me: Me,
    /// The address that others reach this host at.
    pub address: IpAddr,
    /// Where the data disk is used now.
    pub place: Place,
    /// etcd's user, where there is one.
    pub owner: Option<Owner>,
    /// The etcd that will be started.
    pub etcd: Version,
    /// Held until the run ends, so that no `reset` comes between.
    _lock: fs::Lock,
}

/// Waits until all of it is there.
///
/// # Errors
/// 65 for bad input, 78 for a refused disk, 75 when a wait of the spec's `timeouts` is over.
pub async fn prepare(paths: &Paths, report: &mut Report) -> Result<Prepared> {
    let sources = Sources::new(paths);
    if metadata::remembered(paths)?.is_none() || sources.moved()? {
        // Nothing says yet which disk is this host's, or what says it is another's: all that may say it comes first.
        platform(&sources, report).await?;
    }
    // A carrier that was broken since the last boot must not keep a member from starting; a blank disk is told below.
    let found = sources.load();
    let remembered = if matches!(found, Ok(Some(_))) { None } else { sources.remembered()? };
    let (mut loaded, fault) = match found {
        Ok(loaded) => (loaded, None),
        Err(error) if remembered.is_some() => (None, Some(error)),
        Err(error) => return Err(error),
    };
    if loaded.is_none() && remembered.is_none() {
        loaded = Some(configuration(&sources, report).await?);
    }
    let tentative = loaded.as_ref().or(remembered.as_ref()).context("a configuration was just waited for")?;
    data_volume(paths, &tentative.host, report).await?;
    // `certs renew` holds it for a moment.
    let lock = Journal::of(paths).lock_within(LOCK, |who| report.say(who)).await?;
    let life = Journal::of(paths).open()?;
    let settled = observe::settled(paths, &life)?;
    let member = settled.is_some();
    let (loaded, remembered, fault) = if !member && sources.unasked()? && platform(&sources, report).await? {
        (sources.load()?, sources.remembered()?, None)
    } else {
        (loaded, remembered, fault)
    };
    // A settled member starts by what it remembers; a blank disk waits for what the operator gives it now.
    let loaded = match (loaded, remembered, fault) {
        (Some(loaded), _, _) => {
            metadata::remember(paths, &loaded)?;
            loaded
        }
        (None, Some(remembered), fault) if member => {
            if let Some(error) = fault {
                tracing::warn!("starting by the configuration of an earlier boot; today's is refused: {error:#}");
            }
            // `finish` goes by what is kept.
            if let Err(error) = metadata::remember(paths, &remembered) {
                tracing::warn!("{error:#}");
            }
            remembered
        }
        (None, _, Some(error)) => return Err(error),
        (None, remembered, None) => {
            let loaded = again(&sources, remembered, report).await?;
            metadata::remember(paths, &loaded)?;
            loaded
        }
    };
    sources.redact().await;
    let group = Group::of(&loaded.host, paths, loaded.instance_id.as_deref());
    net::set_hostname(paths, loaded.hostname.as_deref())?;
    let (me, address) = match settled {
        Some(identity) => {
            let address = identity.peer_url.host().parse().unwrap_or(IpAddr::from([127, 0, 0, 1]));
            // A settled member asks nobody.
            let at_hand = group.as_deref().filter(|group| group.is_local());
            let listed = listed(&loaded, at_hand).await;
            let found = listed.and_then(|listed| found_address(&loaded, &listed)).unwrap_or_else(|error| {
                tracing::warn!("this member keeps its peer URL: {error:#}");
                None
            });
            (me(&loaded, identity.name.clone(), found.map_or(identity.peer_url, |(_, url)| url), &life.nonce)?, address)
        }
        None => who(&loaded, group.as_deref(), &life.nonce, report).await?,
    };
    let owner = net::user("etcd");
    known_clock(paths, &loaded.host, member, report).await;
    while let Err(error) = certificates(paths, &loaded, &me, address, owner) {
        // A CA that cannot issue must not keep a member from starting with the leaves that it has.
        if member && tls::certificates_problem(paths, None).is_none() {
            tracing::warn!("going on with the certificates of an earlier boot: {error:#}");
            break;
        }
        if error.downcast_ref::<Failure>().is_none_or(|failure| failure.exit != Exit::TryAgain) {
            return Err(error);
        }
        report.say(&format!("waiting for the right time: {error:#}"));
        tokio::time::sleep(LOOK).await;
    }
    Ok(Prepared {
        etcd: etcd_version(paths).await?,
        place: observe::place(paths, loaded.instance_id),
        spec: loaded.spec,
        host: loaded.host,
        group,
        carrier: loaded.carrier,
        _lock: lock,
        me,
        address,
        owner,
    })
}

/// Asks the platform that launched this machine, if there is one that can be asked; whether it was. Where it does not answer,
/// a configuration that is whole without it will do.
async fn platform(sources: &Sources, report: &mut Report) -> Result<bool> {
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
async fn configuration(sources: &Sources, report: &mut Report) -> Result<Loaded> {
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
async fn again(sources: &Sources, remembered: Option<Loaded>, report: &mut Report) -> Result<Loaded> {
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

/// Waits `timeouts.data_device` for the data disk; there is no other disk to fall back to.
async fn data_volume(paths: &Paths, host: &Host, report: &mut Report) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(host.data_device_timeout);
    // Made before the first look, so that no disk comes unheard.
    let disks = Watch::disks()?;
    loop {
        match volume::look(paths, &host.device)? {
            Volume::Ready { description } => {
                tracing::info!("data volume: {description}");
                return Ok(());
            }
            Volume::Prepare(work) => {
                report.say(&format!("data disk: {work}"));
                sys::volume::prepare(paths, &work, &Programs::default()).await?;
            }
            Volume::Refused { found, expected } => {
                return Err(
                    Exit::Refused.because(format!("the data disk is not used: found {found}, expected {expected}"))
                );
            }
            Volume::Missing { what } if Instant::now() >= deadline => {
                return Err(Exit::Refused.because(format!(
                    "the data disk is not there after {} s: {what}; attach it, a blank one makes this host join anew, \
                     and there is no fallback to another disk",
                    host.data_device_timeout
                )));
            }
            Volume::Missing { what } => {
                report.say(&format!("waiting for the data disk: {what}"));
                // udev says in no way that it is done, so look now and then too.
                disks.changed(LOOK).await?;
            }
        }
    }
}

/// Waits `timeouts.time_sync` for a time that somebody vouches for, which a founding needs; a member waits only while
/// the clock is before this program was built, since certificates need a date.
async fn known_clock(paths: &Paths, host: &Host, member: bool, report: &mut Report) {
    let deadline = Instant::now() + Duration::from_secs(host.time_sync_timeout);
    let missing = || if member { clock::known().is_none() } else { clock::vouched(paths).is_none() };
    while missing() && Instant::now() < deadline {
        report.say(&format!(
            "waiting up to {} s for the time: no time server has set this machine's clock, and it was not ahead of this \
             image at power-on",
            host.time_sync_timeout
        ));
        tokio::time::sleep(LOOK).await;
    }
}

/// Makes the certificates anew that do not pass any more, as after a wrong clock was set right; whether any was. Only for
/// who holds the lock.
pub fn renewed(paths: &Paths) -> bool {
    let Ok(outcome) = tls::renew(paths, clock::known()) else { return false };
    for (leaf, because) in &outcome.issued {
        tracing::info!("issued the {leaf} certificate: {because}");
    }
    !outcome.issued.is_empty()
}

fn certificates(paths: &Paths, loaded: &Loaded, me: &Me, address: IpAddr, owner: Option<Owner>) -> Result<()> {
    let now = clock::known();
    let ca = tls::load(&loaded.host.tls, paths, now)?;
    let hostname = net::hostname()?;
    let names = tls::Names::new(&loaded.host.tls, me.name.clone(), &hostname, address, me.peer_url.clone())?;
    for (leaf, because) in tls::ensure(paths, &ca, &names, now, owner)?.issued {
        tracing::info!("issued the {leaf} certificate: {because}");
    }
    if let Some(warning) = now.and_then(|now| ca.warning(now)) {
        tracing::warn!("{warning}");
    }
    Ok(())
}
