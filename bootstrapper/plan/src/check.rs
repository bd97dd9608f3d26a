//! From the document to its meaning: everything that no single field can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cidr::Cidr;
use crate::discovery::Discovery;
use crate::document::{Address, Data, Device, Document, PeerEntry, Source};
use crate::member::is_name_or_address;
use crate::source::misplaced;
use crate::spec::{Host, Problem, Set, Spec, Store};
use crate::{backup, discovery, firewall, install, logs, restore, store};

/// etcd's options that the bootstrapper decides; a user who could set them could undo its laws.
const OURS: [&str; 30] = [
    "name",
    "data-dir",
    "wal-dir",
    "config-file",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "initial-advertise-peer-urls",
    "advertise-client-urls",
    "listen-peer-urls",
    "listen-client-urls",
    "discovery",
    "discovery-srv",
    "discovery-srv-name",
    "discovery-token",
    "discovery-endpoints",
    "force-new-cluster",
    "strict-reconfig-check",
    "cert-file",
    "key-file",
    "trusted-ca-file",
    "peer-cert-file",
    "peer-key-file",
    "peer-trusted-ca-file",
    "unsafe-no-fsync",
    "client-cert-auth",
    "peer-client-cert-auth",
    "auto-tls",
    "peer-auto-tls",
    "proxy",
];

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { path: path.into(), message: message.into() });
    }
}

pub(crate) fn check(document: Document) -> Result<(Spec, Host), Vec<Problem>> {
    let mut problems = Problems(Vec::new());
    if document.version != 1 {
        problems.add(
            "version",
            format!("version {} of the document is not known: this program reads version 1", document.version),
        );
    }
    check_size(&document, &mut problems);
    check_peers(&document, &mut problems);
    check_absent(&document, &mut problems);
    problems.0.extend(document.store.iter().flat_map(store::check));
    problems.0.extend(document.backup.iter().flat_map(|entry| backup::check(entry, document.store.is_some())));
    problems.0.extend(document.logs.iter().flat_map(logs::check));
    problems.0.extend(firewall::check(&document.firewall, &document.peers));
    problems.0.extend(document.install.iter().flat_map(install::check));
    check_restore(&document, &mut problems);
    check_recover(&document, &mut problems);
    check_member(&document, &mut problems);
    check_disks(&document, &mut problems);
    check_tls(&document, &mut problems);
    let etcd = check_etcd(&document, &mut problems);
    if !problems.0.is_empty() {
        return Err(problems.0);
    }
    let seconds =
        |d: Option<crate::spec::Duration>, default: u64| d.map_or(Duration::from_secs(default), |d| d.0).as_secs();
    let set = match &document.discovery {
        None => Set::Static(document.peers),
        Some(Discovery::Dns(names)) => Set::Static(names.peers()),
        Some(
            Discovery::File(_)
            | Discovery::DnsSrv(_)
            | Discovery::AwsAsg(_)
            | Discovery::AwsTags(_)
            | Discovery::GceMig(_)
            | Discovery::AzureVmss(_),
        ) => Set::Dynamic,
    };
    let spec = Spec {
        cluster: document.cluster.name,
        size: document.cluster.size,
        epoch: document.cluster.epoch,
        found_until: document.cluster.found_until,
        mode: document.mode,
        set,
        replace_after: seconds(document.replace_after, 60),
        restore: document.restore.as_ref().and_then(|r| r.sha256.clone()),
        store: document.store.as_ref().map(|s| Store { url: s.url.clone(), on_total_loss: s.on_total_loss }),
        recover: document.recover,
    };
    let host = Host {
        name: document.member.name,
        discovery: document.discovery,
        address: document.member.address,
        device: document.data.device,
        wal_device: document.data.wal_device,
        tls: document.tls,
        firewall: document.firewall,
        logs: document.logs,
        restore: document.restore.map(Arc::new),
        store: document.store.map(Arc::new),
        backup: document.backup,
        allow_inline_secrets: document.allow_inline_secrets,
        metadata_timeout: seconds(document.timeouts.metadata, 120),
        data_device_timeout: seconds(document.timeouts.data_device, 60),
        time_sync_timeout: seconds(document.timeouts.time_sync, 60),
        etcd,
        install: document.install.unwrap_or_default(),
    };
    Ok((spec, host))
}

fn check_size(document: &Document, problems: &mut Problems) {
    let size = document.cluster.size;
    match size {
        1 | 3 | 5 | 7 => {}
        2 | 4 | 6 => problems.add(
            "cluster.size",
            format!("{size} voters survive no more failures than {}: write {} or {}", size - 1, size - 1, size + 1),
        ),
        _ => problems.add("cluster.size", format!("{size} is not a number of voters: write 1, 3, 5 or 7")),
    }
    if document.cluster.epoch == 0 {
        problems.add("cluster.epoch", "epochs count from 1");
    }
}

fn check_peers(document: &Document, problems: &mut Problems) {
    let peers = &document.peers;
    if let Some(discovery) = &document.discovery {
        if !peers.is_empty() {
            problems.add("discovery", "`peers` lists the members already: remove one of both");
        }
        problems.0.extend(discovery::check(discovery, document.cluster.size));
        return;
    }
    if matches!(document.cluster.size, 1 | 3 | 5 | 7) && peers.len() != usize::from(document.cluster.size) {
        problems.add(
            "peers",
            format!(
                "cluster.size is {} and peers has {}: list every member, this host included, as {{name: …, peer_url: …}}",
                document.cluster.size,
                entries(peers.len())
            ),
        );
    }
    let mut names = BTreeMap::new();
    let mut urls = BTreeMap::new();
    for (i, PeerEntry { name, peer_url }) in peers.iter().enumerate() {
        if let Some(first) = names.insert(name, i) {
            problems.add(
                format!("peers[{i}].name"),
                format!("`{name}` is already the name of peers[{first}]: give each member its own"),
            );
        }
        if let Some(first) = urls.insert(peer_url, i) {
            problems.add(
                format!("peers[{i}].peer_url"),
                format!("{peer_url} is already the peer URL of peers[{first}]: give each member its own"),
            );
        }
        let loopback = peer_url.host() == "localhost"
            || peer_url.host().parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback());
        if loopback && peers.len() > 1 {
            problems.add(
                format!("peers[{i}].peer_url"),
                format!("{peer_url} is this host itself to every host: write the address that others reach"),
            );
        }
    }
}

fn entries(n: usize) -> String {
    match n {
        0 => "no entries".into(),
        1 => "1 entry".into(),
        n => format!("{n} entries"),
    }
}

fn check_absent(document: &Document, problems: &mut Problems) {
    if document.health.is_some() {
        problems.add("health", "`health` is planned and not in this version: remove it");
    }
}

fn check_restore(document: &Document, problems: &mut Problems) {
    use crate::spec::Mode;
    match (&document.restore, document.mode) {
        (None, Mode::Restore) => problems.add("mode", "mode is restore and there is no `restore: {url: …, sha256: …}`"),
        (Some(_), Mode::Join) => problems
            .add("restore", "mode is join, which never founds, so nothing would be restored: remove one of both"),
        (Some(entry), Mode::Restore) if entry.url.is_none() && entry.sha256.is_none() => {
            problems.add("mode", "mode is restore and `restore` has no `url` and no `sha256`");
        }
        (Some(entry), Mode::Auto | Mode::Init | Mode::Restore) => {
            problems.0.extend(restore::check(entry, document.store.as_ref()));
        }
        (None, Mode::Auto | Mode::Init | Mode::Join) => {}
    }
}

fn check_recover(document: &Document, problems: &mut Problems) {
    let Some(recover) = &document.recover else { return };
    if recover.epoch <= document.cluster.epoch {
        let epoch = document.cluster.epoch;
        let message = format!(
            "a recovery begins a new epoch, and cluster.epoch is {epoch}: write {} or more, or remove `recover` if it is over",
            epoch.saturating_add(1)
        );
        problems.add("recover.epoch", message);
    }
    if !document.peers.is_empty() && !document.peers.iter().any(|p| p.name == recover.survivor) {
        let names: Vec<&str> = document.peers.iter().map(|p| p.name.as_str()).collect();
        let message = format!("`{}` is not in `peers`: name one of {}", recover.survivor, names.join(", "));
        problems.add("recover.survivor", message);
    }
    for (i, name) in recover.given_up.iter().enumerate() {
        let path = || format!("recover.given_up[{i}]");
        if *name == recover.survivor {
            problems.add(path(), format!("`{name}` is the survivor, whose data is kept: remove it here"));
        } else if recover.given_up[..i].contains(name) {
            problems.add(path(), format!("`{name}` is given up twice: remove one of both"));
        }
    }
}

fn check_member(document: &Document, problems: &mut Problems) {
    match &document.member.address {
        Address::Cidr { cidr } => {
            if let Err(problem) = cidr.parse::<Cidr>() {
                problems.add("member.address.cidr", problem);
            }
        }
        // The kernel's names have 1 to 15 bytes (IFNAMSIZ), no blank and no slash.
        Address::Interface { interface }
            if !(1..=15).contains(&interface.len()) || interface.contains(['/', ' ', '\t']) =>
        {
            problems
                .add("member.address.interface", format!("{interface:?} is not the name of an interface such as eth0"));
        }
        Address::Auto | Address::Interface { .. } | Address::Text(_) => {}
    }
}

/// The shortest validity that a renewal can keep up with: the timer comes twice a day and up to six hours late.
const SHORTEST: Duration = Duration::from_secs(72 * 3600);

/// A log without its database is worth nothing, so both disks are said, or neither.
fn check_disks(document: &Document, problems: &mut Problems) {
    let Data { device, wal_device } = &document.data;
    match wal_device {
        None => {}
        Some(Device::Auto) => problems.add("data.wal_device", "is never chosen: name the disk by its serial"),
        Some(wal) if wal == device => {
            problems.add("data.wal_device", "is the disk of `data.device`: leave it out, or name another disk");
        }
        Some(_) if *device == Device::Auto => {
            problems.add("data.wal_device", "needs `data.device` to name the data disk as well");
        }
        Some(_) => {}
    }
}

fn check_tls(document: &Document, problems: &mut Problems) {
    for (path, source) in [("tls.ca.cert", &document.tls.ca.cert), ("tls.ca.key", &document.tls.ca.key)] {
        match source {
            Source::File { .. } | Source::Credential { .. } | Source::Url(_) | Source::Kept(_) => {
                if let Some((key, why)) = misplaced(source) {
                    problems.add(format!("{path}.{key}"), why);
                }
            }
            // The text stays out of the message: it may be half a key.
            Source::Inline(text) if !text.reveal().contains("-----BEGIN ") => {
                problems.add(
                    path,
                    "this text is not PEM, which has a line -----BEGIN …-----: write {file: PATH} for a file",
                );
            }
            Source::Inline(_) => {}
        }
    }
    for (i, name) in document.tls.extra_sans.iter().enumerate() {
        if !is_name_or_address(name.strip_prefix("*.").unwrap_or(name)) {
            problems.add(
                format!("tls.extra_sans[{i}]"),
                format!("{name:?} is neither a DNS name nor an address: write it without scheme, port and brackets"),
            );
        }
    }
    if document.tls.validity.is_some_and(|validity| validity.0 < SHORTEST) {
        problems.add(
            "tls.validity",
            "certificates that end within three days cannot be renewed in time: write 72h or more",
        );
    }
}

fn check_etcd(document: &Document, problems: &mut Problems) -> BTreeMap<String, String> {
    let ours: BTreeSet<&str> = OURS.into_iter().collect();
    let mut environment = BTreeMap::new();
    for (option, value) in &document.etcd {
        let path = format!("etcd.{option}");
        let value = value.to_string();
        let spelled = option.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !spelled || !option.starts_with(|c: char| c.is_ascii_lowercase()) {
            problems.add(
                path,
                format!("{option:?} is not the name of an etcd option: write it as etcd does, without the leading --"),
            );
        } else if ours.contains(option.as_str()) {
            problems.add(path, format!("`{option}` is decided by the bootstrapper: remove it"));
        } else if value.chars().any(char::is_control) {
            problems.add(path, "the value has a control character");
        } else {
            environment.insert(format!("ETCD_{}", option.to_ascii_uppercase().replace('-', "_")), value);
        }
    }
    environment
}
