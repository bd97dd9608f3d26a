//! A learner that takes long to have what its cluster has: it votes when it has it, and nobody waits for that.
//!
//! `ETCD_BOOTSTRAPPER_MIB` says how much there is; `make soak` says a gibibyte and keeps what it noted.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::world::{PATIENCE, World};

/// What there is without anybody's word, MiB, and how fast the link to the learner is then, Mbit/s.
const FEW: (u64, u32) = (24, 40);
/// The link of a soak, Mbit/s.
const FAST: u32 = 200;

#[test]
fn a_learner_behind_a_slow_link_votes_when_it_has_everything_and_writes_go_on_meanwhile() {
    let told = std::env::var("ETCD_BOOTSTRAPPER_MIB").ok().map(|mib| mib.parse().expect("a number of MiB"));
    let (mib, rate) = told.map_or(FEW, |mib| (mib, FAST));
    let mut world = World::new(3);
    world.boot_all();
    fill(&world, mib);
    world.hosts[2].wipe();
    world.slow_to(3, rate);
    let began = Instant::now();
    world.hosts[2].boot();
    world.hosts[2].hand_off();
    // A replaced member is a voter less and a learner more; it is there as soon as it was added.
    let deadline = began + PATIENCE * (1 + mib as u32 / 64);
    let (mut writes, mut longest) = (0u32, Duration::ZERO);
    while world.members(0).0.len() < 3 {
        assert!(Instant::now() < deadline, "it never votes:\n{}", world.hosts[2].said_by("finish"));
        let asked = Instant::now();
        writes += 1;
        world.put(0, "last", &writes.to_string());
        longest = longest.max(asked.elapsed());
    }
    let took = began.elapsed();
    world.hosts[2].finish_ends();
    assert!(writes > 1, "it votes before anybody could write beside it");
    assert_eq!(world.get(2, "last"), writes.to_string());
    assert_eq!(world.members(2), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
    let said = world.hosts[2].said_by("finish");
    assert!(said.contains("fetches what its cluster has: a database of"), "{said}");
    println!("note: a learner had {mib} MiB over {rate} Mbit/s and voted after {:.1} s", took.as_secs_f32());
    if told.is_some() {
        note(&format!("{mib}\t{rate}\t{:.1}\t{writes}\t{:.2}\n", took.as_secs_f32(), longest.as_secs_f32()));
    }
}

/// This much in keys of one MiB, which etcd still takes.
fn fill(world: &World, mib: u64) {
    let value = vec![b'x'; 1 << 20];
    for key in 0..mib {
        let mut command = world.etcdctl_command(0);
        let mut put = command.args(["put", &format!("fill/{key}")]).stdin(Stdio::piped()).stdout(Stdio::null());
        put = put.stderr(Stdio::inherit());
        let mut child = put.spawn().expect("etcdctl runs");
        child.stdin.take().expect("a pipe").write_all(&value).expect("etcdctl reads the value");
        assert!(child.wait().expect("etcdctl ends").success(), "key {key} of {mib}");
    }
}

/// For the table of the soak.
fn note(line: &str) {
    let out = concat!(env!("CARGO_MANIFEST_DIR"), "/../out");
    fs::create_dir_all(out).expect("a directory for what is built");
    let file = fs::OpenOptions::new().create(true).append(true).open(format!("{out}/catch-up.tsv"));
    file.expect("a file").write_all(line.as_bytes()).expect("a line");
}
