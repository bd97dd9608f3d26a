//! What the claim in the store means for a founding: its generation, its set, and rows 20, 22, 23 and 28 of the table.

use crate::decide::{label, nonce_gone, others, proceed, refuse, terminated, wait};
use crate::decision::{Aim, Code, Decided, Step, short};
use crate::facts::{Claim, ClaimState, Claims, DataDir, Facts};
use crate::founding::{Founder, Founding};
use crate::joining::{commit, ours};
use crate::spec::{OnTotalLoss, Set, Sha256, Spec};

/// The claim, unless it is of an older epoch: raising the epoch is the operator's word to found anew.
fn claim<'f>(spec: &Spec, facts: &'f Facts) -> Option<&'f Claim> {
    of_any_epoch(spec, facts).filter(|c| c.epoch >= spec.epoch)
}

/// The claim. While it is committing, a raised epoch does not matter: somebody may have committed what it says, and would
/// pull others out of any later founding.
fn of_any_epoch<'f>(spec: &Spec, facts: &'f Facts) -> Option<&'f Claim> {
    match &facts.claim {
        Claims::Read { claim, .. } => claim.as_ref().filter(|_| spec.store.is_some()),
        Claims::NoStore | Claims::Unreachable { .. } | Claims::Unusable { .. } => None,
    }
}

/// Row 19 where the store that the spec names says nothing that can be followed.
pub(crate) fn unread(spec: &Spec, facts: &Facts) -> Option<Decided> {
    let silent = |reason: &str| {
        let why = "the store cannot be read, so nobody knows whether the cluster was founded";
        Some(wait(19, why, vec![reason.to_owned()], "the store answers"))
    };
    match &facts.claim {
        _ if spec.store.is_none() => None,
        Claims::Unreachable { reason } => silent(reason),
        Claims::NoStore => silent("it was not asked yet"),
        Claims::Unusable { reason } => {
            let hint = "give this cluster a prefix of its own in `store.url`, or repair what lies there; nothing is \
                        founded over it";
            Some(refuse(19, Code::StoreUnusable, format!("the store cannot be used: {reason}"), hint))
        }
        Claims::Read { .. } => None,
    }
}

/// The step that makes this founding's claim, against the one that was read.
pub(crate) fn step(facts: &Facts, to: ClaimState, founding: &Founding) -> Step {
    let read = match &facts.claim {
        Claims::Read { claim, .. } => claim.clone().map(Box::new),
        Claims::NoStore | Claims::Unreachable { .. } | Claims::Unusable { .. } => None,
    };
    Step::Claim { to, founding: founding.clone(), read }
}

/// The generation that would be founded now, and the snapshot it restores.
pub(crate) fn generation(spec: &Spec, facts: &Facts) -> (u32, Option<Sha256>) {
    match claim(spec, facts) {
        None => (1, spec.restore.clone()),
        Some(claim) => match claim.state {
            ClaimState::Founded => match after_total_loss(spec, facts) {
                Some(snapshot) => (claim.generation + 1, Some(snapshot)),
                None => (claim.generation, spec.restore.clone()),
            },
            // A later generation restores what its claim pins, whatever the newest snapshot is by now.
            ClaimState::Founding | ClaimState::Committing if claim.generation > 1 => {
                (claim.generation, claim.founding.terms.snapshot.clone())
            }
            ClaimState::Founding | ClaimState::Committing => (claim.generation, spec.restore.clone()),
        },
    }
}

/// What the store proves of those who say nothing.
pub(crate) enum Proof {
    /// There is a claim of this epoch and nothing was committed for it: nobody has founded.
    Unfounded,
    /// There is none: the cluster may be older than its store.
    NoClaim,
    /// The store was not read, or its claim says more.
    Nothing,
}

/// What the store proves of those who say nothing.
pub(crate) fn proof(spec: &Spec, facts: &Facts) -> Proof {
    match &facts.claim {
        Claims::Read { .. } if spec.store.is_some() => {}
        Claims::Read { .. } | Claims::NoStore | Claims::Unreachable { .. } | Claims::Unusable { .. } => {
            return Proof::Nothing;
        }
    }
    match of_any_epoch(spec, facts) {
        None => Proof::NoClaim,
        Some(claim) if claim.state == ClaimState::Founding && claim.epoch == spec.epoch => Proof::Unfounded,
        Some(_) => Proof::Nothing,
    }
}

/// The founding whose members are the set, while a claim is under way that has this host and a majority in it.
pub(crate) fn under_way<'f>(spec: &Spec, facts: &'f Facts) -> Option<&'f Founding> {
    by_majority(spec, facts).filter(|founding| is_of(facts, founding))
}

/// Row 20 where the claim under way has a majority of the list in it, and not this host: it was missing when they went on.
///
/// Of two majorities one always has somebody of the other, so that those in the claim can end any wait for one of them.
pub(crate) fn left_out(spec: &Spec, facts: &Facts) -> Option<Decided> {
    let founding = by_majority(spec, facts).filter(|founding| !is_of(facts, founding))?;
    let others = others(spec, facts);
    let listed = |f: &Founder| others.iter().any(|(name, url)| *name == f.name && *url == f.peer_url);
    let why = "the store's claim is for a founding without this host, which was not heard when it was made";
    let until = "their cluster answers, and this host joins it";
    let who = || founding.founders.iter().map(place).collect();
    founding.founders.iter().all(listed).then(|| wait(20, why, who(), until))
}

fn is_of(facts: &Facts, founding: &Founding) -> bool {
    founding.founders.iter().any(|f| f.name == facts.me.name && f.peer_url == facts.me.peer_url)
}

/// What the claim says is under way, by a majority of which nobody is gone for good or out of the list.
///
/// One that is committing may have been committed, and others may have joined its cluster: where its disks are gone,
/// everybody is asked and not only whom it names.
fn by_majority<'f>(spec: &Spec, facts: &'f Facts) -> Option<&'f Founding> {
    let claim = claim(spec, facts)?;
    let under_way = match claim.state {
        ClaimState::Founding => claim.epoch == spec.epoch,
        ClaimState::Committing | ClaimState::Founded => false,
    };
    let founders = &claim.founding.founders;
    let majority = founders.len() > usize::from(spec.size) / 2;
    let wanted = |f: &Founder| match &spec.set {
        Set::Static(peers) => peers.iter().any(|p| p.name == f.name && p.peer_url == f.peer_url),
        Set::Dynamic => !terminated(facts, &f.name),
    };
    (under_way && majority && founders.iter().all(wanted)).then_some(&claim.founding)
}

/// Row 28, or 23, for a founding that this nonce readied and that the store says is committing.
///
/// It comes before rows 19 to 25, as row 8 does: all were ready when the claim was swapped, so there is nobody to ask.
pub(crate) fn committing(spec: &Spec, facts: &Facts) -> Option<Decided> {
    let founding = match of_any_epoch(spec, facts)? {
        Claim { state: ClaimState::Committing, founding, .. } => founding,
        Claim { state: ClaimState::Founding | ClaimState::Founded, .. } => return None,
    };
    if facts.journal.spent || !facts.journal.readied.contains(founding) || !ours(facts, founding) {
        return None;
    }
    if left(facts, &founding.founders).len() < founding.quorum() {
        let why = format!("founding {} is committing in the store and can have no quorum", short(&founding.id()));
        let step = Step::Archive { why, removed: None, only_unled: true, lost: false };
        return Some(proceed(23, Aim::Archive, vec![step]));
    }
    Some(proceed(28, Aim::Found, commit(facts, founding)))
}

/// Rows 22 and 23.
pub(crate) fn claimed(spec: &Spec, facts: &Facts) -> Option<Decided> {
    let claim = of_any_epoch(spec, facts)?;
    let (newer, older) = (claim.epoch > spec.epoch, claim.epoch < spec.epoch);
    match claim.state {
        ClaimState::Founding | ClaimState::Founded if older => None,
        ClaimState::Founded if newer => Some(newer_epoch(22, spec, claim)),
        ClaimState::Founding | ClaimState::Committing if newer => Some(newer_epoch(23, spec, claim)),
        ClaimState::Founded => founded(spec, facts, claim),
        ClaimState::Committing => {
            let left: Vec<String> = left(facts, &claim.founding.founders).into_iter().map(place).collect();
            let why = "the store says that another founding is committing";
            // Beside snapshots a claim that is gone is a refusal.
            let until = if claim.generation == 1 {
                "its cluster answers, its disks are proven gone, or an operator who knows that none of them has started \
                 removes claim.json from the store"
            } else {
                "its cluster answers, or its disks are proven gone"
            };
            (!left.is_empty()).then(|| wait(23, why, left, until))
        }
        ClaimState::Founding => None,
    }
}

fn newer_epoch(row: u8, spec: &Spec, claim: &Claim) -> Decided {
    let why =
        format!("the store knows epoch {} of this cluster, and cluster.epoch here is {}", claim.epoch, spec.epoch);
    wait(row, &why, vec![], "its cluster answers, or this host is given the spec of that epoch")
}

/// Row 22.
fn founded(spec: &Spec, facts: &Facts, claim: &Claim) -> Option<Decided> {
    if after_total_loss(spec, facts).is_some() {
        return None;
    }
    let left: Vec<String> =
        left(facts, &claim.voters).into_iter().map(|f| format!("{}: not proven gone", place(f))).collect();
    if !left.is_empty() {
        let why = "the store says that this cluster was founded, and its disks may still be there";
        return Some(wait(22, why, left, "they come back, or are proven gone"));
    }
    let sentence = format!("cluster {} was founded, and every disk of it is gone", spec.cluster);
    Some(refuse(22, Code::TotalLoss, sentence, remedy(spec)))
}

fn remedy(spec: &Spec) -> &'static str {
    match spec.store.as_ref().map(|s| s.on_total_loss) {
        Some(OnTotalLoss::Restore) => {
            "the store has no verified snapshot of this epoch: give the spec a `restore` of an earlier one, and raise \
             `cluster.epoch` where that was restored before"
        }
        Some(OnTotalLoss::Wait) | None => "write `store.on_total_loss: restore`, or give the spec a `restore`",
    }
}

/// What to do where row 22 would refuse once everybody is heard; who has refused does not answer any more.
pub(crate) fn refuses_after_loss(spec: &Spec, facts: &Facts) -> Option<&'static str> {
    let claim = claim(spec, facts).filter(|claim| claim.state == ClaimState::Founded)?;
    let restores = newer_restore(spec, claim).is_some() || newest_snapshot(spec, facts).is_some();
    (!restores).then(|| remedy(spec))
}

/// Whether row 22 leads, or led those before us, to a founding that follows a total loss.
pub(crate) fn follows_total_loss(spec: &Spec, facts: &Facts) -> bool {
    let begun = claim(spec, facts).is_some_and(|c| match c.state {
        ClaimState::Founding | ClaimState::Committing => c.epoch == spec.epoch && c.generation > 1,
        ClaimState::Founded => false,
    });
    begun || after_total_loss(spec, facts).is_some()
}

/// The snapshot that the next generation restores, when the founded one is lost and somebody said that it be followed.
fn after_total_loss(spec: &Spec, facts: &Facts) -> Option<Sha256> {
    let claim = match claim(spec, facts)? {
        claim @ Claim { state: ClaimState::Founded, .. } if claim.epoch == spec.epoch => claim,
        Claim { .. } => return None,
    };
    if !left(facts, &claim.voters).is_empty() {
        return None;
    }
    newer_restore(spec, claim).or_else(|| newest_snapshot(spec, facts)).cloned()
}

/// The `restore` of the spec, unless it is what the cluster that is lost was founded from.
fn newer_restore<'s>(spec: &'s Spec, lost: &Claim) -> Option<&'s Sha256> {
    spec.restore.as_ref().filter(|snapshot| lost.founding.terms.snapshot.as_ref() != Some(snapshot))
}

/// The store's newest snapshot, where the spec says that it follows a total loss.
fn newest_snapshot<'f>(spec: &Spec, facts: &'f Facts) -> Option<&'f Sha256> {
    match spec.store.as_ref()?.on_total_loss {
        OnTotalLoss::Wait => None,
        OnTotalLoss::Restore => match &facts.claim {
            Claims::Read { newest_snapshot, .. } => newest_snapshot.as_ref(),
            Claims::NoStore | Claims::Unreachable { .. } | Claims::Unusable { .. } => None,
        },
    }
}

/// Those whose disks are not proven gone.
fn left<'f>(facts: &Facts, founders: &'f [Founder]) -> Vec<&'f Founder> {
    founders.iter().filter(|f| !nonce_gone(facts, f)).collect()
}

fn place(founder: &Founder) -> String {
    label(Some(&founder.name), &founder.peer_url)
}

/// Row 24: a disk that lost its member founds nothing but what follows a total loss.
pub(crate) fn lost_and_alone(spec: &Spec, facts: &Facts) -> bool {
    matches!(facts.data, DataDir::Lost { .. }) && !follows_total_loss(spec, facts)
}
