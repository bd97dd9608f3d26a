//! systemd: what is told to it, and what is asked of it.

use std::time::Duration;

use anyhow::Result;
use sd_notify::NotifyState;

use super::process::{Program, run};
use super::volume::Role;

/// The unit that runs etcd.
const ETCD: &str = "etcd.service";

/// The unit whose `ExecReload=` puts the rules of this boot in force.
const FIREWALL: &str = "etcd-bootstrapper-firewall.service";

/// The unit that sends the journal elsewhere.
const UPLOAD: &str = "systemd-journal-upload.service";

/// The unit that makes the network.
const NETWORK: &str = "systemd-networkd.service";

/// The unit that mounts the data disk; its `What=` is [`Paths::data_device`].
const DATA: &str = "var-lib-etcd.mount";

/// The unit that mounts the disk of the write-ahead log; its `What=` is [`Paths::wal_device`].
const WAL: &str = "var-lib-etcd\\x2dwal.mount";

/// The unit that runs this program.
const BOOTSTRAPPER: &str = "etcd-bootstrapper.service";

/// Sets STATUS=, what `systemctl status` shows; nothing without systemd.
pub fn status(text: &str) {
    // A line break would begin another assignment of the protocol.
    let text = text.replace('\n', "; ");
    if let Err(error) = sd_notify::notify(&[NotifyState::Status(&text)]) {
        tracing::debug!(%error, "systemd was not told the status");
    }
}

/// Whether systemd itself has started this process, as any command of a unit: systemd.exec(5).
///
/// NOTIFY_SOCKET would not tell: with `NotifyAccess=main` what ExecStopPost= names has none.
pub fn is_here() -> bool {
    super::env::var("SYSTEMD_EXEC_PID").is_some_and(|pid| pid == std::process::id().to_string())
}

/// Queues the start of etcd without waiting: a start job that failed by dependency is not queued again by itself.
///
/// # Errors
/// When systemctl cannot be run or refuses.
pub async fn queue_etcd() -> Result<()> {
    systemctl(&["start", "--no-block", ETCD]).await
}

/// Ends etcd and lets this program decide anew; the answer comes before either happens.
///
/// # Errors
/// When systemctl cannot be run or refuses.
pub async fn decide_anew() -> Result<()> {
    systemctl(&["restart", "--no-block", BOOTSTRAPPER]).await
}

/// Lets systemd-networkd read its settings anew.
///
/// # Errors
/// When systemctl cannot be run or refuses.
pub async fn reload_network() -> Result<()> {
    systemctl(&["reload", NETWORK]).await
}

/// Lets the firewall read its rules anew, and waits until that is done.
///
/// # Errors
/// When systemctl cannot be run, or nft refuses them.
pub async fn reload_firewall() -> Result<()> {
    systemctl(&["reload", FIREWALL]).await
}

/// Queues that systemd-journal-upload reads its settings anew, without waiting: it waits for the network itself.
///
/// # Errors
/// When systemctl cannot be run or refuses.
pub async fn restart_upload() -> Result<()> {
    systemctl(&["restart", "--no-block", UPLOAD]).await
}

/// Mounts a volume for everybody, and waits until that is done: what this service mounts, no other sees.
///
/// # Errors
/// When systemctl cannot be run, or the mount fails.
pub async fn mount(role: Role) -> Result<()> {
    let unit = match role {
        Role::Data => DATA,
        Role::Wal => WAL,
    };
    systemctl(&["start", unit]).await
}

async fn systemctl(arguments: &[&str]) -> Result<()> {
    let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
    run(Program { program: "systemctl", arguments, owner: None, timeout: Duration::from_secs(30) }).await.map(drop)
}
