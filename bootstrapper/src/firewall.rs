//! Who reaches this host: the spec's `firewall` as the kernel's rules. Until they are there, the image's own let nobody in.

use std::collections::BTreeMap;

use anyhow::Result;
use plan::facts::Me;
use plan::firewall::{Firewall, Ports};
use plan::spec::Host;

use crate::exit::Exit;
use crate::paths::Paths;
use crate::sys::{fs, systemd};

const NO_UNIT: &str = "firewall: this host has no etcd-bootstrapper-firewall.service, which the image has: remove the key \
    and let this host's own firewall do it";

/// What `etcd-bootstrapper-firewall.service` reads.
const RULES: &str = "firewall.nft";

/// The image's own rules. Where they are not, on another host than the image, the firewall is somebody else's.
const FIRST: &str = "/usr/lib/etcd-bootstrapper/firewall.nft";

/// Puts the rules in force that this member needs.
///
/// # Errors
/// 75 when nft refuses them, and on a host without the image's unit whose configuration has `firewall`.
pub async fn open(paths: &Paths, host: &Host, me: &Me) -> Result<()> {
    fs::create_dir(&paths.run(), 0o755, None)?;
    let rules = host.firewall.ruleset(&ports(me, &host.etcd));
    fs::write_atomic(&paths.run().join(RULES), rules.as_bytes(), 0o600, None)?;
    if !systemd::is_here() {
        return Ok(());
    }
    if !paths.host(FIRST).exists() {
        let asked = host.firewall != Firewall::default();
        return if asked { Err(Exit::TryAgain.because(NO_UNIT)) } else { Ok(()) };
    }
    systemd::reload_firewall().await.map_err(|error| {
        Exit::TryAgain.because(format!(
            "the firewall does not take the rules of {}, without which no etcd starts here: {error:#}",
            paths.run().join(RULES).display()
        ))
    })
}

/// Where etcd may listen beside its client port: metrics and health, and HTTP apart from gRPC.
const LISTENERS: [&str; 2] = ["ETCD_LISTEN_METRICS_URLS", "ETCD_LISTEN_CLIENT_HTTP_URLS"];

fn ports(me: &Me, options: &BTreeMap<String, String>) -> Ports {
    let urls = LISTENERS.iter().filter_map(|option| options.get(*option)).flat_map(|urls| urls.split(','));
    let port = |url: &str| url.trim().trim_end_matches('/').rsplit_once(':')?.1.parse().ok();
    Ports { client: me.client_url.port(), peer: me.peer_url.port(), more: urls.filter_map(port).collect() }
}
