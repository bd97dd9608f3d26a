//! A file brought into memory ahead of whoever maps it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
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
    let _read_or_not = blocking(move || {
        read(&file, bytes);
        Ok(())
    })
    .await;
}

fn grown(path: &Path, bytes: u64) -> Option<File> {
    File::open(path).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.len() >= bytes))
}

fn read(file: &File, bytes: u64) {
    let part = bytes.div_ceil(READERS);
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            scope.spawn(move || {
                let (mut at, mut buffer) = (reader * part, vec![0; PIECE]);
                while at < (reader + 1) * part {
                    match file.read_at(&mut buffer, at) {
                        Ok(0) | Err(_) => break,
                        Ok(read) => at += read as u64,
                    }
                }
            });
        }
    });
}
