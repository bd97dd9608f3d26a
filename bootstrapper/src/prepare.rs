//! Everything that must be there before anything can be observed: configuration, data disk, address, certificates.
//! Each of them is waited for, and the wait says for what.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use plan::facts::{Identity, Me};
use plan::member::{Nonce, Version};
use plan::place::Place;
use plan::spec::{Host, Spec};

use crate::apply::journal::Journal;
use crate::configuration::{Found, again, configuration, platform};
use crate::exit::{Exit, Failure};
use crate::firewall;
use crate::logs;
use crate::metadata::{self, Loaded, Sources};
use crate::network;
use crate::observe::volume::{self, Volume};
use crate::observe::{self, Group};
use crate::paths::Paths;
use crate::report::Report;
use crate::run::etcd_version;
use crate::secrets;
use crate::sys::format::Programs;
use crate::sys::fs::{self, Owner};
use crate::sys::netlink::Watch;
use crate::sys::{self, clock, net};
use crate::tls;
use crate::wal_disk;
use crate::who::{found_address, listed, me, who};

/// For how long another etcd-bootstrapper is waited for.
const LOCK: Duration = Duration::from_secs(10);

/// Between two looks for something that announces itself in no way.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

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
    let mut found = Found::look(&sources)?;
    if found.loaded.is_none() && found.remembered.is_none() {
        found.loaded = Some(configuration(&sources, report).await?);
    }
    let found = data_disk(paths, &sources, found, report).await?;
    let found = wal_disk::prepare(paths, &sources, found, report).await?;
    // `certs renew` holds it for a moment.
    let lock = Journal::of(paths).lock_within(LOCK, |who| report.say(who)).await?;
    let life = Journal::of(paths).open()?;
    let settled = observe::settled(paths, &life)?;
    let member = settled.is_some();
    let found =
        if !member && sources.unasked()? && platform(&sources, report).await? { found.today(&sources)? } else { found };
    // A settled member starts by what it remembers; a blank disk waits for what the operator gives it now.
    let mut loaded = match (found.loaded, found.remembered, found.fault) {
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
    match network::again(paths, &sources).await {
        Err(error) if member => tracing::warn!("the network stays as it is: {error:#}"),
        made => made?,
    }
    sources.redact().await;
    if let Some(logs) = &loaded.host.logs
        && let Err(error) = logs::send(paths, logs).await
    {
        // No log is worth a member.
        tracing::warn!("the journal stays on this host: {error:#}");
    }
    let group = Group::of(&loaded.host, paths, loaded.instance_id.as_deref());
    net::set_hostname(paths, loaded.hostname.as_deref())?;
    let (me, address) = match settled {
        Some(identity) => still(paths, &loaded, &identity, group.as_deref(), &life.nonce).await?,
        None => who(&loaded, group.as_deref(), &life.nonce, report).await?,
    };
    firewall::open(paths, &loaded.host, &me).await?;
    let owner = net::user("etcd");
    known_clock(paths, &loaded.host, member, report).await;
    secrets::ca(paths, &mut loaded.host, member, &mut |text| report.say(text)).await?;
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

/// Brings the data disk to where it belongs. What an earlier boot has kept may name another disk than its user names
/// today: before one is formatted, refused or missed for good, the platform is asked.
async fn data_disk(paths: &Paths, sources: &Sources, found: Found, report: &mut Report) -> Result<Found> {
    let unasked = sources.unasked()?;
    let refused = match data_volume(paths, found.host()?, unasked, report).await {
        Ok(Disk::Ready) => return Ok(found),
        Ok(Disk::Blank) => None,
        Err(error) if unasked => Some(error),
        Err(error) => return Err(error),
    };
    match (platform(sources, report).await, refused) {
        (Err(error), None) => Err(error),
        (Err(error), Some(refused)) => {
            tracing::warn!("{error:#}");
            Err(refused)
        }
        (Ok(_), refused) => {
            let today = Found::look(sources)?;
            match refused {
                Some(refused) if today.host()?.device == found.host()?.device => Err(refused),
                Some(_) | None => data_volume(paths, today.host()?, false, report).await.map(|_| today),
            }
        }
    }
}

/// A settled member under the name of its data, and the address that it has. It asks nobody and waits for no network:
/// before its address is there, it is the one that its certificates were made for.
async fn still(
    paths: &Paths,
    loaded: &Loaded,
    identity: &Identity,
    group: Option<&Group>,
    nonce: &Option<Nonce>,
) -> Result<(Me, IpAddr)> {
    let at_hand = group.filter(|group| group.is_local());
    let listed = listed(loaded, at_hand).await;
    let found = listed.and_then(|listed| found_address(loaded, &listed)).unwrap_or_else(|error| {
        tracing::warn!("this member keeps its peer URL: {error:#}");
        None
    });
    let written = identity.peer_url.host().parse().ok();
    let before = || tls::names(paths).ok().flatten().map(|names| names.address);
    let address = written.or_else(|| found.as_ref().map(|(address, _)| *address)).or_else(before);
    let peer_url = found.map_or_else(|| identity.peer_url.clone(), |(_, url)| url);
    Ok((me(loaded, identity.name.clone(), peer_url, nonce)?, address.unwrap_or(Ipv4Addr::LOCALHOST.into())))
}

/// What became of the data disk.
enum Disk {
    /// It is where it belongs.
    Ready,
    /// It would be formatted, and it is not certain yet that it is the one.
    Blank,
}

/// Waits `timeouts.data_device` for the data disk; there is no other disk to fall back to.
async fn data_volume(paths: &Paths, host: &Host, uncertain: bool, report: &mut Report) -> Result<Disk> {
    let deadline = Instant::now() + Duration::from_secs(host.data_device_timeout);
    // Made before the first look, so that no disk comes unheard.
    let disks = Watch::disks()?;
    loop {
        match volume::look(paths, &host.device)? {
            Volume::Ready { description } => {
                tracing::info!("data volume: {description}");
                return Ok(Disk::Ready);
            }
            Volume::Prepare(work) if work.format && uncertain => return Ok(Disk::Blank),
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
                // systemd starts this again: who attaches it an hour later need not restart the machine.
                return Err(Exit::TryAgain.because(format!(
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
    let Ok(outcome) = tls::renew(paths, None, clock::known()) else { return false };
    for (leaf, because) in &outcome.issued {
        tracing::info!("issued the {leaf} certificate: {because}");
    }
    !outcome.issued.is_empty()
}

fn certificates(paths: &Paths, loaded: &Loaded, me: &Me, address: IpAddr, owner: Option<Owner>) -> Result<()> {
    let now = clock::known();
    let hostname = net::hostname()?;
    let names = tls::Names::new(&loaded.host.tls, me.name.clone(), &hostname, address, me.peer_url.clone())?;
    if tls::is_put_away(&loaded.host.tls) && tls::fit(paths, &names, now) {
        return Ok(());
    }
    let ca = tls::load(&loaded.host.tls, paths, now)?;
    for (leaf, because) in tls::ensure(paths, &ca, &names, now, owner)?.issued {
        tracing::info!("issued the {leaf} certificate: {because}");
    }
    if let Some(warning) = now.and_then(|now| ca.warning(now)) {
        tracing::warn!("{warning}");
    }
    Ok(())
}
