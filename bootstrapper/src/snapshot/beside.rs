//! What lies beside an object at its source: who signed it, and what it is of.

use std::time::Duration;

use anyhow::Result;
use minisign_verify::PublicKey;

use super::fetch::{Accept, Order};
use super::http::{Setback, Unreached};
use super::origin::Origin;
use super::patience::Patience;
use super::shelf::Shelf;
use super::signature::{self, Signed};
use super::verify::Unfit;
use crate::store::manifest::Manifest;
use crate::sys::fs;

/// The largest manifest, bytes.
const LIMIT: usize = 64 << 10;

/// Silence after which a manifest is done without.
const IDLE: Duration = Duration::from_secs(10);

/// The signature beside an object; it is kept on the shelf for those who take the object from here.
///
/// # Errors
/// When there is none of this key, or the source does not deliver it.
pub async fn signed(
    origin: &Origin,
    key: &PublicKey,
    shelf: Option<&Shelf>,
    (mut patience, idle): (Patience, Duration),
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<Signed> {
    let beside = origin.beside(".minisig");
    let file = loop {
        let (why, after) = match beside.small(signature::LIMIT, idle).await {
            Ok(file) => break file,
            Err(Setback::Final(error)) => {
                return Err(match error.downcast::<Unreached>() {
                    Ok(why) => unsigned(&beside, &why.to_string()),
                    Err(error) => error,
                });
            }
            Err(Setback::Passing { why, after }) => (why, after),
            Err(Setback::Restart { why }) => (why, None),
        };
        let Some(pause) = patience.pause(0, after) else { return Err(unsigned(&beside, &why)) };
        say(&why);
        tokio::time::sleep(pause).await;
    };
    let signed = Signed::parse(key, &file);
    let signed = signed.map_err(|what| Unfit::Unusable(format!("{} {what}", beside.place())))?;
    if let Some(shelf) = shelf {
        fs::write_atomic(&shelf.signature(), &file, 0o600, None)?;
    }
    Ok(signed)
}

fn unsigned(beside: &Origin, why: &str) -> anyhow::Error {
    Unreached(format!("it must be signed, and {} cannot be read: {why}", beside.place())).into()
}

/// The manifest beside an object, kept on the shelf; `None` where there is none of this very object.
///
/// # Errors
/// Those of `accept`, and of the disk.
pub async fn manifest(origin: &Origin, order: &Order<'_>, accept: &Accept<'_>) -> Result<Option<Manifest>> {
    let beside = origin.manifest();
    let Ok(file) = beside.small(LIMIT, order.idle.min(IDLE)).await else { return Ok(None) };
    let manifest = match Manifest::parse(&file) {
        Ok(manifest) => manifest,
        Err(what) => {
            tracing::warn!("{} is not used: it {what}", beside.place());
            return Ok(None);
        }
    };
    if order.sha256.is_some_and(|sha256| *sha256 != manifest.sha256) {
        tracing::debug!("{} is of another object", beside.place());
        return Ok(None);
    }
    accept(&manifest)?;
    if let Some(shelf) = &order.shelf {
        fs::write_atomic(&shelf.manifest(), &file, 0o600, None)?;
    }
    Ok(Some(manifest))
}
