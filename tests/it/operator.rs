//! The operator's words, `reset` and `recover`, on real etcd: what they keep, what they refuse, and what a crash leaves.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Host, PATIENCE, World};

fn settled(size: usize) -> World {
    let mut world = World::new(size);
    world.boot_all();
    world
}

/// Gives every host the configuration with this word in it.
fn say_to_all(world: &World, word: &str) {
    for host in &world.hosts {
        host.configure(&format!("{}{word}\n", world.config()));
    }
}

/// The `recover: {…}` that stands between backticks in what was said.
fn word_in(said: &str) -> String {
    let from = said.find("`recover: {").unwrap_or_else(|| panic!("no word to paste in {said}"));
    said[from + 1..].split('`').next().expect("a closing backtick").to_owned()
}

fn trash(host: &Host) -> PathBuf {
    host.root.join("var/lib/etcd/bootstrapper/trash")
}

/// The data dirs in the trash.
fn in_trash(host: &Host) -> Vec<PathBuf> {
    let entries = fs::read_dir(trash(host)).map(|d| d.filter_map(Result::ok).collect()).unwrap_or_else(|_| Vec::new());
    entries.into_iter().map(|e| e.path().join("data/member")).filter(|p| p.exists()).collect()
}

fn journal(host: &Host) -> String {
    fs::read_to_string(host.root.join("var/lib/etcd/bootstrapper/journal.jsonl")).expect("a journal")
}

fn reset(host: &Host, args: &[&str]) -> Output {
    host.program(&[&["reset"], args].concat()).output().expect("reset runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A load that writes one key after another through a host and notes each that was acknowledged.
struct Load {
    child: Child,
    acknowledged: PathBuf,
    prefix: String,
}

impl Load {
    fn on(world: &World, on: usize, number: usize) -> Load {
        let host = &world.hosts[on];
        let pki = world.dir.join("prod");
        let prefix = format!("load-{on}-{number}-");
        let acknowledged = world.dir.join(format!("{prefix}acknowledged"));
        fs::write(&acknowledged, "").expect("a file");
        let ctl = format!(
            "etcdctl --endpoints https://{}:2379 --cacert {p}/ca.crt --cert {p}/admin.crt --key {p}/admin.key",
            host.address,
            p = pki.display()
        );
        let script = format!(
            "i=0; while i=$((i+1)); do {ctl} --command-timeout=2s put {prefix}$i value-$i && echo $i >> {}; done",
            acknowledged.display()
        );
        let null = std::process::Stdio::null;
        let child = host.command("sh").args(["-c", &script]).stdout(null()).stderr(null()).spawn().expect("sh runs");
        Load { child, acknowledged, prefix }
    }

    fn written(&self) -> usize {
        fs::read_to_string(&self.acknowledged).expect("a file").lines().count()
    }

    fn wait_for(&self, writes: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.written() < writes {
            assert!(Instant::now() < deadline, "{} writes of {writes}", self.written());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Every key that was acknowledged, with its value.
    fn end(mut self) -> BTreeSet<(String, String)> {
        let _ended_by_itself = self.child.kill();
        let _reaped = self.child.wait();
        let text = fs::read_to_string(&self.acknowledged).expect("a file");
        text.lines().map(|i| (format!("{}{i}", self.prefix), format!("value-{i}"))).collect()
    }
}

/// All keys of the loads, as one host serves them.
fn keys(world: &World, on: usize) -> BTreeSet<(String, String)> {
    let output = world.etcdctl(on, &["get", "load-", "--prefix"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

/// The host whose etcd leads.
fn leader(world: &World) -> usize {
    let status = world.ask(0, &["endpoint", "status"]);
    let leader = status[0]["Status"]["leader"].as_u64().expect("a leader");
    let id = format!("{leader:x}");
    world.hosts.iter().position(|h| h.member_id() == id).expect("one of them leads")
}

/// Boots the blank hosts and, when they answer, the survivor, so that its first look finds them; all settle.
fn recover_all(world: &mut World, survivor: usize) {
    for i in (0..world.hosts.len()).filter(|i| *i != survivor) {
        world.hosts[i].boot();
        world.hosts[i].wait_for("run", "wait (row ");
    }
    world.hosts[survivor].boot();
    world.settle_all();
}

fn names(world: &World) -> Vec<String> {
    world.hosts.iter().map(|h| h.name.clone()).collect()
}

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

/// The member of a cluster of one that is told to go on alone, or that is reset, and dies at one point of it.
#[cfg(feature = "fault-injection")]
mod every_death {
    use super::{World, in_trash, journal, say_to_all, settled};
    use crate::world::Fault;

    fn stopped() -> World {
        let mut world = settled(1);
        world.put(0, "acknowledged", "before the crash");
        world.hosts[0].kill();
        world
    }

    /// The points that `happens` passes, when nothing dies; then every one of them is where it dies, in a world each.
    fn at_every_point(name: &str, happens: &(dyn Fn(&mut World, String) + Sync)) {
        let mut world = stopped();
        let file = world.dir.join("points");
        happens(&mut world, format!("note:{}", file.display()));
        let points =
            std::fs::read_to_string(&file).expect("points: the program is built with fault-injection").lines().count();
        let next = std::sync::atomic::AtomicUsize::new(1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if number > points {
                            return;
                        }
                        happens(&mut stopped(), format!("lose:{number}"));
                    }
                });
            }
        });
        println!("note: crash matrix: {name}: dead at {points} points, 0 divergences");
    }

    #[test]
    fn a_survivor_may_die_anywhere() {
        at_every_point("recover", &|world, what| {
            say_to_all(world, "recover: {survivor: etcd-1, epoch: 2}");
            let host = &mut world.hosts[0];
            host.fault = Some(Fault { of: "run", what: what.clone() });
            host.boot();
            host.settle();
            assert_eq!(in_trash(host).len(), 1, "{what}: {}", host.said());
            assert_eq!(journal(host).matches("\"recovered\"").count(), 1, "{what}");
            assert_eq!(world.members(0), (vec!["etcd-1".into()], 0), "{what}");
            assert_eq!(world.get(0, "acknowledged"), "before the crash", "{what}");
        });
    }

    #[test]
    fn a_reset_may_die_anywhere() {
        at_every_point("reset", &|world, what| {
            let host = &mut world.hosts[0];
            let mut died = host.program(&["reset", "--yes"]);
            let _dies = died.env("ETCD_BOOTSTRAPPER_FAULT", &what).output().expect("reset runs");
            let again = super::reset(host, &["--yes"]);
            assert!(again.status.success(), "{what}: {}", super::stderr(&again));
            assert_eq!(in_trash(host).len(), 1, "{what}");
            host.boot();
            host.settle();
            assert!(host.rows().ends_with(&[26, 28, 7]), "{what}: it is blank: {:?}", host.rows());
        });
    }
}
