//! E8: power that is cut during `etcdutl snapshot restore`.

use std::fs;
use std::process::Command;

use crate::support::etcd::{Etcd, binary, port};
use crate::support::fixture::{KEYS, REVISION, sha256, snapshot, value};
use crate::support::scratch::{Scratch, until};
use crate::support::trace::killed_before_sync;
use crate::world::World;

/// A restore has some ten moments at which it makes something durable; many more are not a restore.
const MOST: usize = 40;

#[test]
fn a_restore_that_is_cut_short_serves_reads_and_hangs_on_writes_by_hand_and_is_begun_anew_here() {
    let moments = (1..MOST).take_while(|nth| by_hand(*nth).cut).count();
    assert!((4..MOST - 1).contains(&moments), "{moments} moments");
    assert!(!serves_reads_and_hangs_on_writes(&by_hand(MOST)), "a restore that is not cut hangs too");
    // The last moment leaves all files there, and only the applied index as the old cluster had it.
    let shown = (1..=moments).rev().find(|nth| serves_reads_and_hangs_on_writes(&by_hand(*nth)));
    let shown = shown.expect("etcd serves reads and no writes on what one of these cuts left");
    println!(
        "note: E8: etcdutl has {moments} moments; etcd serves reads and hangs on writes when it is cut at {shown}"
    );

    let scratch = Scratch::new();
    fs::write(scratch.join("kept.db"), snapshot()).expect("a file");
    let url = format!("file://{}", scratch.join("kept.db").display());
    let mut world = World::with(1, &["--restore-url", &url, "--restore-sha256", &sha256(snapshot())]);
    // The power is cut again and again on one disk, each time a moment later.
    let data = world.hosts[0].root.join("var/lib/etcd/data");
    let cuts =
        (1..MOST).take_while(|nth| killed_before_sync(&world.hosts[0].program(&["run"]), "etcdutl", *nth).is_none());
    let cuts =
        cuts.inspect(|nth| assert!(!data.exists(), "cut at moment {nth}, and etcd would start on what is there"));
    // bolt and the log of etcd pass a moment more or less now and then.
    let cuts = cuts.count();
    assert!(cuts + 2 >= moments && cuts < MOST - 1, "{cuts} of some {moments} moments");
    world.hosts[0].boot();
    world.settle(&[0]);
    assert_eq!(world.get(0, "key3").as_bytes(), value(3));
    world.put(0, "written", "after");
    let status = world.ask(0, &["endpoint", "status"]);
    let revision = status[0]["Status"]["header"]["revision"].as_u64().expect("a revision");
    assert!(revision > REVISION + 1_000_000_000, "{revision}");
}

/// What `etcdutl snapshot restore` left.
struct Left {
    scratch: Scratch,
    /// Whether it was killed; it ends by itself when it has no such moment.
    cut: bool,
}

fn by_hand(nth: usize) -> Left {
    let scratch = Scratch::new();
    fs::write(scratch.join("kept.db"), snapshot()).expect("a file");
    let mut restore = Command::new(binary("etcdutl"));
    restore.args(["snapshot", "restore"]).arg(scratch.join("kept.db")).arg("--data-dir").arg(scratch.join("data"));
    restore.args(["--bump-revision", "1000000000", "--mark-compacted"]);
    let code = killed_before_sync(&restore, "etcdutl", nth);
    assert!(matches!(code, None | Some(0)), "etcdutl ended with {code:?}");
    Left { scratch, cut: code.is_none() }
}

fn serves_reads_and_hangs_on_writes(left: &Left) -> bool {
    let data = left.scratch.join("data");
    let peer = format!("http://127.0.0.1:{}", port());
    let cluster = format!("default={peer}");
    let own = ["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer, "--initial-cluster", &cluster];
    let etcd = Etcd::start(&data, &own);
    let said = |text: &str| fs::read_to_string(data.with_extension("log")).is_ok_and(|log| log.contains(text));
    let serves = until("an etcd that serves or gives up", || {
        if said("ready to serve client requests") { Some(true) } else { said("panic").then_some(false) }
    });
    if !serves {
        return false;
    }
    let keys = etcd.ctl(&["get", "", "--prefix", "--keys-only"]);
    let put = etcd.try_ctl(&["put", "written", "after", "--command-timeout=5s"]);
    keys.split_whitespace().count() as u64 >= KEYS && !put
}
