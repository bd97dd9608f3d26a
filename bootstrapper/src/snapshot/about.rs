//! What the manifest beside a snapshot says of it, held against what is wanted and what came.

use plan::facts::Seconds;
use plan::member::ClusterName;

use super::verify::{Summary, Unfit};
use crate::exit::Exit;
use crate::store::manifest::Manifest;

/// Whether a snapshot of this cluster is wanted here: of our own, or of the one that `restore.from_cluster` names.
///
/// # Errors
/// 78, naming both.
pub fn wanted(manifest: &Manifest, cluster: &ClusterName, from: Option<&ClusterName>) -> anyhow::Result<()> {
    let (theirs, wanted) = (&manifest.cluster_name, from.unwrap_or(cluster));
    if theirs == wanted {
        return Ok(());
    }
    Err(Exit::Refused.because(format!(
        "the snapshot is of cluster {theirs}, and one of {wanted} is wanted here: write `from_cluster: {theirs}` below \
         `restore` if another cluster's data is meant, else name another snapshot"
    )))
}

/// Whether what came is what the manifest says.
///
/// # Errors
/// [`Unfit::Unusable`] with the first difference.
pub fn agrees(manifest: &Manifest, summary: &Summary) -> Result<(), Unfit> {
    let differs = |what: &str, says: &dyn std::fmt::Display, holds: &dyn std::fmt::Display| {
        Err(Unfit::Unusable(format!(
            "its manifest says {what} {says}, and it has {holds}: one of both is not of this backup"
        )))
    };
    match summary.revision {
        // A last revision that was a deletion and is compacted leaves no key behind.
        Some(revision) if revision > manifest.revision => return differs("revision", &manifest.revision, &revision),
        Some(_) | None => {}
    }
    if summary.sha256_db != manifest.sha256_db {
        return differs("sha256_db", &manifest.sha256_db.as_str(), &summary.sha256_db.as_str());
    }
    for (what, says, holds) in
        [("db_bytes", manifest.db_bytes, summary.bytes), ("object_bytes", manifest.object_bytes, summary.object_bytes)]
    {
        if says != holds {
            return differs(what, &says, &holds);
        }
    }
    Ok(())
}

/// What will be lost by restoring it, for a person: of which cluster, how old in time and in revisions.
pub fn told(manifest: Option<&Manifest>, summary: &Summary, now: Option<Seconds>, newest: Option<&Manifest>) -> String {
    let revision = summary.revision.map_or(String::new(), |revision| format!(" at revision {revision}"));
    let Some(manifest) = manifest else {
        return format!(
            "the snapshot is of a cluster{revision}; no manifest beside it says of which, and how old it is"
        );
    };
    let age = match now.map(|now| now.0.checked_sub(manifest.created_at.0.0)) {
        Some(Some(seconds)) => format!(", {} ago", span(seconds)),
        Some(None) | None => String::new(),
    };
    let newer = newest.filter(|newest| newest.sha256 != manifest.sha256);
    let newer = newer.map_or(String::new(), |newest| {
        let revisions = newest.revision.saturating_sub(manifest.revision);
        let later = span(newest.created_at.0.0.saturating_sub(manifest.created_at.0.0));
        format!("; the newest one in the store is {revisions} revisions and {later} newer")
    });
    format!(
        "the snapshot is of cluster {}{revision}, taken by {} (etcd {}) at {}{age}; what was written since is lost{newer}",
        manifest.cluster_name, manifest.member, manifest.etcd_version, manifest.created_at
    )
}

/// `3 d 4 h`, `2 h 5 min`, `40 s`.
fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_by_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_660, "1 h 1 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
