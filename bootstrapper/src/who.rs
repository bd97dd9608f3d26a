//! Who this host is: its entry of the static list, or its instance of the group.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use plan::discovery::Discovery;
use plan::document::{Auto, PeerEntry};
use plan::facts::{Inventory, Me};
use plan::member::{ClientUrl, MemberName, Nonce, PeerUrl};
use plan::spec::Set;

use crate::exit::Exit;
use crate::metadata::Loaded;
use crate::observe::Group;
use crate::report::Report;
use crate::sys::net;
use crate::sys::netlink::Watch;

/// The client port, as every etcd has it.
const CLIENT_PORT: u16 = 2379;

/// Who this host is, when it has an address that the spec knows; for commands that do not wait.
///
/// # Errors
/// When the spec contradicts itself about this host.
pub async fn identify(loaded: &Loaded, group: Option<&Group>, nonce: Nonce) -> Result<Option<Me>> {
    let listed = listed(loaded, group).await?;
    let Some((_, peer_url)) = found_address(loaded, &listed)? else { return Ok(None) };
    let name = name_of(&listed, &peer_url)?;
    me(loaded, name, peer_url, &Some(nonce)).map(Some)
}

/// Who this host is; waits for an address that the spec knows.
///
/// # Errors
/// 65 when the spec contradicts itself about this host, 78 when it is nobody of it.
pub async fn who(
    loaded: &Loaded,
    group: Option<&Group>,
    nonce: &Option<Nonce>,
    report: &mut Report,
) -> Result<(Me, IpAddr)> {
    let network = Watch::network()?;
    loop {
        let listed = listed(loaded, group).await?;
        if let Some((address, peer_url)) = found_address(loaded, &listed)? {
            let name = name_of(&listed, &peer_url)?;
            if let Some(cut) = net::addresses()?.into_iter().find(|a| a.ip == address && !a.carrier) {
                let interface = cut.interface;
                report.say(&format!(
                    "{interface}, which has {address}, has no carrier: nobody is reached before its cable is in and its switch is on"
                ));
            }
            return Ok((me(loaded, name, peer_url, nonce)?, address));
        }
        let here: Vec<String> =
            net::addresses()?.into_iter().filter(|a| !a.ip.is_loopback()).map(|a| a.to_string()).collect();
        let have = if here.is_empty() { "no address yet".to_owned() } else { format!("only {}", here.join(", ")) };
        report.say(&format!("waiting for an address: this host has {have}, {}", wanted(loaded, group, &listed).await?));
        healable(loaded, group)?;
        network.changed(Duration::from_secs(5)).await?;
    }
}

/// What no waiting heals, such as a permission that the instance lacks, ends the wait after `timeouts.metadata`: rights
/// that were just given take a while to be known everywhere.
fn healable(loaded: &Loaded, group: Option<&Group>) -> Result<()> {
    match group.and_then(Group::hopeless) {
        Some((since, trouble)) if since.as_secs() >= loaded.host.metadata_timeout => {
            Err(trouble.exit.because(format!("{}; it has been so for {} s", trouble.text, since.as_secs())))
        }
        Some(_) | None => Ok(()),
    }
}

async fn wanted(loaded: &Loaded, group: Option<&Group>, listed: &[PeerEntry]) -> Result<String> {
    let urls: Vec<String> = listed.iter().map(|p| format!("{} ({})", p.peer_url.host(), p.name)).collect();
    Ok(match group {
        Some(group) if listed.is_empty() => match group.now().await {
            Inventory::Unknown { reason } => reason,
            Inventory::Listed(_) | Inventory::Static if group.by_address() => format!("{} name nobody", group.place()),
            Inventory::Listed(_) | Inventory::Static => {
                format!("{} does not list {} with a peer_url", group.place(), instance(loaded)?)
            }
        },
        Some(group) => format!("{} has {}", group.place(), urls.join(", ")),
        None => format!("`peers` has {}", urls.join(", ")),
    })
}

/// Which instance of its group this host is.
fn instance(loaded: &Loaded) -> Result<MemberName> {
    match (&loaded.host.name, &loaded.instance_id) {
        (Auto::Is(name), _) => Ok(name.clone()),
        (Auto::Auto, Some(id)) => {
            id.parse().map_err(|why| Exit::BadInput.because(format!("the instance ID cannot be a member's name: {why}")))
        }
        (Auto::Auto, None) => Err(Exit::BadInput.because(
            "nobody says which instance of the group this host is: give it an instance-id in its meta-data, or write member.name",
        )),
    }
}

/// The entries that this host may be: all of the static list, or its own of the group where instances have IDs.
///
/// # Errors
/// 65 when a host of a group does not know its instance.
pub async fn listed(loaded: &Loaded, group: Option<&Group>) -> Result<Vec<PeerEntry>> {
    let group = match (&loaded.spec.set, group) {
        (Set::Static(peers), _) => return Ok(peers.clone()),
        (Set::Dynamic, None) => return Ok(Vec::new()),
        (Set::Dynamic, Some(group)) => group,
    };
    let ours = match (&loaded.host.name, group.by_address()) {
        (Auto::Auto, true) => None,
        (Auto::Is(_), _) | (Auto::Auto, false) => Some(instance(loaded)?),
    };
    let instances = match group.now().await {
        Inventory::Listed(instances) => instances,
        Inventory::Static | Inventory::Unknown { .. } => Vec::new(),
    };
    let may_be = instances.into_iter().filter(|i| !i.terminated && ours.as_ref().is_none_or(|ours| i.id == *ours));
    Ok(may_be.filter_map(|i| Some(PeerEntry { name: i.id, peer_url: i.peer_url? })).collect())
}

/// The address and the peer URL of this host's entry among those listed, once the address is bound here.
///
/// # Errors
/// 65 when several fit, 78 when `member.name` fits none.
pub fn found_address(loaded: &Loaded, peers: &[PeerEntry]) -> Result<Option<(IpAddr, PeerUrl)>> {
    if peers.is_empty() {
        return Ok(None);
    }
    let named = match &loaded.host.name {
        Auto::Is(name) => peers.iter().find(|p| p.name == *name),
        Auto::Auto => None,
    };
    if let (Auto::Is(name), None) = (&loaded.host.name, named) {
        return Err(Exit::Refused.because(format!("member.name is `{name}`, and `peers` has no such name")));
    }
    let candidates: Vec<_> = named.map_or_else(|| peers.to_vec(), |p| vec![p.clone()]);
    let found = net::choose_address(&loaded.host.address, &candidates)?;
    // Whom DNS names at the moment may be others alone: without a name of its own, this host is only who has its address.
    let only_by_address = named.is_none() && matches!(loaded.host.discovery, Some(Discovery::DnsSrv(_)));
    Ok(found.filter(|(ip, url)| !only_by_address || !ip.is_loopback() && net::leads_to(url.host(), *ip)))
}

/// The name that the list gives to this peer URL.
fn name_of(listed: &[PeerEntry], peer_url: &PeerUrl) -> Result<MemberName> {
    let entry = listed.iter().find(|p| p.peer_url == *peer_url);
    entry.map(|p| p.name.clone()).with_context(|| format!("`peers` has no entry with {peer_url}"))
}

/// This host under this name.
///
/// # Errors
/// When there is no disk nonce yet.
pub fn me(loaded: &Loaded, name: MemberName, peer_url: PeerUrl, nonce: &Option<Nonce>) -> Result<Me> {
    let bracketed =
        if peer_url.host().contains(':') { format!("[{}]", peer_url.host()) } else { peer_url.host().to_owned() };
    let client_url: ClientUrl = format!("https://{bracketed}:{CLIENT_PORT}").parse()?;
    Ok(Me {
        name,
        client_url,
        nonce: nonce.clone().context("the journal was opened and has no nonce")?,
        instance_id: loaded.instance_id.clone(),
        address_bound: true,
        peer_url,
    })
}
