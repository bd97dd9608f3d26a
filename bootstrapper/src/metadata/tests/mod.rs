//! Specs and user-data, good and bad; carriers over one another; the schema against the types.

mod bad;
mod carriers;
mod cloud_init;
mod credentials;
mod detect;
mod explain;
mod faults;
mod formats;
mod good;
mod network;
mod remembered;
mod schema;
mod volumes;

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::validate::{Verdict, summary, validate};
use super::{Loaded, Sources};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::sys::fs;

/// A document in which nothing is wrong.
const GOOD: &str = include_str!("../../../../tests/fixtures/spec/good/three.yaml");

const ETC: &str = "/etc/etcd-bootstrapper/config.yaml";
const SEED: &str = "/var/lib/cloud/seed/nocloud";
const CREDENTIAL: &str = "/run/credentials/etcd-bootstrapper.service/etcd-bootstrapper.config";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn fixtures(kind: &str) -> Vec<(String, Vec<u8>)> {
    files(&repository().join("tests/fixtures/spec").join(kind))
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", dir.display());
    let name = |f: &PathBuf| f.file_name().unwrap().to_str().unwrap().to_owned();
    files.into_iter().map(|f| (name(&f), std::fs::read(&f).unwrap())).collect()
}

/// Exit code and message, one line each fault; `0` and the summary for what is good.
fn verdict(name: &str, bytes: &[u8]) -> Vec<String> {
    match validate(bytes, name) {
        Ok(Verdict::Valid { spec, .. }) => vec![format!("0 {name}: valid: {}", summary(&spec))],
        Ok(Verdict::Faults(faults)) => faults.iter().map(|f| format!("65 {f}")).collect(),
        Err(error) => vec![format!("{} {error:#}", Exit::of(&error) as u8)],
    }
}

/// A host's file tree.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Host {
        Host(tempfile::tempdir().unwrap())
    }

    fn with(self, path: &str, text: impl AsRef<[u8]>) -> Host {
        let path = self.paths().host(path);
        fs::create_dir(path.parent().unwrap(), 0o755, None).unwrap();
        fs::write_atomic(&path, text.as_ref(), 0o600, None).unwrap();
        self
    }

    fn paths(&self) -> Paths {
        Paths::under(self.0.path())
    }

    /// A message without this host's root in it.
    fn rootless(&self, message: &str) -> String {
        message.replace(&self.0.path().display().to_string(), "")
    }
}

fn loaded(host: &Host) -> Loaded {
    Sources::new(&host.paths()).load().unwrap().expect("a configuration")
}

/// Exit code and message of a load that fails.
fn failure(host: &Host) -> String {
    let error = Sources::new(&host.paths()).load().map(|l| l.map(|l| l.carrier)).expect_err("a fault");
    host.rootless(&format!("{} {error:#}", Exit::of(&error) as u8))
}

fn user_data() -> String {
    let lines: String = GOOD.lines().map(|l| format!("      {l}\n")).collect();
    format!("#cloud-config\nwrite_files:\n  - path: {ETC}\n    content: |\n{lines}")
}

fn systemd(entries: &str) -> String {
    let document = serde_json::to_string(&GOOD.replace("etcd-ca-key", "etcd-bootstrapper.ca-key")).unwrap();
    format!(
        "{{\"systemd.credentials\": [{{\"name\": \"etcd-bootstrapper.config\", \"text\": {document}}}, {entries}]}}"
    )
}
