//! Who reaches this host: the spec's `firewall` as the kernel's rules. Until they are there, the image's own let nobody in.

use std::collections::BTreeMap;

use anyhow::Result;
use plan::facts::Me;
use plan::firewall::Ports;
use plan::spec::Host;

use crate::exit::Exit;
use crate::paths::Paths;
use crate::sys::{fs, systemd};

/// What `etcd-bootstrapper-firewall.service` reads.
const RULES: &str = "firewall.nft";

/// Puts the rules in force that this member needs.
///
/// # Errors
/// 75 when nft refuses them: nobody reaches this host then.
pub async fn open(paths: &Paths, host: &Host, me: &Me) -> Result<()> {
    fs::create_dir(&paths.run(), 0o755, None)?;
    let rules = host.firewall.ruleset(&ports(me, &host.etcd));
    fs::write_atomic(&paths.run().join(RULES), rules.as_bytes(), 0o600, None)?;
    if !systemd::is_here() {
        return Ok(());
    }
    systemd::reload_firewall().await.map_err(|error| {
        Exit::TryAgain.because(format!(
            "nobody can reach this host: its firewall refuses the rules of {}: {error:#}",
            paths.run().join(RULES).display()
        ))
    })
}

fn ports(me: &Me, options: &BTreeMap<String, String>) -> Ports {
    let metrics = options.get("ETCD_LISTEN_METRICS_URLS").map(String::as_str).unwrap_or_default().split(',');
    let port = |url: &str| url.trim().trim_end_matches('/').rsplit_once(':')?.1.parse().ok();
    Ports { client: me.client_url.port(), peer: me.peer_url.port(), metrics: metrics.filter_map(port).collect() }
}
