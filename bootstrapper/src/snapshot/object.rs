//! One request for an object in a bucket, and what a store can answer to it.

use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore};

use super::http::Setback;
use super::origin::{Body, Pieces};
use super::sidecar::Version;
use crate::store::{self, Trouble};

/// Asks for the bytes from `from` on of the object that `known` tells, up to the byte `end` where one is given.
///
/// # Errors
/// A setback in words that follow the name of the place.
pub async fn ask(
    bucket: &dyn ObjectStore,
    path: &Path,
    (from, end): (u64, Option<u64>),
    known: &Version,
) -> Result<Body, Setback> {
    let mut options = GetOptions::default();
    if from > 0 {
        options.range = Some(end.map_or(GetRange::Offset(from), |end| GetRange::Bounded(from..end)));
        options.if_match = known.etag.clone().filter(|etag| !etag.starts_with("W/"));
    }
    let found = match bucket.get_opts(path, options).await {
        Ok(found) => found,
        // Behind the end of a shorter object: the status is all that tells.
        Err(Error::Precondition { .. }) => return Err(changed()),
        Err(error) if from > 0 && error.to_string().contains("416") => return Err(changed()),
        Err(error) => return Err(setback(&error)),
    };
    let (total, etag, range) = (found.meta.size, found.meta.e_tag.clone(), found.range.clone());
    if range.start != from || known.etag.as_ref().is_some_and(|known| etag.as_ref().is_some_and(|etag| etag != known)) {
        return Err(changed());
    }
    if let Some(before) = known.total.filter(|before| *before != total) {
        return Err(Setback::Restart { why: format!("the object had {before} bytes and has {total} now") });
    }
    let version = Version { etag, total: Some(total), place: None };
    Ok(Body::new(Pieces::Object(found.into_stream()), from, version))
}

fn changed() -> Setback {
    Setback::Restart { why: "the object changed while it was downloaded".into() }
}

/// Why a bucket did not deliver.
pub fn setback(error: &Error) -> Setback {
    match store::trouble_of(error, "it cannot be read") {
        Trouble::Absent => Setback::unavailable("it has no such object; check bucket and key".into()),
        Trouble::Conflict => changed(),
        Trouble::Denied(why) | Trouble::Unfit(why) => Setback::unavailable(why),
        Trouble::Unreached(why) => Setback::passing(why),
    }
}
