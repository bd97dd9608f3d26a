//! An etcd that nobody can reach, which applies a log to its database and ends.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plan::member::{MemberName, PeerUrl};

use crate::observe::bolt::Bolt;
use crate::observe::data_dir::{consistent_index, database_path};
use crate::observe::unsound::Unsound;
use crate::snapshot::restore::{REPORT, SLOWEST};
use crate::sys::fs::Owner;
use crate::sys::process::{self, Program};

/// For an etcd to start and to elect itself, on a slow machine.
const START: u64 = 120;

/// Applies the log of the data dir in `work` up to this index, and all of it is in the database afterwards.
///
/// # Errors
/// When etcd ends by itself or does not come so far; the error quotes it.
pub(super) async fn replay(
    work: &Path,
    (name, peer_url): (&MemberName, &PeerUrl),
    last: u64,
    bytes: u64,
    owner: Option<Owner>,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<()> {
    let timeout = Duration::from_secs(START + bytes / SLOWEST);
    let program = Program { program: "etcd", arguments: arguments(name, peer_url), owner, timeout };
    let database = database_path(&work.join("data"));
    let began = Instant::now();
    let mut said: Option<Instant> = None;
    let mut done = || {
        if said.is_none_or(|at| at.elapsed() >= REPORT) {
            said = Some(Instant::now());
            say(format!("applying the survivor's log up to entry {last}: {} s", began.elapsed().as_secs()));
        }
        // Its own entries as the only member come behind; while it writes, a read may find a page half written.
        applied(&database).is_ok_and(|index| index > last)
    };
    process::run_until(program, work, &mut done).await.context("its log cannot be applied")?;
    let index = applied(&database)?;
    anyhow::ensure!(index > last, "etcd has applied its log up to entry {index}, and it ends at {last}");
    Ok(())
}

/// Sockets in its own directory, which no other user can enter: a client on a port would be told that its writes are kept.
fn arguments(name: &MemberName, peer_url: &PeerUrl) -> Vec<String> {
    [
        ("--name", name.to_string()),
        ("--data-dir", "data".into()),
        ("--listen-client-urls", "unix://client:0".into()),
        ("--advertise-client-urls", "unix://client:0".into()),
        ("--listen-peer-urls", "unix://peer:0".into()),
        ("--initial-advertise-peer-urls", peer_url.to_string()),
        ("--initial-cluster", format!("{name}={peer_url}")),
        ("--initial-cluster-state", "existing".into()),
        // Nothing that was accepted once is refused here for lack of room.
        ("--quota-backend-bytes", "-1".into()),
        ("--snapshot-count", "10000000".into()),
    ]
    .into_iter()
    .map(|(option, value)| format!("{option}={value}"))
    .chain(["--force-new-cluster".into()])
    .collect()
}

fn applied(database: &Path) -> Result<u64> {
    let bolt = File::open(database).map_err(Unsound::from).and_then(Bolt::open);
    bolt.and_then(|bolt| consistent_index(&bolt)).with_context(|| format!("cannot read {}", database.display()))
}

/// Walks every page of a database that no etcd has open.
///
/// # Errors
/// When bolt's own check finds fault with it.
pub(super) async fn check(database: &Path, bytes: u64, owner: Option<Owner>) -> Result<()> {
    let arguments = ["snapshot", "status", "-w", "json"].map(str::to_owned).into_iter();
    let program = Program {
        program: "etcdutl",
        arguments: arguments.chain([database.display().to_string()]).collect(),
        owner,
        timeout: Duration::from_secs(START + bytes / SLOWEST),
    };
    let said = process::run(program).await.context("its database does not check")?;
    tracing::info!("the survivor's database checks: {}", said.trim());
    Ok(())
}
