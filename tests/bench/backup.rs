//! A member's database to an object of a bucket, by this program and by hand.
//!
//! Ours is `backup --now` from exec to exit, with the claim, the manifest and the look for what is kept too long. By hand it
//! is `etcdctl snapshot save`, `zstd` at its own level and `curl -T` into the same server.

use std::process::Command;
use std::time::Duration;

use crate::ground::{FEW, Snapshot, Took, Volume, by_hand, cold, in_memory, phases, room, told, watched};
use crate::support::bucket::Bucket;
use crate::world::World;
use crate::{fact, median, row};

/// Prints its rows.
pub fn backup(snapshot: &Snapshot) {
    let mut world = World::new(1);
    let host = &world.hosts[0];
    let listener = host.inside(async || std::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let bucket = Bucket::of(listener);
    host.configure(&format!(
        "{}restore: {{url: \"file://{}\", sha256: \"{}\"}}\nbackup: {{}}\nstore: {{url: \"s3://bucket/prod\", endpoint: \"{}\", \
         allow_http: true, credentials: {{access_key_id: test, secret_access_key: test}}}}\n",
        world.config(),
        snapshot.file.display(),
        snapshot.sha256,
        bucket.endpoint()
    ));
    let _run = in_memory(&host.root.join("run"));
    let _volume = Volume::mounted(&world.dir.join("disk"), room(snapshot), &host.root.join("var/lib/etcd"));
    world.boot_all();

    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for pair in 0..FEW {
        let mut turns: [&mut dyn FnMut(); 2] =
            [&mut || ours.push(by_program(&world)), &mut || by_hand.push(by_an_operator(&world, &bucket))];
        if pair % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            cold();
            turn();
        }
    }
    // Whatever holds on to the volume goes before it.
    world.hosts[0].kill();
    let times: Vec<Duration> = ours.iter().map(|took| took.time).collect();
    let whole: Vec<Duration> = by_hand.iter().map(|phases| phases.iter().sum()).collect();
    row(&format!("{} MiB of a member into a bucket", snapshot.mib()), &times, Some(&whole), "<= 0.75x");
    let phase = |i: usize| median(&by_hand.iter().map(|phases| phases[i]).collect::<Vec<_>>()).as_secs_f64();
    let (save, zstd, curl) = (phase(0), phase(1), phase(2));
    fact("  by hand it is", &format!("etcdctl {save:.2} s, zstd {zstd:.2} s, curl {curl:.2} s"), "");
    let most = |of: fn(&Took) -> u64| ours.iter().map(of).max().unwrap_or_default();
    fact("  memory of this program at most", &format!("{} MiB", most(|took| took.peak) >> 10), "<= 64 MiB");
    fact("  written to local disks", &format!("{} bytes", most(|took| took.written)), "0 bytes");
}

fn by_program(world: &World) -> Took {
    let mut command: Command = world.hosts[0].program(&["backup", "--now"]);
    // What it says is not written to a disk either.
    let log = std::fs::File::create(world.hosts[0].root.join("run/backup.log")).expect("a log");
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    watched(command)
}

/// etcdctl, zstd, curl.
fn by_an_operator(world: &World, bucket: &Bucket) -> Vec<Duration> {
    let host = &world.hosts[0];
    let script = "
        cd \"$1\"; url=$2; shift 2
        a=$(now); \"$@\" snapshot save snapshot.db >/dev/null 2>&1
        b=$(now); zstd -q snapshot.db
        c=$(now); curl -sSf -T snapshot.db.zst \"$url\"
        echo $a $b $c $(now)
        rm snapshot.db snapshot.db.zst";
    let mut command = by_hand(host, script);
    command.arg(host.root.join("var/lib/etcd"));
    command.arg(format!("{}/bucket/by-hand", bucket.endpoint()));
    // What is before etcdctl enters the host's network, and nobody limits a snapshot to 15 s.
    let etcdctl = world.etcdctl_command(0);
    command.args(etcdctl.get_args().skip(3).filter(|arg| !arg.to_string_lossy().starts_with("--command-timeout")));
    phases(&told(&mut command))
}
