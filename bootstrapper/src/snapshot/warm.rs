//! A file brought into memory ahead of whoever maps it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::intake::blocking;

/// Bytes asked for at a time, by each of so many readers: a page fault asks for a few at a time, and waits for them.
const PIECE: usize = 1 << 20;
const READERS: u64 = 2;

/// Between two looks for the file.
const LOOK: Duration = Duration::from_millis(5);

/// Reads a file as soon as it has so many bytes, for which it waits for as long as the caller lets it. Whatever goes
/// wrong is for its user to find out.
pub(super) async fn warm(path: PathBuf, bytes: u64) {
    let file = loop {
        match grown(&path, bytes) {
            Some(file) => break file,
            None => tokio::time::sleep(LOOK).await,
        }
    };
    let over = Arc::new(AtomicBool::new(false));
    let _ended = Ended(over.clone());
    let _read_or_not = blocking(move || {
        read(&file, bytes, &over);
        Ok(())
    })
    .await;
}

/// Ends the readers when nobody waits for them any more: a file that was removed keeps its room for as long as it is open.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn grown(path: &Path, bytes: u64) -> Option<File> {
    File::open(path).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.len() >= bytes))
}

fn read(file: &File, bytes: u64, over: &AtomicBool) {
    let part = bytes.div_ceil(READERS);
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            scope.spawn(move || {
                let (mut at, mut buffer) = (reader * part, vec![0; PIECE]);
                while at < (reader + 1) * part && !over.load(Ordering::Relaxed) {
                    match file.read_at(&mut buffer, at) {
                        Ok(0) | Err(_) => break,
                        Ok(read) => at += read as u64,
                    }
                }
            });
        }
    });
}
