//! What a data dir is: what lies in it held against what the journal says should.

use crate::facts::{DataDir, Database, Disk, Identity, Wal};
use crate::founding::Founding;
use crate::member::{ClusterId, MemberId};
use crate::place::{Kept, Place};
use crate::progress::{How, Life};

/// The class of a data dir, of DESIGN section 5; total.
///
/// `kept` is `identity.json`; its identity counts only where the journal holds nothing, since the journal is written first
/// and a stale identity of an archived member must not vouch for anything. Its place counts always: it is of the disk.
/// `here` is where the disk is now. What needs more than the data dir is not told here: [`DataDir::Missing`] and
/// [`DataDir::Newer`].
pub fn classify(disk: &Disk, life: &Life, kept: Option<&Kept>, here: &Place) -> DataDir {
    let class = by_content(disk, life, kept.map(|k| &k.identity));
    match class {
        // An archive that was begun is completed on a copy too, which makes it a blank disk with a nonce of its own.
        DataDir::Member(_)
        | DataDir::Founding { .. }
        | DataDir::Lost { .. }
        | DataDir::Orphan
        | DataDir::Damaged { .. } => {
            let copied = kept.filter(|_| life.archiving.is_none()).and_then(|kept| kept.copied_to(here));
            copied.unwrap_or(class)
        }
        // Who was removed has no second life, and what is blank or refused already needs no other word.
        DataDir::Removed { .. }
        | DataDir::Empty
        | DataDir::Aborted
        | DataDir::Missing { .. }
        | DataDir::Foreign { .. }
        | DataDir::Newer { .. }
        | DataDir::Locked => class,
    }
}

fn by_content(disk: &Disk, life: &Life, identity: Option<&Identity>) -> DataDir {
    if disk.locked {
        return DataDir::Locked;
    }
    // Old or new data lies here, or none for a moment; the next boot completes it before it looks.
    if let Some(recovering) = &life.recovering {
        return DataDir::Member(recovering.identity.clone());
    }
    if let Some((identity, evidence)) = &life.removed {
        return DataDir::Removed { identity: identity.clone(), evidence: evidence.clone() };
    }
    match &disk.wal {
        Wal::Broken { what } => DataDir::Damaged { what: what.clone() },
        Wal::Valid { member_id, cluster_id, last_index, commit, .. } => {
            let index = (*last_index).max(disk.snap_index.unwrap_or(0));
            with_log(disk, life, identity, (*member_id, *cluster_id), index, *commit > 0)
        }
        // Never begun again in another place: what it held, others were told.
        Wal::Missing { what } if life.is_bound() && life.archiving.is_none() => DataDir::Damaged { what: what.clone() },
        Wal::Absent | Wal::Missing { .. } => without_log(disk, life, identity),
    }
}

/// A readable log lies here: ours or not, and led or not.
fn with_log(
    disk: &Disk,
    life: &Life,
    identity: Option<&Identity>,
    (member_id, cluster_id): (MemberId, ClusterId),
    index: u64,
    begun: bool,
) -> DataDir {
    let found = format!("the log of member {member_id} of cluster {cluster_id}");
    let recorded = life.expected().or_else(|| identity.filter(|_| life.nonce.is_none()).cloned());
    let Some(expected) = recorded else {
        let expected = if life.nonce.is_some() {
            "nothing, since this life of the disk has committed and joined nothing"
        } else {
            "nothing: it is of a member nobody recorded"
        };
        return DataDir::Foreign { found, expected: expected.into(), copied: false };
    };
    if (expected.member_id, expected.cluster_id) != (member_id, cluster_id) {
        let expected = format!(
            "that of member {} ({}) of cluster {} ({})",
            expected.member_id, expected.name, expected.cluster_id, expected.cluster
        );
        return DataDir::Foreign { found, expected, copied: false };
    }
    let unled = unled(life, index);
    let lived = life.archiving.is_some() || life.lost || life.lived.is_some();
    match (&disk.database, unled) {
        // etcd makes its log durable before it writes who its members are, which commits them. Without that it has promised
        // nothing to anybody, and would wait for ever for a leader that tells it.
        (Database::Tiny | Database::Absent, Some(founding))
            if !begun && !lived && disk.snap_index.is_none() && founding.terms.snapshot.is_none() =>
        {
            DataDir::Founding { founding, wal: false }
        }
        (Database::Broken { what }, _) => DataDir::Damaged { what: format!("the database: {what}") },
        (Database::Tiny | Database::Sound, None) => DataDir::Member(expected),
        (Database::Tiny | Database::Sound, Some(founding)) => DataDir::Founding { founding, wal: true },
        // etcd makes the database of an empty founding again from the log, which starts at its first entry.
        (Database::Absent, Some(founding)) if founding.terms.snapshot.is_none() => {
            DataDir::Founding { founding, wal: true }
        }
        (Database::Absent, _) => DataDir::Damaged { what: "a write-ahead log without its database".into() },
    }
}

/// The committed founding whose log this is, when nothing in it or in the journal is from a leader.
fn unled(life: &Life, index: u64) -> Option<Founding> {
    if life.led || life.settled {
        return None;
    }
    match life.how {
        // A joiner's log begins with what the leader sent; a survivor's database is worth more than any founding.
        Some(How::Joined | How::Recovered) => None,
        Some(How::Founded | How::Restored) | None => {
            life.committed.clone().filter(|founding| index <= founding.founders.len() as u64)
        }
    }
}

/// No log lies here: nothing, the beginning of something, or the rest of something.
fn without_log(disk: &Disk, life: &Life, identity: Option<&Identity>) -> DataDir {
    match &disk.database {
        Database::Sound => return DataDir::Orphan,
        Database::Broken { what } => {
            return DataDir::Damaged { what: format!("the database, without a write-ahead log: {what}") };
        }
        Database::Tiny | Database::Absent => {}
    }
    let stale = identity.filter(|_| life.nonce.is_none());
    // The archive that was begun may have taken the log away already, and this nonce is over.
    if life.archiving.is_some() || life.lost || life.lived.is_some() || stale.is_some() {
        return DataDir::Lost { identity: life.lived.clone().or_else(|| life.expected()).or_else(|| stale.cloned()) };
    }
    if let Some(founding) = &life.committed {
        return DataDir::Founding { founding: founding.clone(), wal: false };
    }
    if let Some(index) = disk.snap_index {
        return DataDir::Damaged { what: format!("a raft snapshot of index {index} without a write-ahead log") };
    }
    if disk.member { DataDir::Aborted } else { DataDir::Empty }
}
