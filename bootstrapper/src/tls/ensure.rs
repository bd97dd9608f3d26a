//! This host's leaves on disk: made when missing, made anew when they no longer fit, else left alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plan::facts::Seconds;
use plan::spec::Timestamp;
use rcgen::{KeyPair, PublicKeyData};

use super::ca::{CaMaterial, PEM_LIMIT};
use super::certificate::Certificate;
use super::names::Names;
use super::{issue, pem, seal, verify};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::sys::fs::{self, Owner};

/// How far an end may lie beyond now + validity before it counts as made without a clock, seconds.
const SLACK: u64 = 24 * 3600;

/// A renewal that gains less than this is not worth one, seconds: the CA's end is near.
const WORTHWHILE: u64 = 3600;

/// One of this host's three certificates.
pub struct Leaf {
    /// `server`, `peer` or `client`: the name of its files.
    pub file: &'static str,
    /// Whether etcd serves with it, so that it carries names and belongs to etcd.
    pub server: bool,
}

/// What etcd serves clients with, what it serves and asks members with, and what this program asks with.
pub const LEAVES: [Leaf; 3] = [
    Leaf { file: "server", server: true },
    Leaf { file: "peer", server: true },
    Leaf { file: "client", server: false },
];

/// CN of the client certificate that this program asks members with.
pub const CLIENT_NAME: &str = "etcd-bootstrapper";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Each leaf that was issued, and why: `server` and `it is missing`.
    pub issued: Vec<(&'static str, String)>,
    /// When the first leaf ends.
    pub first_end: Option<Seconds>,
    /// When the first leaf is due to be renewed.
    pub next_due: Option<Seconds>,
}

/// Makes `pki/` hold the CA and this host's leaves; a second call finds nothing to do.
///
/// etcd's user owns the keys that etcd reads; this program's own key and the CA's stay with root. A leaf that is made
/// anew for its age keeps its key, so that one rename replaces it under a running etcd, which reads it again at the next connection.
///
/// # Errors
/// When the CA cannot issue, or anything cannot be written.
pub fn ensure(
    paths: &Paths,
    ca: &CaMaterial,
    names: &Names,
    now: Option<Seconds>,
    owner: Option<Owner>,
) -> Result<Outcome> {
    let pki = Pki { dir: paths.pki(), owner };
    let root = owner.map(|_| Owner { uid: 0, gid: 0 });
    pki.make_dir()?;
    seal::keep(paths, ca.issuer.key(), root)?;
    pki.put("ca.crt", &ca.bundle(), 0o644, root)?;
    pki.put("names.json", &serde_json::to_string(names).context("cannot write down the names")?, 0o600, root)?;
    let issuing = &ca.certificates[0];
    let (mut issued, mut ends, mut due) = (Vec::new(), Vec::new(), Vec::new());
    for leaf in &LEAVES {
        let old = old_leaf(&pki.dir, leaf);
        let reason = match &old {
            Err(why) => Some(why.clone()),
            Ok((certificate, _)) => {
                misfit(leaf, certificate, issuing, names).or_else(|| aged(certificate, issuing, names, now))
            }
        };
        let (certificate, key) = match (old, reason) {
            (Ok(old), None) => old,
            (old, reason) => {
                // A CA is changed for a reason, which may be that keys were seen; age alone is none.
                let kept =
                    old.ok().filter(|(c, _)| verify::issued_by(c, &ca.certificates[0]).is_ok()).map(|(_, key)| key);
                let key = kept.map_or_else(issue::new_key, Ok)?;
                issued.push((leaf.file, reason.unwrap_or_default()));
                (issue::leaf(ca, &key, request(leaf, names), now)?, key)
            }
        };
        let owner = if leaf.server { owner } else { root };
        // Power lost between the two leaves a pair that does not match, which the next call makes anew.
        pki.put(&format!("{}.key", leaf.file), &key.serialize_pem(), 0o600, owner)?;
        pki.put(&format!("{}.crt", leaf.file), &certificate.pem(), 0o644, root)?;
        ends.push(certificate.not_after);
        due.extend(due_at(&certificate, issuing));
    }
    Ok(Outcome { issued, first_end: ends.into_iter().min(), next_due: due.into_iter().min() })
}

/// Whether the leaves of an earlier boot will do as they are, by the certificate of their CA alone.
pub fn fit(paths: &Paths, names: &Names, now: Option<Seconds>) -> bool {
    let pki = paths.pki();
    let text = fs::read_text(&pki.join("ca.crt"), PEM_LIMIT).ok().flatten();
    let first = text.and_then(|text| pem::certificates(&text).ok()?.into_iter().next());
    let Some(ca) = first.and_then(|der| Certificate::read(der).ok()) else { return false };
    LEAVES.iter().all(|leaf| {
        old_leaf(&pki, leaf).is_ok_and(|(certificate, _)| {
            misfit(leaf, &certificate, &ca, names).is_none() && aged(&certificate, &ca, names, now).is_none()
        })
    })
}

/// Renews what is due with the names that `pki/` kept and the CA that is given, or the one kept beside them.
///
/// # Errors
/// 75 when the CA cannot be used, with the date by which it must be.
pub fn renew(paths: &Paths, given: Option<CaMaterial>, now: Option<Seconds>) -> Result<Outcome> {
    let pki = paths.pki();
    let result = (|| {
        let names = names(paths)?.with_context(|| format!("there is no {}", pki.join("names.json").display()))?;
        let ca = given.map_or_else(|| super::ca::stored(paths, now), Ok)?;
        // Who etcd is on this host, the boot found out; the keys that it gave to etcd tell.
        let given = ["server.key", "peer.key"].iter().find_map(|key| fs::owner_of(&pki.join(key)));
        let etcd = given.filter(|_| is_root());
        ensure(paths, &ca, &names, now, etcd)
    })();
    result.map_err(|error| {
        let ends = LEAVES.iter().filter_map(|leaf| read_certificate(&pki, leaf).ok()).map(|c| c.not_after).min();
        let urgent = match ends {
            Some(end) => {
                format!("this host's first certificate ends on {}, and etcd stops being reached then", Timestamp(end))
            }
            None => "this host has no certificate that can be read".into(),
        };
        Exit::TryAgain.because(format!(
            "cannot renew certificates: {error:#}. {urgent}; a reboot with the CA in the spec heals this"
        ))
    })
}

/// The names that [`ensure`] wrote down; `None` before the first time.
///
/// # Errors
/// When the file is damaged.
pub fn names(paths: &Paths) -> Result<Option<Names>> {
    let path = paths.pki().join("names.json");
    let Some(text) = fs::read_text(&path, PEM_LIMIT)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).with_context(|| format!("{} is damaged", path.display()))
}

/// The certificate of a leaf as it is on disk.
///
/// # Errors
/// A sentence about it, beginning with `it`.
pub fn read_certificate(pki: &Path, leaf: &Leaf) -> Result<Certificate, String> {
    let path = pki.join(format!("{}.crt", leaf.file));
    let text = fs::read_text(&path, PEM_LIMIT).map_err(|e| format!("it cannot be read: {e:#}"))?;
    let ders = pem::certificates(&text.ok_or("it is missing")?).map_err(|why| format!("it {why}"))?;
    let first = ders.into_iter().next().ok_or("it is empty")?;
    Certificate::read(first).map_err(|why| format!("it {why}"))
}

fn old_leaf(pki: &Path, leaf: &Leaf) -> Result<(Certificate, KeyPair), String> {
    let certificate = read_certificate(pki, leaf)?;
    let text = fs::read_text(&pki.join(format!("{}.key", leaf.file)), PEM_LIMIT);
    let text = text.map_err(|e| format!("its key cannot be read: {e:#}"))?.ok_or("its key is missing")?;
    let key = pem::key(&text).map_err(|why| format!("its key {why}"))?;
    if certificate.public_key == key.der_bytes() { Ok((certificate, key)) } else { Err("its key is another's".into()) }
}

fn request<'a>(leaf: &Leaf, names: &'a Names) -> issue::Request<'a> {
    issue::Request {
        name: (if leaf.server { names.member.as_str() } else { CLIENT_NAME }, None),
        sans: if leaf.server { names.sans().into_iter().collect() } else { Vec::new() },
        server: leaf.server,
        validity: names.validity,
    }
}

/// Why a leaf cannot go on, whatever its age.
fn misfit(leaf: &Leaf, certificate: &Certificate, ca: &Certificate, names: &Names) -> Option<String> {
    if certificate.issuer != ca.subject {
        return Some("another CA issued it".into());
    }
    if let Err(why) = verify::issued_by(certificate, ca) {
        return Some(format!("the CA did not issue it so that members accept it: {why}"));
    }
    if !certificate.client || (leaf.server && !certificate.server) {
        return Some("its extended key usage is not what etcd needs".into());
    }
    let wanted = if leaf.server { names.sans() } else { BTreeSet::new() };
    let lacking: Vec<&String> = wanted.difference(&certificate.sans).collect();
    (!lacking.is_empty()).then(|| {
        let lacking: Vec<&str> = lacking.into_iter().map(String::as_str).collect();
        format!("it lacks the name {}", lacking.join(", "))
    })
}

fn aged(certificate: &Certificate, ca: &Certificate, names: &Names, now: Option<Seconds>) -> Option<String> {
    let now = now?;
    let (start, end) = (certificate.not_before, certificate.not_after);
    if now > end {
        Some(format!("it expired on {}", Timestamp(end)))
    } else if now < start {
        Some(format!("it is not valid before {}: the clock was ahead when it was made", Timestamp(start)))
    } else if end.0 > now.0.saturating_add(names.validity).saturating_add(SLACK) {
        Some(format!("it is valid until {}, longer than asked for", Timestamp(end)))
    } else {
        let due = due_at(certificate, ca)?;
        (now >= due).then(|| format!("it is past two thirds of its life, which ends on {}", Timestamp(end)))
    }
}

/// Two thirds into a leaf's life; `None` when its CA ends with it, as a new one would end no later.
fn due_at(certificate: &Certificate, ca: &Certificate) -> Option<Seconds> {
    let (start, end) = (certificate.not_before.0, certificate.not_after.0);
    (end.saturating_add(WORTHWHILE) < ca.not_after.0).then(|| Seconds(start + (end - start) / 3 * 2))
}

struct Pki {
    dir: PathBuf,
    owner: Option<Owner>,
}

impl Pki {
    /// etcd's group may enter, as etcd reads its keys there; nobody else may.
    fn make_dir(&self) -> Result<()> {
        let owner = self.owner.map(|o| Owner { uid: 0, gid: o.gid });
        fs::create_dir(&self.dir, if owner.is_some() { 0o750 } else { 0o700 }, owner)
    }

    fn put(&self, file: &str, text: &str, mode: u32, owner: Option<Owner>) -> Result<()> {
        let path = self.dir.join(file);
        if fs::is_already(&path, text.as_bytes(), mode, owner) {
            return Ok(());
        }
        fs::write_atomic(&path, text.as_bytes(), mode, owner)
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
