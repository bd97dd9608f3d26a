//! The cluster's home outside its disks: an object store's prefix, or a directory that all hosts share.
//!
//! What is not there is told from what could not be asked: a missing bucket, a denied request and a silent server are
//! all *unknown* here, and only a listing that succeeds makes a missing object an absence.

pub mod claim;
mod connect;
mod directory;
mod home;
pub mod manifest;
mod open;
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::sys::random;
pub use connect::in_the_clear;
pub use home::Home;
pub use open::{amazon, bucket};
pub use trouble::Trouble;
pub(crate) use trouble::{of as trouble_of, words};

/// For one small object, the retries of the client included.
const CALL: Duration = Duration::from_secs(20);

/// An ETag that no object has.
const NEVER: &str = "\"00000000000000000000000000000000\"";

/// One cluster's store.
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    place: String,
    directory: Option<PathBuf>,
    /// Whether conditional writes were seen to be conditional.
    honest: OnceCell<()>,
}

/// An object as it was read.
pub struct Object {
    /// All of it.
    pub bytes: Bytes,
    /// Which of all that ever lay there.
    pub version: Version,
}

/// One version of an object: what a swap is made against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(UpdateVersion);

/// How a conditional write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The object is now what was given.
    Yes,
    /// Another one is there, or what was to be replaced is not there any more: read again.
    No,
}

impl Store {
    /// The store for a person; without any secret.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The client, for what is larger than a claim.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Where an object of this cluster lies.
    pub fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Reads a small object; `None` when the store says that there is none.
    ///
    /// # Errors
    /// [`Trouble`], for anything that is not knowledge.
    pub async fn read(&self, key: &str, limit: u64) -> Result<Option<Object>, Trouble> {
        let path = self.path(key);
        let read = async {
            let found = self.objects.get_opts(&path, GetOptions::default()).await?;
            let meta = found.meta.clone();
            if meta.size > limit {
                return Ok(Err(meta));
            }
            found.bytes().await.map(|bytes| Ok((bytes, meta)))
        };
        match self.within(key, "read", read).await {
            Ok(Ok((bytes, meta))) => {
                let version = self.version(&bytes, &meta);
                Ok(Some(Object { bytes, version }))
            }
            Ok(Err(meta)) => {
                let why = format!("{} has {} bytes, and {limit} are the most it can have", self.at(key), meta.size);
                Err(Trouble::Unfit(why))
            }
            Err(Trouble::Absent) => self.names("").await.map(|_| None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Writes an object unless there is one.
    ///
    /// # Errors
    /// [`Trouble`]; whether the object was written is not known then.
    pub async fn create(&self, key: &str, bytes: Vec<u8>) -> Result<Written, Trouble> {
        self.put(key, bytes, PutMode::Create).await
    }

    /// Replaces exactly this version of an object.
    ///
    /// # Errors
    /// [`Trouble`]; whether the object was written is not known then.
    pub async fn swap(&self, key: &str, bytes: Vec<u8>, version: &Version) -> Result<Written, Trouble> {
        match &self.directory {
            Some(directory) => directory::swap(&directory.join(key), &bytes, version).await,
            None => self.put(key, bytes, PutMode::Update(version.0.clone())).await,
        }
    }

    /// What lies directly below a key or, for an empty one, in the store: names, sorted.
    ///
    /// # Errors
    /// [`Trouble`], for anything that is not knowledge; a bucket that is not there is.
    pub async fn names(&self, below: &str) -> Result<Vec<String>, Trouble> {
        if let Some(directory) = &self.directory {
            directory::is_there(directory)?;
        }
        let path = if below.is_empty() { self.prefix.clone() } else { self.path(below) };
        let listed = self.within(below, "list", self.objects.list_with_delimiter(Some(&path))).await;
        let listed = listed.map_err(|trouble| match trouble {
            Trouble::Absent => Trouble::Unreached(format!("cannot list {}: there is no such bucket", self.at(below))),
            other => other,
        })?;
        let paths = listed.objects.iter().map(|meta| &meta.location).chain(&listed.common_prefixes);
        let mut names: Vec<String> = paths.filter_map(|path| path.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Removes an object of ours; one that is not there is no error.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn remove(&self, key: &str) -> Result<(), Trouble> {
        match self.within(key, "remove", self.objects.delete(&self.path(key))).await {
            Err(Trouble::Absent) => Ok(()),
            other => other,
        }
    }

    /// That this server does what a claim hangs on: some that speak S3 take the headers of a condition for nothing and
    /// write all the same. Seen once, on an object of its own.
    ///
    /// # Errors
    /// [`Trouble::Unfit`] for such a server; the rest as of any write.
    pub async fn honours_conditions(&self) -> Result<(), Trouble> {
        if self.directory.is_some() {
            return Ok(());
        }
        self.honest.get_or_try_init(|| self.try_conditions()).await.copied()
    }

    async fn try_conditions(&self) -> Result<(), Trouble> {
        let name = random::hex16().map_err(|e| Trouble::Unreached(format!("{e:#}")))?;
        let key = format!("conditions/{name}");
        let never = Version(UpdateVersion { e_tag: Some(NEVER.to_owned()), version: Some("1".into()) });
        let tried = async {
            let first = self.create(&key, b"1".to_vec()).await?;
            let second = self.create(&key, b"2".to_vec()).await?;
            let third = self.swap(&key, b"3".to_vec(), &never).await?;
            Ok((first, second, third))
        };
        let tried = tried.await;
        // Nobody looks at it again, so a store that deletes nothing is no trouble.
        self.remove(&key).await.inspect_err(|e| tracing::debug!("{e}")).ok();
        match tried? {
            (_, Written::No, Written::No) => Ok(()),
            (_, Written::Yes, _) | (_, _, Written::Yes) => Err(Trouble::Unfit(format!(
                "{} writes where the condition of the write does not hold, so two clusters could be founded: use a \
                 server that knows If-None-Match and If-Match",
                self.place
            ))),
        }
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, mode: PutMode) -> Result<Written, Trouble> {
        let path = self.path(key);
        match self.within(key, "write", self.objects.put_opts(&path, PutPayload::from(bytes), mode.into())).await {
            Ok(_) => Ok(Written::Yes),
            // Of a swap: what was to be replaced is not there any more.
            Err(Trouble::Absent | Trouble::Conflict) => Ok(Written::No),
            Err(trouble) => Err(trouble),
        }
    }

    async fn within<T>(
        &self,
        key: &str,
        what: &str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Trouble> {
        match timeout(CALL, call).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(trouble::of(&error, &format!("cannot {what} {}", self.at(key)))),
            Err(_) => {
                Err(Trouble::Unreached(format!("cannot {what} {}: no answer for {} s", self.at(key), CALL.as_secs())))
            }
        }
    }

    fn at(&self, key: &str) -> String {
        if key.is_empty() { self.place.clone() } else { format!("{}/{key}", self.place) }
    }

    fn version(&self, bytes: &Bytes, meta: &ObjectMeta) -> Version {
        match self.directory {
            // A file's times are no version: two writes may have the same.
            Some(_) => directory::version(bytes),
            None => Version(UpdateVersion { e_tag: meta.e_tag.clone(), version: meta.version.clone() }),
        }
    }
}
