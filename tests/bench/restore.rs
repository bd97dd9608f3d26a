//! A blank host to a data dir that etcd may start on, by this program and by hand.
//!
//! Ours is `run` from exec to exit: configuration, address, certificates, journal, download, checks, `etcdutl`, and all of
//! it durable. By hand it is `curl`, `openssl dgst -sha256`, `etcdutl snapshot restore` with the same options, and
//! `sync -f`, without which a power cut leaves a data dir on which etcd hangs (DESIGN section 6, E8).

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::ground::{FEW, Snapshot, Took, Volume, by_hand, cold, phases, room, told, watched};
use crate::world::{World, etcd_dir};
use crate::{fact, https, median, row};

/// What the bare download may be exceeded by, besides a tenth.
const BARE: &str = "<= 1.10x + 3 s";

struct Bench {
    /// Dropped before the directory that it is mounted in.
    volume: Volume,
    world: World,
    url: String,
}

/// Prints its rows.
pub fn restore(snapshot: &Snapshot) {
    let bench = Bench::new(snapshot);
    let (mut ours, mut by_hand, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..FEW {
        let mut turns: [&mut dyn FnMut(); 3] =
            [&mut || ours.push(bench.ours()), &mut || by_hand.push(bench.by_hand()), &mut || bare.push(bench.bare())];
        // Whoever comes first meets the disk as the one before has left it.
        if pair % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            bench.volume.clear();
            cold();
            turn();
        }
    }
    let times: Vec<Duration> = ours.iter().map(|took| took.time).collect();
    let whole: Vec<Duration> = by_hand.iter().map(|phases| phases.iter().sum()).collect();
    let what = format!("{} MiB over https to a data dir", snapshot.mib());
    row(&what, &times, Some(&whole), "<= 0.75x");
    row("the same, against the bare download", &times, Some(&bare), BARE);
    let phase = |i: usize| median(&by_hand.iter().map(|phases| phases[i]).collect::<Vec<_>>()).as_secs_f64();
    let (curl, openssl, etcdutl, sync) = (phase(0), phase(1), phase(2), phase(3));
    fact(
        "  by hand it is",
        &format!("curl {curl:.2} s, openssl {openssl:.2} s, etcdutl {etcdutl:.2} s, sync {sync:.2} s"),
        "",
    );
    let peak = ours.iter().map(|took| took.peak).max().unwrap_or_default();
    fact("  memory of this program at most", &format!("{} MiB", peak >> 10), "<= 64 MiB");
}

impl Bench {
    fn new(snapshot: &Snapshot) -> Bench {
        let world = World::new(1);
        let host = &world.hosts[0];
        let listener = host.inside(async || std::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("https://localhost:{}{}", listener.local_addr().expect("an address").port(), https::PATH);
        https::serve(listener, Arc::clone(&snapshot.bytes), &host.root.join("etc/etcd-bootstrapper/roots.pem"));
        let config = format!("{}restore: {{url: \"{url}\", sha256: \"{}\"}}\n", world.config(), snapshot.sha256);
        host.configure(&config);
        let volume = Volume::mounted(&world.dir.join("disk"), room(snapshot), &host.root.join("var/lib/etcd"));
        Bench { volume, world, url }
    }

    fn ours(&self) -> Took {
        let host = &self.world.hosts[0];
        for left in ["run", "var/lib/etcd-bootstrapper"] {
            let _nothing_there = std::fs::remove_dir_all(host.root.join(left));
        }
        let log = std::fs::File::create(host.root.with_extension("run.log")).expect("a log");
        let mut run: Command = host.program(&["run"]);
        run.stdout(log.try_clone().expect("a log")).stderr(log);
        let took = watched(run);
        assert!(host.root.join("var/lib/etcd/data/member/snap/db").exists(), "{}", host.said_by("run"));
        took
    }

    /// curl, openssl, etcdutl, sync.
    fn by_hand(&self) -> Vec<Duration> {
        let script = "
            cd \"$1\"
            a=$(now); curl -sSf --cacert \"$2\" -o snapshot.db \"$3\"
            b=$(now); openssl dgst -sha256 snapshot.db >sum
            c=$(now); \"$4\" snapshot restore snapshot.db --data-dir data --name etcd-1 --initial-cluster etcd-1=\"$5\" \\
              --initial-advertise-peer-urls \"$5\" --bump-revision 1000000000 --mark-compacted >log 2>&1 || { cat log >&2; exit 1; }
            d=$(now); sync -f data
            echo $a $b $c $d $(now)";
        phases(&told(&mut self.shell(script)))
    }

    fn bare(&self) -> Duration {
        let script = "
            cd \"$1\"
            a=$(now); curl -sSf --cacert \"$2\" -o snapshot.db \"$3\"; sync -f snapshot.db
            echo $a $(now)";
        phases(&told(&mut self.shell(script))).iter().sum()
    }

    fn shell(&self, script: &str) -> Command {
        let host = &self.world.hosts[0];
        let mut command = by_hand(host, script);
        command.arg(host.root.join("var/lib/etcd")).arg(host.root.join("etc/etcd-bootstrapper/roots.pem"));
        command.arg(&self.url).arg(etcd_dir("forky").join("etcdutl")).arg(host.peer_url());
        command
    }
}
