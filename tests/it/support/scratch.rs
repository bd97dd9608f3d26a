//! Directories and waiting.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A directory of its own that goes when it is dropped.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(tempfile::Builder::new().prefix("etcd-bootstrapper-it-").tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// Asks again and again until there is an answer; panics after a minute.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{what} did not come to be within a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}
