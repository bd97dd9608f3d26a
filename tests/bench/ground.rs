//! What the larger comparisons stand on: the image's data file system, a cold cache, a snapshot of the size asked for, and
//! what a process needed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::{Client, Txn, TxnOp};

use crate::support::etcd::Etcd;
use crate::support::fixture::sha256;
use crate::support::scratch::Scratch;
use crate::world::Host;

/// Pairs of the larger comparisons.
pub const FEW: usize = 3;

/// How large the snapshot is without anybody's word, MiB.
const MIB: u64 = 1024;

/// Bytes of a value: what etcd's own benchmarks call large, and about what a Pod is in Kubernetes.
const VALUE: usize = 4096;

/// Puts in a transaction: etcd takes at most 128, and 1.5 MiB.
const AT_ONCE: usize = 128;

/// What `etcdctl snapshot save` wrote of so many MiB.
pub struct Snapshot {
    pub bytes: Arc<Vec<u8>>,
    pub sha256: String,
    pub file: PathBuf,
    _scratch: Scratch,
}

impl Snapshot {
    /// Of `ETCD_BOOTSTRAPPER_MIB` or a gibibyte.
    pub fn made() -> Snapshot {
        let mib = std::env::var("ETCD_BOOTSTRAPPER_MIB").map_or(MIB, |mib| mib.parse().expect("a number of MiB"));
        let scratch = Scratch::new();
        let (data, file) = (scratch.join("data"), scratch.join("snapshot.db"));
        // Nobody needs this etcd after a power cut.
        let etcd = Etcd::single(&data, &["--unsafe-no-fsync", "--quota-backend-bytes", &(16u64 << 30).to_string()]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(fill(etcd.client(), &data.join("member/snap/db"), mib << 20));
        etcd.ctl(&["snapshot", "save", file.to_str().expect("a path")]);
        etcd.kill();
        fs::remove_dir_all(data).expect("a data dir");
        let bytes = fs::read(&file).expect("a snapshot");
        Snapshot { sha256: sha256(&bytes), bytes: Arc::new(bytes), file, _scratch: scratch }
    }

    /// For a row.
    pub fn mib(&self) -> usize {
        self.bytes.len() >> 20
    }
}

async fn fill(url: &str, database: &Path, bytes: u64) {
    let mut client = Client::connect([url], None).await.expect("etcd answers");
    let mut seed = 0x2545_f491_4f6c_dd1d;
    for batch in 0.. {
        if fs::metadata(database).is_ok_and(|meta| meta.len() >= bytes) {
            break;
        }
        let puts: Vec<TxnOp> = (0..AT_ONCE)
            .map(|i| TxnOp::put(format!("/registry/pods/default/pod-{batch}-{i}"), value(&mut seed), None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await.expect("etcd writes");
    }
}

/// A quarter of it is digits that nobody could guess, the rest is the same in every value, as in objects of Kubernetes:
/// zstd makes about a tenth of it.
fn value(seed: &mut u64) -> Vec<u8> {
    let mut text = String::with_capacity(VALUE + 64);
    while text.len() < VALUE {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        text += &format!("\"uid\":\"{seed:016x}\",\"phase\":\"Running\",\"restartPolicy\":\"Always\",");
    }
    text.truncate(VALUE);
    text.into_bytes()
}

/// XFS as the image makes it, on a loop device; must be dropped before the directory that it is mounted on.
pub struct Volume {
    device: String,
    at: PathBuf,
}

impl Volume {
    /// A new one of so many bytes in this image, mounted.
    pub fn mounted(image: &Path, bytes: u64, at: &Path) -> Volume {
        File::create(image).and_then(|file| file.set_len(bytes)).expect("an image");
        // Its blocks are there before anything is measured, as those of a disk are.
        told(Command::new("fallocate").arg("-l").arg(bytes.to_string()).arg(image));
        told(enter().args(["mkfs.xfs", "-q", "-K", "-m", "reflink=1"]).arg(image));
        let device = told(Command::new("losetup").args(["-f", "--show", "--direct-io=on"]).arg(image));
        fs::create_dir_all(at).expect("a directory");
        let volume = Volume { device, at: at.into() };
        told(Command::new("mount").args(["-t", "xfs", "-o", "noatime", &volume.device]).arg(at));
        volume
    }

    /// Nothing is left on it.
    pub fn clear(&self) {
        for entry in fs::read_dir(&self.at).expect("a volume") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("it goes");
        }
        told(Command::new("sync").arg("-f").arg(&self.at));
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _best_effort = Command::new("umount").arg(&self.at).status();
        if !self.device.is_empty() {
            let _best_effort = Command::new("losetup").args(["-d", &self.device]).status();
        }
    }
}

/// A file system in memory, as the image has it on /run; `Volume` with nothing below it.
pub fn in_memory(at: &Path) -> Volume {
    fs::create_dir_all(at).expect("a directory");
    told(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(at));
    Volume { device: String::new(), at: at.into() }
}

/// Nothing of what is on a disk is in memory.
pub fn cold() {
    told(&mut Command::new("sync"));
    fs::write("/proc/sys/vm/drop_caches", "3").expect("root drops caches");
}

/// A command of the tool root.
fn enter() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/enter.sh"))
}

/// A shell of the tool root in this host's network; `"$@"` is what follows.
pub fn by_hand(host: &Host, script: &str) -> Command {
    let mut command = host.command(enter().get_program());
    command.args(["sh", "-ec", &format!("now() {{ date +%s.%N; }}\n{script}"), "sh"]);
    command
}

/// Runs to its end what must succeed, and gives what it printed.
pub fn told(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Between the moments that a script of [`by_hand`] printed.
pub fn phases(printed: &str) -> Vec<Duration> {
    let moments: Vec<f64> = printed.split_whitespace().map(|moment| moment.parse().expect("a moment")).collect();
    moments.windows(2).map(|pair| Duration::from_secs_f64(pair[1] - pair[0])).collect()
}

/// What a process of ours needed.
pub struct Took {
    pub time: Duration,
    /// The most memory it had, KiB.
    pub peak: u64,
    /// What it had written to disks, bytes.
    pub written: u64,
}

/// Runs what must succeed, and looks at it all the while; it becomes the program by exec.
pub fn watched(mut command: Command) -> Took {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().expect("it starts");
    let (mut peak, mut written) = (0, 0);
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
    loop {
        let status = of("status");
        // Another thread may write until all have ended; a zombie still knows what it wrote.
        written = number(&of("io"), "write_bytes:").unwrap_or(written);
        peak = number(&status, "VmHWM:").unwrap_or(0).max(peak);
        if status.contains("State:\tZ") {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let time = began.elapsed();
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{command:?}: {status}");
    Took { time, peak, written }
}

fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next()?.parse().ok())
}

/// Four bytes of free room for each of the snapshot's.
pub fn room(snapshot: &Snapshot) -> u64 {
    (snapshot.bytes.len() as u64 * 4 + (1 << 30)).next_multiple_of(1 << 20)
}
