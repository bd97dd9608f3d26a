//! The crash matrix: the program dies at every journal record, before every fsync and around every write of the claim of
//! every plan, what was not synced is lost, the host boots again, and the cluster must be the one it would have been.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cluster::snapshot_of;
use crate::store::cluster::{claim, sharing};
use crate::support::fixture::{sha256, zstd};
use crate::wal_disk::apart;
use crate::world::{Fault, World};

/// Worlds at a time: nearly all of a join is waiting for etcd's health window of five seconds.
const AT_ONCE: usize = 4;

/// One plan whose steps are crashed in.
struct Plan<'a> {
    name: &'static str,
    /// Which command dies: `run` or `finish`.
    of: &'static str,
    /// A world in which the plan is the next thing to happen.
    before: &'a (dyn Fn() -> World + Sync),
    /// Makes it happen to the last host, crash and all; must leave a world that it can be done to again when `again`.
    happens: fn(&mut World),
    /// Whether one world serves for many deaths.
    again: bool,
}

fn blank_three() -> World {
    World::new(3)
}

fn settled_three() -> World {
    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "acknowledged", "before the crash");
    world
}

fn all_boot(world: &mut World) {
    world.boot_all();
    world.put(0, "acknowledged", "before the crash");
}

fn the_last_lost_its_disk(world: &mut World) {
    let last = world.hosts.len() - 1;
    world.hosts[last].wipe();
    world.hosts[last].boot();
    world.hosts[last].settle();
}

fn the_last_was_removed_and_is_blank(world: &mut World) {
    let last = world.hosts.len() - 1;
    let id = world.hosts[last].member_id();
    world.hosts[last].wipe();
    world.remove_member(&id);
    world.hosts[last].boot();
    world.hosts[last].settle();
}

fn the_last_is_removed_while_it_runs(world: &mut World) {
    let last = world.hosts.len() - 1;
    let id = world.hosts[last].member_id();
    world.remove_member(&id);
    world.hosts[last].etcd_ends_itself();
    world.hosts[last].settle();
}

fn the_last_reboots(world: &mut World) {
    let last = world.hosts.len() - 1;
    world.hosts[last].kill();
    world.hosts[last].boot();
    world.hosts[last].settle();
}

/// Lets the plan happen with this fault; true when it struck.
fn with(plan: &Plan<'_>, world: &mut World, what: String) -> bool {
    let last = world.hosts.len() - 1;
    world.hosts[last].fault = Some(Fault { of: plan.of, what });
    (plan.happens)(world);
    world.hosts[last].fault.take().is_none()
}

/// One cluster, each host a voter and no learner, the write there through each; where they have a store, its claim says so.
fn whole(plan: &Plan<'_>, world: &World, point: &str) {
    let ids: Vec<String> = world.hosts.iter().map(|h| h.cluster_id()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{}, dead {point}: cluster IDs {ids:?}", plan.name);
    let names: Vec<String> = world.hosts.iter().map(|h| h.name.clone()).collect();
    for on in 0..world.hosts.len() {
        let members = world.members(on);
        assert_eq!(members, (names.clone(), 0), "{}, {point}", plan.name);
        assert_eq!(world.get(on, "acknowledged"), "before the crash", "{}, dead {point}", plan.name);
    }
    let store = world.dir.join("shared/prod");
    if store.exists() {
        let claim = claim(&store);
        let told = (&claim["state"], &claim["cluster_id"]);
        assert_eq!(told, (&"founded".into(), &ids[0].as_str().into()), "{}, dead {point}", plan.name);
        assert_eq!(claim["voters"].as_array().map(Vec::len), Some(names.len()), "{}, dead {point}", plan.name);
    }
}

/// The points that the plan passes when nothing dies.
fn points(plan: &Plan<'_>) -> Vec<String> {
    let mut world = (plan.before)();
    let file = world.dir.join("points");
    with(plan, &mut world, format!("note:{}", file.display()));
    whole(plan, &world, "nowhere");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let root = world.dir.display().to_string();
    text.lines().map(|l| l.replace(&root, "")).collect()
}

fn every_death_of(plan: &Plan<'_>) {
    let points = points(plan);
    assert!(!points.is_empty(), "{}: the program passes no point; is it built with fault-injection?", plan.name);
    let (next, struck) = (AtomicUsize::new(1), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut world: Option<World> = None;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(point) = points.get(number - 1) else { return };
                    let mut at = world.take().unwrap_or_else(|| (plan.before)());
                    if with(plan, &mut at, format!("lose:{number}")) {
                        struck.fetch_add(1, Ordering::Relaxed);
                    }
                    whole(plan, &at, point);
                    world = plan.again.then_some(at);
                }
            });
        }
    });
    let (struck, all) = (struck.into_inner(), points.len());
    // Hosts race, so that a plan passes a point less or more now and then.
    assert!(struck + 2 >= all, "{}: only {struck} of {all} deaths happened", plan.name);
    println!("note: crash matrix: {}: dead at {struck} of {all} points, 0 divergences", plan.name);
}

#[test]
fn a_founder_may_die_anywhere() {
    every_death_of(&Plan { name: "found", of: "run", before: &blank_three, happens: all_boot, again: false });
}

/// A snapshot with what was acknowledged in it: its file and its hash. The world that made it keeps the file.
fn a_snapshot() -> (World, PathBuf, String) {
    let mut source = World::new(1);
    source.boot_all();
    source.put(0, "acknowledged", "before the crash");
    let (file, plain, _) = snapshot_of(&source);
    (source, file, plain)
}

/// Blank hosts with a store that are to restore this snapshot.
fn restoring_with_a_store(size: usize, file: &Path, sha256: &str) -> World {
    let url = format!("file://{}", file.display());
    sharing(World::with(size, &["--restore-url", &url, "--restore-sha256", sha256]), "").0
}

/// Alone, so that all of it is this host's to do, each time: to unpack the snapshot, and to write the claim.
#[test]
fn a_founder_with_a_store_that_restores_may_die_anywhere() {
    let (_source, file, _) = a_snapshot();
    let packed = zstd(&std::fs::read(&file).unwrap());
    let file = file.with_extension("packed");
    std::fs::write(&file, &packed).unwrap();
    for (name, of) in [("restore, zstd, store", "run"), ("restore, zstd, store, finish", "finish")] {
        let before = || restoring_with_a_store(1, &file, &sha256(&packed));
        every_death_of(&Plan { name, of, before: &before, happens: World::boot_all, again: false });
    }
}

#[test]
fn whichever_founder_writes_the_claim_may_die_before_it_and_after_it() {
    let (_source, file, sha256) = a_snapshot();
    let plan = Plan {
        name: "restore, claim",
        of: "run or finish",
        before: &|| restoring_with_a_store(3, &file, &sha256),
        happens: World::boot_all,
        again: false,
    };
    let (plan, points) = (&plan, [("founding", "run"), ("committing", "run"), ("founded", "finish")]);
    std::thread::scope(|scope| {
        for (state, of) in points {
            scope.spawn(move || {
                for when in ["before", "after"] {
                    let point = format!("{when} writing the claim: {state}");
                    let mut world = (plan.before)();
                    for host in &mut world.hosts {
                        host.fault = Some(Fault { of, what: format!("at:{point}") });
                    }
                    (plan.happens)(&mut world);
                    whole(plan, &world, &point);
                    let died = world.hosts.iter().filter(|host| host.fault.is_none()).count();
                    assert!(died > 0, "nobody died {point}");
                    println!("note: crash matrix: {}: {died} dead {point}, 0 divergences", plan.name);
                }
            });
        }
    });
}

#[test]
fn a_founder_that_restores_may_die_anywhere() {
    let (_source, file, sha256) = a_snapshot();
    let url = format!("file://{}", file.display());
    for (name, of) in [("restore", "run"), ("restore, finish", "finish")] {
        let before = || World::with(3, &["--restore-url", &url, "--restore-sha256", &sha256]);
        every_death_of(&Plan { name, of, before: &before, happens: World::boot_all, again: false });
    }
}

/// The log has a disk of its own: on two disks nothing changes at once.
#[test]
fn a_founder_that_restores_onto_two_disks_may_die_anywhere() {
    let (_source, file, sha256) = a_snapshot();
    let url = format!("file://{}", file.display());
    let before = || apart(World::with(1, &["--restore-url", &url, "--restore-sha256", &sha256]));
    every_death_of(&Plan {
        name: "restore, two disks",
        of: "run",
        before: &before,
        happens: World::boot_all,
        again: false,
    });
}

#[test]
fn a_founder_may_die_anywhere_while_it_settles() {
    let plan = Plan { name: "found, finish", of: "finish", before: &blank_three, happens: all_boot, again: false };
    every_death_of(&plan);
}

#[test]
fn a_replacement_may_die_anywhere() {
    let happens = the_last_lost_its_disk;
    every_death_of(&Plan { name: "replace", of: "run", before: &settled_three, happens, again: true });
}

#[test]
fn a_replacement_may_die_anywhere_while_it_settles() {
    let happens = the_last_lost_its_disk;
    every_death_of(&Plan { name: "replace, finish", of: "finish", before: &settled_three, happens, again: true });
}

#[test]
fn a_joiner_may_die_anywhere() {
    let happens = the_last_was_removed_and_is_blank;
    every_death_of(&Plan { name: "join", of: "run", before: &settled_three, happens, again: true });
}

#[test]
fn a_removed_member_may_die_anywhere_on_its_way_back() {
    let happens = the_last_is_removed_while_it_runs;
    every_death_of(&Plan { name: "removed", of: "run", before: &settled_three, happens, again: true });
}

/// So there is nothing in a reboot that a crash could break.
#[test]
fn a_settled_member_that_reboots_writes_nothing_to_its_disk() {
    let plan = Plan { name: "start", of: "run", before: &settled_three, happens: the_last_reboots, again: true };
    assert_eq!(points(&plan), Vec::<String>::new());
}
