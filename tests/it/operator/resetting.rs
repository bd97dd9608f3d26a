//! `reset`: a disk becomes blank, and what it held is kept.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{in_trash, journal, reset, settled, stderr};
use crate::world::World;

#[test]
fn reset_asks_refuses_and_archives_as_a_careful_user_expects() {
    let mut world = settled(3);
    world.put(0, "kept", "by the others");
    let running = reset(&world.hosts[2], &["--yes"]);
    assert_eq!(running.status.code(), Some(78), "{}", stderr(&running));
    assert!(stderr(&running).contains("systemctl stop etcd.service"), "{}", stderr(&running));
    world.hosts[2].kill();
    for (args, code, why) in [
        (&[][..], 64, "`reset --yes` or `reset prod`"),
        (&["--json"], 64, "etcd-3 of cluster prod"),
        (&["staging"], 78, "etcd-3 of cluster prod is of cluster prod, not of \"staging\""),
        (&["prod", "twice"], 64, "unexpected argument twice"),
        (&["--force"], 64, "unexpected argument --force"),
    ] {
        let refused = reset(&world.hosts[2], args);
        assert_eq!(refused.status.code(), Some(code), "{args:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(why), "{args:?}: {}", stderr(&refused));
        assert!(world.hosts[2].root.join("var/lib/etcd/data/member").exists());
        assert!(world.hosts[2].root.join("run/etcd-bootstrapper/ready").exists());
    }
    let done = reset(&world.hosts[2], &["prod", "--json"]);
    let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(
        (&told["done"], &told["member"], &told["cluster"]),
        (&"archived".into(), &"etcd-3".into(), &"prod".into())
    );
    assert!(PathBuf::from(told["trash"].as_str().expect("a path")).join("data/member/wal").exists());
    assert!(!world.hosts[2].root.join("run/etcd-bootstrapper/ready").exists(), "etcd must not start on nothing");
    assert!(!world.hosts[2].root.join("run/etcd-bootstrapper/etcd.env").exists());

    let before = journal(&world.hosts[2]);
    for args in [&["--json"][..], &["--yes", "--json"]] {
        let told: Value = serde_json::from_slice(&reset(&world.hosts[2], args).stdout).expect("JSON");
        assert_eq!((&told["done"], &told["trash"]), (&"nothing".into(), &Value::Null));
    }
    assert_eq!(journal(&world.hosts[2]), before, "a blank host has nothing to archive");
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_eq!(world.get(2, "kept"), "by the others");
    assert!(world.hosts[2].rows().contains(&14), "its previous life is replaced: {:?}", world.hosts[2].rows());
}

#[test]
fn reset_waits_for_nobody_that_works_on_the_disk() {
    let mut world = World::new(3);
    world.hosts[0].boot();
    world.hosts[0].wait_for("run", "row 20");
    let busy = reset(&world.hosts[0], &["--yes"]);
    assert_eq!(busy.status.code(), Some(75), "{}", stderr(&busy));
    assert!(stderr(&busy).contains("systemctl stop etcd-bootstrapper.service"), "{}", stderr(&busy));
}

#[test]
fn a_reset_that_is_cut_at_any_step_is_completed_by_the_next_boot() {
    let mut world = settled(1);
    world.hosts[0].kill();
    let host = &mut world.hosts[0];
    let before = journal(host);
    let done = reset(host, &["--yes"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let whole = journal(host);
    let archived = whole[before.len()..].lines().next().expect("an archive").to_owned();
    let record: Value = serde_json::from_str(&archived).expect("a record");
    let root = host.root.join("var/lib/etcd");
    let kept = root.join("bootstrapper/trash").join(record["to"].as_str().expect("a name"));
    for moment in ["the nonce is missing", "identity.json is still there", "nothing was renamed"] {
        fs::write(root.join("bootstrapper/journal.jsonl"), format!("{before}{archived}\n")).expect("a journal");
        if moment != "the nonce is missing" {
            fs::rename(kept.join("identity.json"), root.join("bootstrapper/identity.json")).expect("back");
        }
        if moment == "nothing was renamed" {
            fs::rename(kept.join("data"), root.join("data")).expect("back in its place");
        }
        // By the next reset or by the next boot, it is the same.
        let again = reset(host, &["--yes"]);
        assert!(again.status.success(), "{moment}: {}", stderr(&again));
        assert!(!root.join("data").exists() && !root.join("bootstrapper/identity.json").exists(), "{moment}");
        assert!(kept.join("data/member").exists() && kept.join("identity.json").exists(), "{moment}");
    }
    host.boot();
    host.settle();
    assert_eq!(host.rows(), [26, 28, 7], "it is blank: {}", host.said_by("run"));
}

#[test]
fn a_journal_that_nobody_can_read_goes_to_the_trash_with_the_data() {
    let mut world = settled(1);
    world.hosts[0].kill();
    let host = &mut world.hosts[0];
    let path = host.root.join("var/lib/etcd/bootstrapper/journal.jsonl");
    fs::write(&path, "what is this\n").expect("a journal");
    host.boot();
    assert_eq!(host.run_ends(), 78);
    let done = reset(host, &["prod"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let member = in_trash(host).pop().expect("the data");
    let kept = member.parent().and_then(|p| p.parent()).expect("a directory of the trash").join("journal.jsonl");
    assert_eq!(fs::read_to_string(kept).expect("the journal"), "what is this\n");
    host.boot();
    host.settle();
}
