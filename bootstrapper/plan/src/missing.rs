//! Rows 20 and 26 where somebody of the set says nothing: by the claim in the store, a majority founds without it.
//!
//! The claim is made first, for those that are here. All whom it names go on by it as their set, everybody else waits for
//! them, and no founding but what it says is ever committed: so of two majorities that miss each other one founds.

use crate::claims::{self, Proof};
use crate::decide::{label, proceed};
use crate::decision::{Aim, Decided};
use crate::facts::{ClaimState, Facts, Heard, Waiting};
use crate::founding::{Founder, Founding, Terms};
use crate::founding_rows::{listed, not_now, spent, twins};
use crate::member::{MemberName, PeerUrl};
use crate::spec::{Set, Spec};

/// What those that are here do by themselves.
///
/// Who is silent may hold data, unless the claim proves that nobody does: no founding is committed before its claim is. A
/// store without any proves nothing, as the cluster may be older than its store; there the operator's word decides, that a
/// cluster is to be founded until `found_until`, and only after so long a silence that no machine takes it to reboot.
///
/// # Errors
/// What else ends the wait for those that are missing, as a clause; nothing where they cannot be done without.
pub(crate) fn leave_out(spec: &Spec, facts: &Facts, terms: &Terms) -> Result<Decided, Option<String>> {
    let here = Here::of(spec, facts, terms).ok_or(None)?;
    let dated = || facts.now.zip(spec.found_until).is_some_and(|(now, until)| now <= until.0);
    let patience = match claims::proof(spec, facts) {
        _ if not_now(spec, facts).is_some() => return Err(None),
        Proof::Unfounded => spec.replace_after.max(1),
        Proof::NoClaim if dated() => spec.replace_after.max(1).saturating_mul(UNCLAIMED),
        Proof::NoClaim => return Err(Some(UNPROVEN.into())),
        Proof::Nothing => return Err(None),
    };
    if facts.silence < patience {
        return Err(Some(format!(
            "or they stay silent for {patience} s: then those that are here found without them, by the store's claim"
        )));
    }
    if let Some(decided) = twins(facts, &here.heard).or_else(|| spent(facts)) {
        return Ok(decided);
    }
    let founding = Founding::new(Terms { set: here.set, ..terms.clone() }, here.founders);
    Ok(proceed(26, Aim::Found, vec![claims::step(facts, ClaimState::Founding, &founding)]))
}

/// How many times `replace_after` a silence takes while there is no claim.
const UNCLAIMED: u64 = 10;

const UNPROVEN: &str = "or `cluster.found_until` is ahead and this machine's clock is right: without a claim in the store \
                        only that allows those that are here to found without them";

/// A majority that waits and agrees, while the rest says nothing.
struct Here<'f> {
    set: Vec<String>,
    founders: Vec<Founder>,
    /// This host not among them.
    heard: Vec<(String, &'f Waiting)>,
}

impl<'f> Here<'f> {
    fn of(spec: &Spec, facts: &'f Facts, terms: &Terms) -> Option<Here<'f>> {
        let me = &facts.me;
        let mut here = Here { set: Vec::new(), founders: Vec::new(), heard: Vec::new() };
        here.add(spec, Founder { name: me.name.clone(), peer_url: me.peer_url.clone(), nonce: me.nonce.clone() });
        for (name, peer_url) in listed(spec, facts).ok()? {
            match facts.peers.iter().find(|p| p.peer_url == peer_url).map(|p| &p.heard)? {
                Heard::Unknown { .. } => {}
                // They may have read another claim, or none yet, and go by its set; nothing else may differ.
                Heard::Waiting(w) if (Terms { set: terms.set.clone(), ..w.terms.clone() }) == *terms => {
                    here.heard.push((label(Some(&name), &peer_url), w));
                    here.add(spec, Founder { name, peer_url, nonce: w.nonce.clone() });
                }
                Heard::Waiting(_) | Heard::Cluster(_) | Heard::Founding { .. } | Heard::Holds { .. } => return None,
            }
        }
        here.set.sort();
        (here.founders.len() > usize::from(spec.size) / 2).then_some(here)
    }

    fn add(&mut self, spec: &Spec, founder: Founder) {
        self.set.push(entry(&spec.set, &founder.name, &founder.peer_url));
        self.founders.push(founder);
    }
}

/// How the terms name a member.
pub(crate) fn entry(set: &Set, name: &MemberName, peer_url: &PeerUrl) -> String {
    match set {
        Set::Static(_) => format!("{name}={peer_url}"),
        Set::Dynamic => name.to_string(),
    }
}
