//! A source that is opened: every kind of them is asked for bytes from some byte on, so that all are resumed alike.

use std::io::{ErrorKind, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hyper::body::Bytes;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use plan::founding::Founding;
use plan::member::PeerUrl;
use plan::restore::{ObjectUrl, RestoreEntry};
use plan::spec::{Secret, Sha256};
use reqwest::{Client, Response, Url};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::timeout;

use super::http::{self, Setback, Unreached};
use super::object;
use super::sidecar::Version;
use super::source::{self, Access, Source};
use super::volume::OnVolume;
use crate::exit::Exit;
use crate::paths::Paths;
use crate::store::{self, Store};
use crate::{answer, tls};

/// Bytes that are read of a file at a time.
const PIECE: usize = 256 << 10;

/// TCP and TLS handshakes with a peer.
const CONNECT: Duration = Duration::from_secs(5);

/// A place that can be asked for an object.
pub struct Origin {
    place: String,
    kind: Kind,
    peer: bool,
}

enum Kind {
    Http { client: Client, url: Url },
    File(PathBuf),
    Volume(OnVolume),
    Object { bucket: Arc<dyn ObjectStore>, path: ObjectPath },
}

impl Origin {
    /// Opens the sources of the spec, in their order.
    ///
    /// # Errors
    /// 65 for a URL that is none of ours, or when no server can be trusted; 69 and 77 for a secret.
    pub fn open(urls: &[Secret], access: &Access<'_>) -> Result<Vec<Origin>> {
        let mut origins = Vec::new();
        let mut client: Option<Client> = None;
        for url in urls {
            let source = Source::parse(url)?;
            let place = source.place();
            let kind = match source {
                Source::Https(url) => {
                    let client = match &client {
                        Some(client) => client,
                        None => {
                            let proxy = access.restore.and_then(|restore| restore.proxy.as_ref());
                            client.insert(source::client(&access.roots, proxy)?)
                        }
                    };
                    Kind::Http { client: client.clone(), url }
                }
                Source::File(path) => Kind::File(path),
                Source::Volume(label, file) => Kind::Volume(OnVolume { paths: access.paths.clone(), label, file }),
                Source::Bucket(url) => in_bucket(&url, access)?,
            };
            origins.push(Origin { place, kind, peer: false });
        }
        Ok(origins)
    }

    /// An object of the cluster's own store.
    pub fn stored(store: &Store, key: &str) -> Origin {
        let (bucket, path) = (store.objects().clone(), store.path(key));
        Origin { place: format!("{}/{key}", store.place()), kind: Kind::Object { bucket, path }, peer: false }
    }

    /// A file of this host.
    pub fn file(path: PathBuf) -> Origin {
        Origin { place: path.display().to_string(), kind: Kind::File(path), peer: false }
    }

    /// The other members of a founding: each hands out what it has whole, over mutual TLS.
    ///
    /// # Errors
    /// When this host's certificates cannot be used.
    pub fn peers(paths: &Paths, founding: &Founding, me: &PeerUrl, sha256: &Sha256) -> Result<Vec<Origin>> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client_config(paths)?)
            .no_proxy()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .http1_only()
            .build()
            .context("cannot make the client for peers")?;
        let others = founding.founders.iter().filter(|founder| founder.peer_url != *me);
        others
            .map(|founder| {
                let url = format!("{}{}{}", founder.peer_url, answer::SNAPSHOT, sha256.as_str());
                let url = Url::parse(&url).with_context(|| format!("{url} is no URL"))?;
                let place = format!("the peer {}", founder.name);
                Ok(Origin { place, kind: Kind::Http { client: client.clone(), url }, peer: true })
            })
            .collect()
    }

    /// The place for a person: no query, no fragment, no password.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether it is a member of the founding, and none of the sources of the spec.
    pub fn is_peer(&self) -> bool {
        self.peer
    }

    /// What lies beside it under the same name and a suffix.
    pub fn beside(&self, suffix: &str) -> Origin {
        let kind = match &self.kind {
            Kind::Http { client, url } => {
                let mut url = url.clone();
                url.set_path(&format!("{}{suffix}", url.path()));
                Kind::Http { client: client.clone(), url }
            }
            Kind::File(path) => Kind::File(suffixed(path, suffix)),
            Kind::Volume(volume) => Kind::Volume(volume.file(suffixed(&volume.file, suffix))),
            Kind::Object { bucket, path } => {
                let path = ObjectPath::from(format!("{path}{suffix}"));
                Kind::Object { bucket: bucket.clone(), path }
            }
        };
        Origin { place: format!("{}{suffix}", self.place), kind, peer: self.peer }
    }

    /// The manifest of the object: `manifest.json` in its directory, or what a peer keeps under the object's name.
    pub fn manifest(&self) -> Origin {
        const NAME: &str = "manifest.json";
        let kind = match &self.kind {
            _ if self.peer => return self.beside(".manifest"),
            Kind::Http { client, url } => {
                let mut url = url.clone();
                let directory = url.path().rsplit_once('/').map_or("", |(directory, _)| directory);
                url.set_path(&format!("{directory}/{NAME}"));
                Kind::Http { client: client.clone(), url }
            }
            Kind::File(path) => Kind::File(path.with_file_name(NAME)),
            Kind::Volume(volume) => Kind::Volume(volume.file(volume.file.with_file_name(NAME))),
            Kind::Object { bucket, path } => {
                let path = path.to_string();
                let path = path.rsplit_once('/').map_or(NAME.into(), |(directory, _)| format!("{directory}/{NAME}"));
                Kind::Object { bucket: bucket.clone(), path: ObjectPath::from(path) }
            }
        };
        let place = self.place.rsplit_once('/').map_or(NAME.into(), |(directory, _)| format!("{directory}/{NAME}"));
        Origin { place, kind, peer: false }
    }

    /// Whether it gains by being asked for several ranges at a time: a peer has others to serve, a file is no network.
    pub(super) fn has_ranges(&self) -> bool {
        match self.kind {
            Kind::Http { .. } | Kind::Object { .. } => !self.peer,
            Kind::File(_) | Kind::Volume(_) => false,
        }
    }

    /// Asks for the bytes from `from` on of the object that `known` tells, up to the byte `end` where one is given; what
    /// comes may begin at the first byte, and go on to the last.
    ///
    /// # Errors
    /// A setback in words that follow the name of the place.
    pub(super) async fn ask(
        &self,
        from: u64,
        end: Option<u64>,
        known: &Version,
        idle: Duration,
    ) -> Result<Body, Setback> {
        let known = known.at(&self.place);
        let mut body = match &self.kind {
            Kind::Http { client, url } => {
                let answer = http::ask(client, url, (from, end), &known, idle).await?;
                Body::new(Pieces::Http(answer.response), answer.from, answer.version)
            }
            Kind::File(path) => {
                let file = File::open(path).await.map_err(|error| lost(&error))?;
                let inode = file.metadata().await.map_err(|error| lost(&error))?.ino();
                read(file, &inode.to_string(), from, &known).await?
            }
            // FAT has no inodes: it makes up new ones at each mount.
            Kind::Volume(volume) => {
                let volume = volume.clone();
                let (file, uuid) =
                    tokio::task::spawn_blocking(move || volume.open()).await.context("a thread died")??;
                read(File::from_std(file), &uuid, from, &known).await?
            }
            Kind::Object { bucket, path } => {
                let asked = object::ask(bucket, path, (from, end), &known);
                let asked = timeout(idle, asked).await;
                asked.unwrap_or_else(|_| Err(Setback::passing(format!("no answer for {} s", idle.as_secs()))))?
            }
        };
        body.version.place = Some(self.place.clone());
        Ok(body)
    }

    /// All of a small object.
    ///
    /// # Errors
    /// A setback in words that follow the name of the place.
    pub(super) async fn small(&self, limit: usize, idle: Duration) -> Result<Vec<u8>, Setback> {
        let mut body = self.ask(0, None, &Version::default(), idle).await?;
        let mut whole = Vec::new();
        while let Some(piece) = body.next(idle).await? {
            whole.extend_from_slice(&piece);
            if whole.len() > limit {
                return Err(Setback::unavailable(format!("it has more than {limit} bytes")));
            }
        }
        Ok(whole)
    }
}

/// A body that begins at the byte that was asked for, or at the first.
pub(super) struct Body {
    bytes: Pieces,
    /// What was taken and put back.
    back: Bytes,
    /// Byte of the object that it begins with.
    pub from: u64,
    /// Of which object.
    pub version: Version,
}

pub(super) enum Pieces {
    Http(Response),
    File(File),
    Object(BoxStream<'static, object_store::Result<Bytes>>),
}

impl Body {
    pub fn new(bytes: Pieces, from: u64, version: Version) -> Body {
        Body { bytes, back: Bytes::new(), from, version }
    }

    /// What comes next again.
    pub fn put_back(&mut self, piece: Bytes) {
        self.back = piece;
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// A setback that may pass: nothing for `idle`, or a broken connection.
    pub async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, Setback> {
        if !self.back.is_empty() {
            return Ok(Some(std::mem::take(&mut self.back)));
        }
        let next = async {
            match &mut self.bytes {
                Pieces::Http(response) => response.chunk().await.map_err(|e| Setback::passing(http::cause(&e))),
                Pieces::Object(stream) => match stream.next().await {
                    None => Ok(None),
                    Some(Ok(piece)) => Ok(Some(piece)),
                    Some(Err(error)) => Err(object::setback(&error)),
                },
                Pieces::File(file) => {
                    let mut piece = vec![0; PIECE];
                    let read = file.read(&mut piece).await.map_err(|error| lost(&error))?;
                    piece.truncate(read);
                    Ok((read > 0).then(|| piece.into()))
                }
            }
        };
        match timeout(idle, next).await {
            Ok(next) => next,
            Err(_) => Err(Setback::passing(format!("nothing came for {} s", idle.as_secs()))),
        }
    }
}

fn in_bucket(url: &Secret, access: &Access<'_>) -> Result<Kind> {
    let bad = |why: String| Exit::BadInput.because(format!("the snapshot's URL {why}"));
    let url = ObjectUrl::parse(url.reveal()).unwrap_or_else(|| Err("is none of a bucket".into())).map_err(bad)?;
    let entry = RestoreEntry::access(access.restore, access.store, &url);
    let bucket = store::bucket(&entry, access.paths, "restore")?;
    let path = ObjectPath::parse(url.key).map_err(|error| bad(format!("names no object: {error}")))?;
    Ok(Kind::Object { bucket, path })
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// A file, which is another one when its time, its length or what else tells it is.
async fn read(mut file: File, told_by: &str, from: u64, known: &Version) -> Result<Body, Setback> {
    let meta = file.metadata().await.map_err(|error| lost(&error))?;
    if !meta.is_file() {
        return Err(Setback::unavailable("it is not a file".into()));
    }
    let etag = format!("{}.{:09}-{}-{}", meta.mtime(), meta.mtime_nsec(), meta.len(), told_by);
    let same = known.etag.as_ref().is_none_or(|known| *known == etag) && from <= meta.len();
    let from = if same { from } else { 0 };
    file.seek(SeekFrom::Start(from)).await.map_err(|error| lost(&error))?;
    let version = Version { etag: Some(etag), total: Some(meta.len()), place: None };
    Ok(Body::new(Pieces::File(file), from, version))
}

fn lost(error: &std::io::Error) -> Setback {
    let hint = if error.kind() == ErrorKind::NotFound { "; is the medium attached and mounted?" } else { "" };
    Setback::Final(Unreached(format!("{error}{hint}")).into())
}
