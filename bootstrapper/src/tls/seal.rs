//! The CA's key at rest: sealed to this machine where systemd can do that, else for root's eyes alone.
//!
//! Only renewal reads it, so a machine whose seal does not open any more — another system disk, another TPM — starts as
//! ever, and seals anew at the next boot that has the CA from its configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use plan::spec::Secret;
use rcgen::{KeyPair, PublicKeyData};
use ring::digest::{SHA256, digest};

use super::ca::PEM_LIMIT;
use super::pem;
use crate::exit::Exit;
use crate::paths::Paths;
use crate::secrets::read_file;
use crate::sys::fs::{self, Owner};
use crate::sys::process::{Program, pipe};

/// systemd-creds(1).
const PROGRAM: &str = "/usr/bin/systemd-creds";

/// A TPM takes about a second for either; a broken one must not keep etcd from starting.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The two files that the key may lie in, and the one that says that the second cannot be opened.
struct Files {
    plain: PathBuf,
    sealed: PathBuf,
    stuck: PathBuf,
}

impl Files {
    fn of(paths: &Paths) -> Files {
        let file = |name: &str| paths.pki().join(name);
        Files { plain: file("ca.key"), sealed: file("ca.key.sealed"), stuck: file("ca.key.stuck") }
    }
}

/// Whether this machine has what seals: TPM or host key, which `systemd-creds` makes where it may.
fn can(paths: &Paths) -> bool {
    let own = paths.root() == Path::new("/") || paths.host("/var/lib/systemd/credential.secret").exists();
    own && Path::new(PROGRAM).exists()
}

/// Keeps the key of a CA for renewal, in the clear unless it is sealed already; sealing it takes longer than a boot should.
///
/// # Errors
/// When it cannot be written.
pub(super) fn keep(paths: &Paths, key: &KeyPair, owner: Option<Owner>) -> Result<()> {
    let files = Files::of(paths);
    if there(&files).is_some_and(|(of, _)| of == hash(key)) && !files.stuck.exists() {
        return fs::remove(&files.plain);
    }
    let text = key.serialize_pem();
    if fs::is_already(&files.plain, text.as_bytes(), 0o600, owner) {
        return Ok(());
    }
    fs::write_atomic(&files.plain, text.as_bytes(), 0o600, owner)
}

/// Seals the key that is kept in the clear, where this machine can; then nothing is left of it in the clear.
///
/// # Errors
/// When it cannot be sealed; it is then where it was.
pub fn seal_ca_key(paths: &Paths) -> Result<()> {
    let files = Files::of(paths);
    if !can(paths) || !files.plain.exists() {
        return Ok(());
    }
    let field = files.plain.display().to_string();
    let text = read_file(&files.plain, &field, true)?;
    let key = pem::key(text.reveal()).map_err(|why| Exit::BadInput.because(format!("{field}: {why}")))?;
    let sealed = sealed(text.reveal())?;
    fs::write_atomic(&files.sealed, format!("{}\n{sealed}", hash(&key)).as_bytes(), 0o600, None)?;
    fs::remove(&files.stuck)?;
    fs::remove(&files.plain)
}

/// By which a sealed key is known without opening it.
fn hash(key: &KeyPair) -> String {
    digest(&SHA256, key.der_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// The key that was kept, and the file that it is in.
///
/// # Errors
/// 69 when there is none, 75 when its seal does not open here, 77 when others can read it.
pub(super) fn kept(paths: &Paths) -> Result<(Secret, String)> {
    let files = Files::of(paths);
    let seal = if files.plain.exists() { None } else { there(&files) };
    let Some((_, text)) = seal else {
        let field = files.plain.display().to_string();
        return Ok((read_file(&files.plain, &field, true)?, field));
    };
    let field = files.sealed.display().to_string();
    match opened(&text) {
        Ok(key) => Ok((key, field)),
        Err(error) => {
            // Whoever has the key next seals it anew.
            if let Err(error) = fs::write_atomic(&files.stuck, b"", 0o600, None) {
                tracing::warn!("{error:#}");
            }
            Err(Exit::TryAgain
                .because(format!("{field} was sealed to another machine, or its TPM has changed: {error:#}")))
        }
    }
}

/// Hash of the public key, and what is sealed.
fn there(files: &Files) -> Option<(String, String)> {
    let text = fs::read_text(&files.sealed, 4 * PEM_LIMIT).ok()??;
    let (of, sealed) = text.split_once('\n')?;
    Some((of.to_owned(), sealed.to_owned()))
}

/// Seals, and opens once: what cannot be opened must not take the place of what can be read.
fn sealed(key: &str) -> Result<String> {
    let text = creds("encrypt", &["--with-key=auto"], key.as_bytes())?;
    if opened(&text)?.reveal() != key {
        anyhow::bail!("{PROGRAM} does not give back what it was given");
    }
    Ok(text)
}

fn opened(text: &str) -> Result<Secret> {
    creds("decrypt", &[], text.as_bytes()).map(Secret::new)
}

fn creds(verb: &str, further: &[&str], input: &[u8]) -> Result<String> {
    let mut arguments = vec![verb.to_owned(), "--name=etcd-bootstrapper-ca-key".to_owned()];
    arguments.extend(further.iter().map(|argument| (*argument).to_owned()));
    arguments.extend(["-".to_owned(), "-".to_owned()]);
    let output = pipe(Program { program: PROGRAM, arguments, owner: None, timeout: TIMEOUT }, input)?;
    // The bytes may be a key, so the error does not have them.
    String::from_utf8(output).ok().with_context(|| format!("{PROGRAM} {verb} gives what is no text"))
}
