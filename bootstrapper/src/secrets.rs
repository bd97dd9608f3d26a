//! Where a value of the spec lies: inline, in a file of this host, or in a systemd credential of the unit.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use plan::document::Source;
use plan::spec::Secret;

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
