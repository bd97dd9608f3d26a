//! Real etcd processes on loopback.
#![allow(clippy::disallowed_methods)]

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::scratch::until;

/// The path of `etcd`, `etcdctl` or `etcdutl`: in `ETCD_BIN_DIR`, else where `tools/etcd.sh` says.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        if let Some(directory) = std::env::var_os("ETCD_BIN_DIR") {
            return directory.into();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/etcd.sh");
        let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "tools/etcd.sh failed");
        String::from_utf8(output.stdout).unwrap().trim().into()
    });
    directory.join(name)
}

/// A port of loopback that nobody uses now.
pub fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a program to its end and gives back what it printed; panics when it fails.
pub fn output(program: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program:?} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An etcd that is killed when it is dropped.
pub struct Etcd {
    child: Child,
    client: String,
}

impl Etcd {
    /// Starts an etcd on a data dir, its client port on loopback without TLS, and does not wait for it.
    pub fn start(data_dir: &Path, arguments: &[&str]) -> Etcd {
        let client = format!("http://127.0.0.1:{}", port());
        let log = File::options().create(true).append(true).open(data_dir.with_extension("log")).unwrap();
        let child = Command::new(binary("etcd"))
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Etcd { child, client }
    }

    /// Starts a cluster of one and waits until it serves.
    pub fn single(data_dir: &Path, arguments: &[&str]) -> Etcd {
        let peer = format!("http://127.0.0.1:{}", port());
        let cluster = format!("default={peer}");
        let own = ["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer, "--initial-cluster", &cluster];
        let etcd = Etcd::start(data_dir, &[&own, arguments].concat());
        etcd.wait();
        etcd
    }

    /// Where clients reach it.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Waits until it serves writes.
    pub fn wait(&self) {
        until("an etcd that serves", || self.try_ctl(&["endpoint", "health"]).then_some(()));
    }

    /// Runs etcdctl against it with this input; panics when it fails.
    pub fn ctl_with(&self, arguments: &[&str], input: &[u8]) -> String {
        output(&binary("etcdctl"), &[&["--endpoints", self.client()], arguments].concat(), input)
    }

    /// Runs etcdctl against it; panics when it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.ctl_with(arguments, b"")
    }

    /// Whether etcdctl succeeds against it.
    pub fn try_ctl(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new(binary("etcdctl"));
        command.args(["--endpoints", &self.client]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
