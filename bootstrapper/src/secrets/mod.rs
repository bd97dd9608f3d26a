//! Where a value of the spec lies: inline, in a file of this host, in a systemd credential of the unit, or elsewhere.

mod near;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use plan::source::Source;
use plan::spec::{Secret, Sha256};
use reqwest::Url;
use ring::digest::{SHA256, digest};

pub use near::{Near, ca};

use crate::exit::{Exit, Failure};
use crate::metadata;
use crate::paths::Paths;
use crate::sys::{env, fs};

/// A PEM bundle of two certificates with all their text is far below this, and so is any key, bytes.
const LIMIT: u64 = 64 << 10;

/// What the names of the credentials begin with that `etcd-bootstrapper.service` imports.
pub const PREFIX: &str = "etcd-bootstrapper.";

/// Where files and credentials are.
pub struct Places<'a> {
    /// Of this host.
    pub paths: &'a Paths,
    /// systemd's directory of the unit's credentials.
    pub credentials: Option<PathBuf>,
}

impl<'a> Places<'a> {
    /// Those of this process.
    pub fn of(paths: &'a Paths) -> Places<'a> {
        Places { paths, credentials: env::var("CREDENTIALS_DIRECTORY").map(PathBuf::from) }
    }

    /// The value of `field`; a `private` one may not lie in a file that others can read.
    ///
    /// # Errors
    /// 65 for what is no value, 69 for a file or credential that is not there, 77 for a file that this user may not read
    /// or that others may. Every message names the field, and none the value.
    pub fn read(&self, source: &Source, field: &str, private: bool) -> Result<Secret> {
        let bad = |why: String| Exit::BadInput.because(format!("{field}: {why}"));
        match source {
            Source::Inline(text) => Ok(text.clone()),
            Source::File { file } if !file.starts_with('/') => Err(bad(format!("{file:?} is not an absolute path"))),
            Source::File { file } => read_file(&self.paths.host(file), field, private),
            Source::Url(remote) if !source.is_remote() => {
                let url = Url::parse(remote.url.reveal()).map_err(|error| bad(format!("the URL is none: {error}")))?;
                let path = url.to_file_path().map_err(|()| bad("the URL has a host: write file:///PATH".into()))?;
                let text = read_file(&self.paths.host(&path.to_string_lossy()), field, private)?;
                as_pinned(text, remote.sha256.as_ref(), field)
            }
            // Whoever needs it has it brought near first.
            Source::Url(_) | Source::Kept(_) => {
                Err(Exit::Unavailable.because(format!("{field} is kept elsewhere, and was not asked for")))
            }
            Source::Credential { credential } => {
                if credential.is_empty() || credential.starts_with('.') || credential.contains('/') {
                    let why = format!("{credential:?} is not the name of a credential: it has no / and no leading dot");
                    return Err(bad(why));
                }
                let path =
                    self.credentials.as_ref().map(|directory| directory.join(credential)).filter(|path| path.exists());
                // systemd alone writes there, so its modes are not ours to judge.
                if let Some(path) = path {
                    return read_file(&path, field, false);
                }
                metadata::handed(self.paths, credential)?.ok_or_else(|| {
                    Exit::Unavailable.because(format!(
                        "{field}: the credential {credential} was not delivered: give it to the machine as a system \
                         credential (SMBIOS, fw_cfg, the ESP) or put it into /etc/credstore, and boot; the image takes \
                         those whose name begins with {PREFIX}"
                    ))
                })
            }
        }
    }
}

/// A value that is small enough and has the sha256 that is written beside its URL.
///
/// # Errors
/// 65 for any other.
pub fn as_pinned(value: Secret, sha256: Option<&Sha256>, place: &str) -> Result<Secret> {
    let bad = |why: String| Exit::BadInput.because(format!("{place}: {why}"));
    let bytes = value.reveal().as_bytes();
    if bytes.len() as u64 > LIMIT {
        return Err(bad(format!("{} bytes are more than any secret has, {LIMIT}", bytes.len())));
    }
    let found: [u8; 32] = digest(&SHA256, bytes).as_ref().try_into().unwrap_or_default();
    match sha256 {
        Some(sha256) if *sha256 != Sha256::from(found) => {
            Err(bad("what lies there has another sha256 than the configuration says".into()))
        }
        Some(_) | None => Ok(value),
    }
}

/// The text of a file that holds the value of `field`.
///
/// # Errors
/// As [`Places::read`].
pub fn read_file(path: &Path, field: &str, private: bool) -> Result<Secret> {
    let text = if private { fs::read_private(path, LIMIT) } else { fs::read_text(path, LIMIT) };
    match text {
        Ok(Some(text)) => Ok(Secret::new(text)),
        Ok(None) => Err(Exit::Unavailable.because(format!("{field}: there is no {}: put it there", path.display()))),
        Err(error) => {
            let denied = error.chain().filter_map(|e| e.downcast_ref::<io::Error>());
            let denied = denied.map(io::Error::kind).any(|kind| kind == io::ErrorKind::PermissionDenied);
            let private = error.downcast_ref::<Failure>().map(|failure| failure.exit);
            let exit = private.unwrap_or(if denied { Exit::Permission } else { Exit::BadInput });
            Err(exit.because(format!("{field}: {error:#}")))
        }
    }
}
