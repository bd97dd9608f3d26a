//! The journal on the data disk: append-only, durable before the effect counts.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use plan::member::Nonce;
use plan::progress::{Life, Record, Recovering};
use plan::wal_disk::WalDisk;

use super::wal_disk;
use crate::exit::Exit;
use crate::paths::Paths;
use crate::snapshot::stage;
use crate::sys::{clock, fault, fs, random};

/// A journal is some kilobytes in the longest of lives; more is not a journal.
const LIMIT: u64 = 16 << 20;

/// Between two looks at a lock that another holds.
const LOOK: Duration = Duration::from_millis(100);

/// The journal of the data disk.
pub struct Journal {
    path: PathBuf,
    paths: Paths,
}

impl Journal {
    /// The journal below these paths; nothing is read or made yet.
    pub fn of(paths: &Paths) -> Journal {
        Journal { path: paths.journal(), paths: paths.clone() }
    }

    /// What the disk has gone through; an empty life when there is no journal.
    ///
    /// # Errors
    /// 78 when the journal cannot be understood: deciding without it could break a promise.
    pub fn read(&self) -> Result<Life> {
        let text = fs::read_text(&self.path, LIMIT)?.unwrap_or_default();
        Life::replay(&text).map_err(|why| {
            Exit::Refused.because(format!(
                "the journal {} cannot be understood: {why}; if this disk's data is not needed, run `etcd-bootstrapper reset`",
                self.path.display()
            ))
        })
    }

    /// Appends a record and makes it durable. A torn line that a power cut left is cut off first.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn append(&self, record: &Record) -> Result<()> {
        let line = record.line().map_err(|why| anyhow!("a journal record cannot be written: {why}"))?;
        fs::append_line(&self.path, line.trim_end())?;
        fault::after(line.trim_end());
        tracing::debug!(record = line.trim_end(), at = clock::now().0, "journal");
        Ok(())
    }

    /// Takes the data disk's lock: one bootstrapper at a time changes what lies on it.
    ///
    /// # Errors
    /// 75 while another holds it.
    pub fn lock(&self) -> Result<fs::Lock> {
        fs::create_dir(&self.paths.bootstrapper(), 0o755, None)?;
        let path = self.paths.lock();
        fs::lock(&path)?.ok_or_else(|| {
            let (holder, path) = (fs::lock_holder(&path), path.display());
            Exit::TryAgain.because(format!("{holder} is at work here: it holds {path}; try again when it has ended"))
        })
    }

    /// As [`Journal::lock`], and waits this long for whoever holds it, whom `say` is told.
    ///
    /// # Errors
    /// 75 when another holds it still.
    pub async fn lock_within(&self, patience: Duration, mut say: impl FnMut(&str)) -> Result<fs::Lock> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lock() {
                Err(error) if Exit::of(&error) == Exit::TryAgain && Instant::now() < deadline => {
                    say(&format!("waiting up to {} s: {error:#}", patience.as_secs()));
                }
                other => return other,
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Makes the bootstrapper's directory, a first nonce, and completes an archive or a recovery that was begun; gives a
    /// life that is not bound yet the log's disk of now; then reads.
    ///
    /// # Errors
    /// When the disk cannot be written, or the journal cannot be understood.
    pub fn open(&self) -> Result<Life> {
        fs::create_dir(&self.paths.bootstrapper(), 0o755, None)?;
        let life = self.read()?;
        if let Some(archiving) = &life.archiving {
            self.move_away(&archiving.to)?;
            wal_disk::put_away(&self.paths, life.wal.as_ref(), &archiving.to)?;
            // Stagings of the life that ends decide nothing and are remade from the snapshot.
            fs::remove(&self.paths.staging())?;
        } else if let Some(recovering) = &life.recovering {
            self.recover(recovering, life.wal.as_ref())?;
        } else if life.nonce.is_some() {
            return wal_disk::bind(self, &self.paths, life);
        }
        self.append(&Record::Nonce { nonce: new_nonce()? })?;
        wal_disk::bind(self, &self.paths, self.read()?)
    }

    fn recover(&self, recovering: &Recovering, before: Option<&WalDisk>) -> Result<()> {
        let Recovering { founding, to, .. } = recovering;
        let wal = wal_disk::succeed(&self.paths, before, founding.as_str(), to)?;
        // What is installed already is not moved away again: the staging is gone then.
        if stage::staged(&self.paths, founding) {
            // The identity stays: it says where this disk belongs, and a copy of it must be known when this is done.
            self.aside(to, &[self.paths.data()])?;
        }
        stage::install(&self.paths, founding, wal.as_ref())?;
        wal_disk::put_away(&self.paths, before, to)
    }

    /// Renames the data dir and the identity into a directory of `trash/`; what is there already stays.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn move_away(&self, to: &str) -> Result<()> {
        self.aside(to, &[self.paths.data(), self.paths.identity()])
    }

    fn aside(&self, to: &str, what: &[PathBuf]) -> Result<()> {
        let trash = self.paths.trash().join(to);
        fs::create_dir(&self.paths.trash(), 0o700, None)?;
        fs::create_dir(&trash, 0o700, None)?;
        for from in what {
            let target = trash.join(from.file_name().context("a path of ours has a name")?);
            if from.exists() && !target.exists() {
                fs::rename(from, &target)?;
            }
        }
        Ok(())
    }
}

/// A name in `trash/` that sorts by time and does not repeat.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn trash_name() -> Result<String> {
    let time = plan::spec::Timestamp(clock::now()).to_string().replace(':', "");
    Ok(format!("{time}-{}", &random::hex16()?[..8]))
}

fn new_nonce() -> Result<Nonce> {
    Ok(random::hex16()?.parse()?)
}
