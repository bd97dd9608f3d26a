//! A large snapshot, of a cluster of this host's own, with what must come out of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_client::{Client, ConnectOptions};
use ring::digest;

use crate::process;
use crate::random::Random;
use crate::tools::Tools;

/// Values that nothing makes smaller, in so many parts that can be read one by one.
const PARTS: u64 = 16;
const VALUES: u64 = 32;
const VALUE: usize = 512 << 10;
/// What a restore takes long enough for.
const LEAST: u64 = 256 << 20;
/// Of an etcd that nobody else reaches.
const CLIENT: &str = "http://127.0.0.1:12379";
const PEER: &str = "http://127.0.0.1:12380";
const START: Duration = Duration::from_secs(180);
/// For one value, and for the whole snapshot, on a busy disk.
const ANSWER: Duration = Duration::from_secs(180);
const SAVE: Duration = Duration::from_secs(400);

/// The snapshot.
pub struct Large {
    /// As etcdctl saves it.
    pub file: PathBuf,
    /// Of the file, in hexadecimal.
    pub sha256: String,
    /// What `sha256sum` says of the values of each part, a line each.
    pub sums: String,
}

/// Ends with what it is for.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Large {
    /// Makes one, and leaves nothing else behind.
    pub fn make(tools: &Tools, file: PathBuf) -> Result<Large> {
        let data = file.with_extension("etcd");
        let etcd = start(tools, &data)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sums = runtime.block_on(fill())?;
        let mut save = Command::new(tools.etcd.join("etcdctl"));
        save.args(["--endpoints", CLIENT, "--command-timeout", "180s", "snapshot", "save"]).arg(&file);
        process::output(&mut save, SAVE)?;
        drop(etcd);
        fs::remove_dir_all(&data)?;
        let length = fs::metadata(&file)?.len();
        ensure!(length >= LEAST, "the snapshot has {length} bytes, and {LEAST} at least were wanted");
        let sum = process::output(Command::new("sha256sum").arg(&file), SAVE)?;
        let sha256 = sum.split_whitespace().next().context("sha256sum printed nothing")?.to_owned();
        Ok(Large { file, sha256, sums })
    }
}

fn start(tools: &Tools, data: &Path) -> Result<Etcd> {
    let log = File::create(data.with_extension("log"))?;
    let mut command = Command::new(tools.etcd.join("etcd"));
    command.arg("--data-dir").arg(data).args(["--name", "large", "--unsafe-no-fsync"]);
    command.args(["--listen-client-urls", CLIENT, "--advertise-client-urls", CLIENT, "--listen-peer-urls", PEER]);
    command.args(["--initial-advertise-peer-urls", PEER, "--initial-cluster", &format!("large={PEER}")]);
    let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(Etcd(command.spawn().context("cannot start etcd")?))
}

/// Writes all values; what `sha256sum` will say of those of each part.
async fn fill() -> Result<String> {
    let mut client = connected().await?;
    let mut random = Random::new(1);
    let mut sums = String::new();
    for part in 0..PARTS {
        let mut sum = digest::Context::new(&digest::SHA256);
        for number in 0..VALUES {
            let value: Vec<u8> = (0..VALUE / 8).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
            sum.update(&value);
            sum.update(b"\n");
            tokio::time::timeout(ANSWER, client.put(format!("/large/{part:02}/{number:02}"), value, None)).await??;
        }
        let digits: String = sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        sums += &format!("{digits}  -\n");
    }
    Ok(sums)
}

async fn connected() -> Result<Client> {
    let end = Instant::now() + START;
    loop {
        let options = ConnectOptions::new().with_connect_timeout(ANSWER).with_timeout(ANSWER);
        let status = async {
            let mut client = Client::connect([CLIENT], Some(options)).await?;
            client.status().await.map(|_| client)
        };
        match tokio::time::timeout(ANSWER, status).await? {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > end => return Err(error).context("etcd does not come up: see its log"),
            Err(_) => tokio::time::sleep(process::TICK).await,
        }
    }
}
