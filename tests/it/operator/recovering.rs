//! `recover: {…}` in the spec: a survivor goes on alone.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use serde_json::Value;

use super::{Load, in_trash, journal, keys, leader, names, recover_all, reset, say_to_all, settled, stderr, word_in};
use crate::world::{Host, World};

#[test]
fn a_survivor_of_a_wiped_majority_goes_on_with_every_acknowledged_write_once_it_is_told() {
    let mut world = settled(3);
    let old = world.hosts[0].cluster_id();
    let survivor = leader(&world);
    let loads: Vec<Load> = (0..3).map(|on| Load::on(&world, on, 0)).collect();
    loads.iter().for_each(|load| load.wait_for(10));
    world.hosts.iter_mut().for_each(Host::kill);
    let acknowledged: BTreeSet<_> = loads.into_iter().flat_map(Load::end).collect();
    let lost: Vec<usize> = (0..3).filter(|i| *i != survivor).collect();
    lost.iter().for_each(|i| world.hosts[*i].wipe());

    // Two blank disks and a survivor: they wait, and say what to write.
    for host in &mut world.hosts {
        host.boot();
    }
    world.hosts[survivor].hand_off();
    let expected = format!("recover: {{survivor: etcd-{}, epoch: 2}}", survivor + 1);
    world.hosts[survivor].wait_for("finish", &format!("`{expected}`"));
    for i in &lost {
        world.hosts[*i].wait_for("run", &format!("`{expected}`"));
        assert!(world.hosts[*i].rows().contains(&10), "{:?}", world.hosts[*i].rows());
    }
    for host in &world.hosts {
        for command in ["plan", "status"] {
            let said = host.program(&[command]).output().expect("it runs");
            assert_eq!(word_in(&String::from_utf8_lossy(&said.stdout)), expected, "{} {command}", host.name);
        }
    }

    say_to_all(&world, &word_in(&world.hosts[survivor].said_by("finish")));
    let began = Instant::now();
    world.hosts.iter_mut().for_each(Host::kill);
    recover_all(&mut world, survivor);
    println!("word to three voters: {:.1} s, {} writes", began.elapsed().as_secs_f64(), acknowledged.len());
    assert!(world.hosts[survivor].rows().contains(&3), "{:?}", world.hosts[survivor].rows());
    for on in 0..3 {
        assert_eq!(world.members(on), (names(&world), 0));
        assert_ne!(world.hosts[on].cluster_id(), old);
        assert_eq!(acknowledged.difference(&keys(&world, on)).next(), None, "a write is gone");
    }
    assert_eq!(in_trash(&world.hosts[survivor]).len(), 1, "the old data is kept");
    assert!(!world.hosts[survivor].root.join("var/lib/etcd/bootstrapper/staging").exists());

    // The word stays in the configuration, and nobody acts on it again: not even where nobody else answers.
    let ids: Vec<String> = world.hosts.iter().map(Host::member_id).collect();
    for host in &mut world.hosts {
        host.kill();
        host.link(false);
        host.boot();
        assert_eq!(host.run_ends(), 0, "{}", host.said_by("run"));
        assert_eq!(host.rows(), [4], "{}", host.said_by("run"));
    }
    for host in &mut world.hosts {
        host.link(true);
        host.start_etcd();
        host.start_finish();
    }
    world.hosts.iter_mut().for_each(Host::finish_ends);
    assert_eq!(world.hosts.iter().map(Host::member_id).collect::<Vec<_>>(), ids);
}

#[test]
fn writes_acknowledged_right_before_the_crash_are_in_the_survivor_s_log_and_all_kept() {
    let mut world = settled(3);
    for round in 0..3 {
        let survivor = leader(&world);
        let loads: Vec<Load> =
            (0..6).map(|number| Load::on(&world, (survivor + number % 2) % 3, 10 * round + number)).collect();
        loads.iter().for_each(|load| load.wait_for(4));
        world.hosts.iter_mut().for_each(Host::kill);
        let acknowledged: BTreeSet<_> = loads.into_iter().flat_map(Load::end).collect();
        for i in (0..3).filter(|i| *i != survivor) {
            world.hosts[i].wipe();
        }
        say_to_all(&world, &format!("recover: {{survivor: etcd-{}, epoch: {}}}", survivor + 1, round + 2));
        recover_all(&mut world, survivor);
        for on in 0..3 {
            assert_eq!(acknowledged.difference(&keys(&world, on)).next(), None, "round {round}: a write is gone");
        }
        assert_eq!(world.members(survivor), (names(&world), 0));
    }
}

#[test]
fn the_word_is_void_while_a_quorum_answers_and_for_ever_after() {
    let mut world = settled(3);
    world.put(0, "kept", "by three");
    let before = world.hosts[0].cluster_id();
    say_to_all(&world, "recover: {survivor: etcd-1, epoch: 2, given_up: [etcd-2, etcd-3]}");
    world.hosts[0].kill();
    world.hosts[0].boot();
    world.hosts[0].settle();
    world.hosts[0].wait_for("run", "`recover` with epoch 2 is not carried out: cluster");
    world.hosts[0].wait_for("finish", "`recover` with epoch 2 is over for this host");
    assert_eq!((world.hosts[0].cluster_id(), world.members(0).0.len()), (before, 3));

    // A power cut of all, and this one is the first up: the others are given up in its spec and alive all the same.
    world.hosts.iter_mut().for_each(Host::kill);
    world.hosts[0].boot();
    assert_eq!(world.hosts[0].run_ends(), 0);
    assert_eq!(world.hosts[0].rows(), [4], "{}", world.hosts[0].said_by("run"));
    assert_eq!(in_trash(&world.hosts[0]).len(), 0);
}

#[test]
fn the_word_waits_for_a_voter_that_is_neither_blank_nor_given_up_and_is_carried_out_when_it_is() {
    let mut world = settled(3);
    world.put(0, "acknowledged", "yes");
    world.hosts.iter_mut().for_each(Host::kill);
    world.hosts[1].wipe();
    say_to_all(&world, "recover: {survivor: etcd-1, epoch: 2}");
    world.hosts[0].boot();
    world.hosts[1].boot();
    world.hosts[0].hand_off();
    world.hosts[0].wait_for("run", "is neither blank nor terminated nor given up");
    // etcd has read the list by then, and while it has no leader the word is weighed again.
    world.hosts[0].wait_for("finish", "etcd-3 (");
    assert!(!world.hosts[0].rows().contains(&3), "{:?}", world.hosts[0].rows());
    world.hosts[2].wipe();
    world.hosts[2].boot();
    world.hosts[0].wait_for("finish", "this host decides anew: the spec says recover");
    // What systemd does when the unit is restarted.
    world.hosts[0].kill();
    world.hosts[0].start_run();
    world.settle_all();
    assert!(world.hosts[0].rows().contains(&3), "{:?}", world.hosts[0].rows());
    assert_eq!(world.members(2), (names(&world), 0));
    assert_eq!(world.get(2, "acknowledged"), "yes");
}

#[test]
fn a_second_survivor_is_refused_until_it_is_reset_and_then_joins() {
    let mut world = settled(3);
    world.put(0, "acknowledged", "yes");
    world.hosts.iter_mut().for_each(Host::kill);
    world.hosts[1].wipe();
    say_to_all(&world, "recover: {survivor: etcd-1, epoch: 2, given_up: [etcd-3]}");
    world.hosts[1].boot();
    world.hosts[1].wait_for("run", "row 20");
    // Before there is a new cluster, and beside it.
    for beside in [false, true] {
        if beside {
            // The survivor settles whether or not a learner is there that never starts.
            world.hosts[0].boot();
            assert_eq!(world.hosts[0].run_ends(), 0, "{}", world.hosts[0].said_by("run"));
            world.hosts[0].start_etcd();
            assert_eq!(world.hosts[1].run_ends(), 0, "{}", world.hosts[1].said_by("run"));
            world.hosts[0].start_finish();
            world.hosts[0].finish_ends();
            world.hosts[1].start_etcd();
            world.hosts[1].start_finish();
            world.hosts[1].finish_ends();
        }
        world.hosts[2].boot();
        assert_eq!(world.hosts[2].run_ends(), 78, "{}", world.hosts[2].said_by("run"));
        world.hosts[2].wait_for("run", "`etcd-bootstrapper reset` here");
        assert_eq!(world.hosts[2].rows(), [3]);
    }
    assert_eq!(world.members(0).0, ["etcd-1", "etcd-2"]);

    let done = reset(&world.hosts[2], &["--yes"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let again = reset(&world.hosts[2], &["--yes"]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), "this host is blank already: nothing was done\n");
    assert_eq!(in_trash(&world.hosts[2]).len(), 1);
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_eq!(world.members(2), (names(&world), 0));
    assert_eq!(world.get(2, "acknowledged"), "yes");
}

#[test]
fn a_recovery_that_is_killed_at_any_moment_is_completed_by_the_next_run() {
    let mut world = settled(1);
    world.put(0, "acknowledged", "yes");
    world.hosts[0].kill();
    let old = world.hosts[0].member_id();
    say_to_all(&world, "recover: {survivor: etcd-1, epoch: 2}");
    let host = &mut world.hosts[0];
    host.boot();
    for moment in ["copying the survivor's data", "applying the survivor's log", "checking the restored data"] {
        host.wait_for("run", moment);
        host.kill();
        host.boot();
    }
    assert_eq!(host.run_ends(), 0, "{}", host.said_by("run"));
    let new = host.member_id();
    assert_ne!(new, old);

    // The journal says that it was begun; each of the renames was made or not.
    let whole = journal(host);
    let begun: String = whole.lines().take_while(|l| !l.contains("\"recovered\"")).map(|l| format!("{l}\n")).collect();
    let line = whole.lines().find(|l| l.contains("\"recovered\"")).expect("it was journaled");
    let record: Value = serde_json::from_str(line).expect("a record");
    let text = |key: &str| record[key].as_str().expect("a text").to_owned();
    let root = host.root.join("var/lib/etcd");
    let kept = root.join("bootstrapper/trash").join(text("to"));
    let staged = root.join("bootstrapper/staging").join(text("founding")).join("data");
    for moment in ["all was renamed", "the old data is away", "nothing was renamed"] {
        host.kill();
        fs::write(root.join("bootstrapper/journal.jsonl"), format!("{begun}{line}\n")).expect("a journal");
        if moment != "all was renamed" {
            fs::rename(root.join("data"), &staged).expect("back into the staging");
        }
        if moment == "nothing was renamed" {
            fs::rename(kept.join("data"), root.join("data")).expect("back in its place");
        }
        let planned = host.program(&["plan"]).output().expect("plan runs");
        assert!(String::from_utf8_lossy(&planned.stdout).contains(&new), "{moment}: {planned:?}");
        host.boot();
        assert_eq!(host.run_ends(), 0, "{moment}: {}", host.said_by("run"));
        assert_eq!((host.member_id(), host.rows()), (new.clone(), vec![4]), "{moment}");
        assert_eq!(in_trash(host).len(), 1, "{moment}");
    }
    host.start_etcd();
    host.start_finish();
    host.finish_ends();
    assert_eq!(world.get(0, "acknowledged"), "yes");
    end_orphans(&world);
}

#[test]
fn what_was_staged_before_the_survivor_wrote_again_is_never_used() {
    let mut world = settled(1);
    world.put(0, "first", "yes");
    world.hosts[0].kill();
    say_to_all(&world, "recover: {survivor: etcd-1, epoch: 2}");
    world.hosts[0].boot();
    world.hosts[0].wait_for("run", "checking the restored data");
    world.hosts[0].kill();
    // The word is taken back, and the member serves on.
    say_to_all(&world, "");
    world.hosts[0].boot();
    world.hosts[0].settle();
    world.put(0, "second", "yes");
    world.hosts[0].kill();
    say_to_all(&world, "recover: {survivor: etcd-1, epoch: 2}");
    world.hosts[0].boot();
    world.hosts[0].settle();
    assert!(world.hosts[0].rows().contains(&3), "{:?}", world.hosts[0].rows());
    assert_eq!((world.get(0, "first"), world.get(0, "second")), ("yes".into(), "yes".into()));
    end_orphans(&world);
}

#[test]
fn data_that_cannot_be_replayed_is_refused_and_left_as_it_is() {
    let mut world = settled(1);
    world.hosts[0].kill();
    let database = world.hosts[0].root.join("var/lib/etcd/data/member/snap/db");
    let mut bytes = fs::read(&database).expect("a database");
    // Every page but the two that say where the tree begins.
    let page = 4096;
    bytes[2 * page..].fill(0xff);
    fs::write(&database, &bytes).expect("a broken database");
    say_to_all(&world, "recover: {survivor: etcd-1, epoch: 2}");
    world.hosts[0].boot();
    let code = world.hosts[0].run_ends();
    let said = world.hosts[0].said_by("run");
    assert_eq!(code, 78, "{said}");
    assert_eq!(fs::read(&database).expect("it is there"), bytes);
    assert_eq!(in_trash(&world.hosts[0]).len(), 0);
}

/// Ends what a killed `run` left behind; systemd ends the whole control group.
fn end_orphans(world: &World) {
    let ours = world.dir.to_string_lossy().into_owned();
    for entry in fs::read_dir("/proc").expect("/proc").filter_map(Result::ok) {
        let Ok(cwd) = fs::read_link(entry.path().join("cwd")) else { continue };
        if cwd.to_string_lossy().starts_with(&ours)
            && let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>()
        {
            let _gone_already =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}
