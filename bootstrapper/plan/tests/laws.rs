//! The laws of DESIGN section 4 that speak of one decision, over worlds at random. Those that speak of several
//! machines are model-checked.

use std::collections::{BTreeMap, BTreeSet};

use plan::decision::{Decided, Decision, Start, Step};
use plan::document::Recover;
use plan::facts::{Claim, ClaimState, Claims, DataDir, Facts, Heard, Inventory, Peer, Stage};
use plan::founding::{Founding, Terms};
use plan::member::Member;
use plan::spec::{Set, Spec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::any::{any_joiner, any_member, any_world};
use crate::support::{World, config, name, nonce, terms, unknown, url};

fn steps(decided: &Decided) -> &[Step] {
    match &decided.decision {
        Decision::Proceed(plan) => &plan.steps,
        Decision::Start(_) | Decision::Wait(_) | Decision::Refuse(_) => &[],
    }
}

/// Whether a step takes part in a founding, or restores, or recovers.
fn founds(step: &Step) -> bool {
    match step {
        Step::Claim { .. } | Step::Ready(_) | Step::Prepare { .. } | Step::Commit(_) | Step::Recover { .. } => true,
        Step::Archive { .. } | Step::Clear | Step::Remove { .. } | Step::Add { .. } | Step::HandOff { .. } => false,
    }
}

fn commits(decided: &Decided) -> Option<&Founding> {
    steps(decided).iter().find_map(|step| match step {
        Step::Commit(founding) => Some(founding),
        Step::Archive { .. }
        | Step::Clear
        | Step::Claim { .. }
        | Step::Ready(_)
        | Step::Prepare { .. }
        | Step::Remove { .. }
        | Step::Add { .. }
        | Step::HandOff { .. }
        | Step::Recover { .. } => None,
    })
}

/// Whether the claim says that this is committing, which is the word of all that were Ready.
fn claimed(facts: &Facts, founding: &Founding) -> bool {
    match &facts.claim {
        Claims::Read { claim: Some(Claim { state: ClaimState::Committing, founding: theirs, .. }), .. } => {
            theirs == founding
        }
        Claims::Read { .. } | Claims::NoStore | Claims::Unreachable { .. } | Claims::Unusable { .. } => false,
    }
}

fn meets_cluster(facts: &Facts) -> bool {
    facts.quorum.is_some() || facts.peers.iter().any(|p| matches!(p.heard, Heard::Cluster(_)))
}

fn size_of_others(spec: &Spec) -> usize {
    usize::from(spec.size) - 1
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn l1_a_member_s_data_is_touched_by_nothing_but_a_removal_and_the_operator_s_word(world in any_member()) {
        let decided = world.decide();
        match &decided.decision {
            Decision::Start(start) => prop_assert!(decided.row == 4 && matches!(start, Start::Member(_))),
            Decision::Refuse(_) => prop_assert!(matches!(decided.row, 3 | 5)),
            Decision::Proceed(plan) => {
                prop_assert_eq!(plan.steps.len(), 1);
                let proven = matches!(&plan.steps[0], Step::Archive { removed: Some(_), .. }) && decided.row == 5;
                let told = matches!(&plan.steps[0], Step::Recover { .. }) && world.spec.recover.is_some();
                prop_assert!(proven || told, "{decided:?}");
            }
            Decision::Wait(_) => prop_assert!(false, "a member waits for nobody"),
        }
    }

    #[test]
    fn l1_a_committed_founding_is_started_or_left_and_nothing_else(
        world in any_world().prop_filter("a founding", |w| matches!(w.facts.data, DataDir::Founding { .. }))
    ) {
        let DataDir::Founding { founding: committed, wal } = &world.facts.data else { panic!("no founding") };
        for step in steps(&world.decide()) {
            let left = matches!(step, Step::Archive { only_unled: true, .. } | Step::Archive { removed: Some(_), .. });
            // Its own snapshot, which its ID names, while there is no log.
            let staged = matches!(step, Step::Prepare { founding, .. } if founding == committed && !wal);
            prop_assert!(left || staged, "{step:?}");
        }
    }

    #[test]
    fn l2_to_know_less_never_leads_to_founding(mut world in any_world(), who in 0..5usize) {
        // The operator's word may name a member that cannot be asked.
        world.spec.recover = None;
        let before = world.decide();
        let mut less = world.clone();
        match who {
            0 | 1 => {
                less.facts.peers[who].heard = unknown();
                if !less.facts.peers.iter().any(|p| matches!(p.heard, Heard::Cluster(_))) {
                    less.facts.quorum = None;
                }
            }
            2 if world.spec.set == Set::Dynamic => less.facts.inventory = Inventory::Unknown { reason: "503".into() },
            3 if world.spec.store.is_some() => less.facts.claim = Claims::Unreachable { reason: "503".into() },
            _ => { less.facts.peers.remove(0); }
        }
        let after = less.decide();
        // All go by a founding that is committed, by the word of another or on this disk, which stands whatever else is known.
        let told = |decided: &Decided| {
            let followed = steps(decided).iter().any(|s| matches!(s, Step::Commit(t) if claimed(&less.facts, t)));
            matches!(decided.row, 7 | 8) || followed
        };
        if steps(&after).iter().any(founds) && !told(&after) {
            prop_assert!(steps(&before).iter().any(founds), "{before:?}\nbecame {after:?}");
        }
    }

    #[test]
    fn l2_absence_removes_nobody(world in any_joiner()) {
        for step in steps(&world.decide()) {
            let Step::Remove { member, .. } = step else { continue };
            let facts = &world.facts;
            let list = &facts.quorum.as_ref().expect("a removal needs a list").members;
            let listed = list.iter().find(|l| l.member.id == *member).expect("a removal of one that is listed");
            prop_assert!(!listed.answers, "it is alive");
            let of_the_cluster = |p: &Peer| {
                matches!(&p.heard, Heard::Cluster(a) if Some(a.cluster_id) == facts.quorum.as_ref().map(|q| q.cluster_id))
            };
            let may_live = facts.peers.iter().any(|p| listed.member.has_peer_url(&p.peer_url) && of_the_cluster(p));
            prop_assert!(!may_live, "it may be alive");
            let ours = listed.member.name == facts.me.name.as_str()
                || (listed.member.has_peer_url(&facts.me.peer_url) && facts.me.address_bound)
                || facts.journal.added.as_ref().is_some_and(|a| a.member_id == *member);
            let leaked = listed.member.learner && !listed.member.started() && listed.silent >= world.spec.replace_after;
            let ended = match &facts.inventory {
                Inventory::Listed(all) => all.iter().any(|i| i.terminated && i.id.as_str() == listed.member.name),
                Inventory::Static | Inventory::Unknown { .. } => false,
            };
            prop_assert!(ours || leaked || ended, "{listed:?}");
        }
    }

    #[test]
    fn l3_a_cluster_that_answers_beats_any_wish_to_found(world in prop_oneof![any_world(), any_member()]) {
        let decided = world.decide();
        let told = decided.row == 3 && world.facts.quorum.is_none();
        if meets_cluster(&world.facts) && decided.row != 8 && !told {
            prop_assert!(!steps(&decided).iter().any(founds), "{decided:?}");
        }
    }

    #[test]
    fn l4_a_founding_is_committed_with_every_one_of_its_members_or_after_one_that_did(world in any_world()) {
        let (decided, facts) = (world.decide(), &world.facts);
        let Some(t) = commits(&decided) else { return Ok(()) };
        prop_assert!(!facts.journal.spent, "a nonce commits once");
        prop_assert!(facts.journal.readied.contains(t), "what was never promised is never kept");
        prop_assert!(t.founders.iter().any(|f| f.nonce == facts.me.nonce || f.peer_url == facts.me.peer_url));
        if decided.row == 8 || claimed(facts, t) {
            return Ok(());
        }
        let restores = t.terms.snapshot.is_some();
        prop_assert_eq!(decided.row, 28);
        prop_assert!(t.founders.len() == usize::from(t.terms.size) || world.spec.store.is_some());
        for other in t.founders.iter().filter(|f| f.nonce != facts.me.nonce) {
            let peer = facts.peers.iter().find(|p| p.peer_url == other.peer_url).expect("an answer");
            let Heard::Waiting(waiting) = &peer.heard else { panic!("{peer:?} is not waiting") };
            prop_assert_eq!((&waiting.nonce, &waiting.terms), (&other.nonce, &t.terms));
            let as_far = match &waiting.stage {
                Stage::Blank => false,
                Stage::Ready(id) => *id == t.id() && !restores,
                Stage::Prepared(id) => *id == t.id(),
            };
            prop_assert!(as_far, "{waiting:?}");
        }
        prop_assert!(!restores || facts.journal.prepared == Some(t.id()));
    }

    #[test]
    fn l4_ready_is_said_only_while_nobody_is_unknown(world in any_world()) {
        let decided = world.decide();
        for step in steps(&decided) {
            let Step::Ready(t) = step else { continue };
            let waits = |f: &plan::founding::Founder| {
                world.facts.peers.iter().any(|p| {
                    matches!(&p.heard, Heard::Waiting(w) if p.peer_url == f.peer_url && w.nonce == f.nonce && w.terms == t.terms)
                })
            };
            prop_assert!(t.founders.iter().all(|f| f.nonce == world.facts.me.nonce || waits(f)));
            let whole = t.founders.len() == size_of_others(&world.spec) + 1;
            let by_claim = matches!(world.facts.claim, Claims::Read { claim: Some(_), .. });
            prop_assert!(whole || by_claim);
        }
    }

    #[test]
    fn l2_somebody_is_left_out_of_a_founding_by_the_claim_of_a_majority_alone(
        world in any_world(), silence in select(vec![0, 59, 60, 599, 600u64]), unclaimed in any::<bool>()
    ) {
        let mut world = world.hears(3, unknown());
        (world.facts.silence, world.facts.data) = (silence, DataDir::Empty);
        if unclaimed {
            world = world.store(None);
        }
        let (decided, spec, facts) = (world.decide(), &world.spec, &world.facts);
        for step in steps(&decided) {
            let Step::Claim { to: ClaimState::Founding, founding, read } = step else { continue };
            if founding.founders.len() > size_of_others(spec) {
                continue;
            }
            let patience = if read.is_some() { 60 } else { 600 };
            prop_assert!(silence >= patience && founding.founders.len() > size_of_others(spec) / 2);
            prop_assert_eq!(steps(&decided).len(), 1, "nobody is ready for it before the claim is read");
            let dated = facts.now.is_some_and(|now| spec.found_until.is_some_and(|until| now <= until.0));
            let unfounded = |c: &Claim| c.state == ClaimState::Founding && c.epoch == spec.epoch;
            prop_assert!(read.as_deref().map_or(dated, unfounded), "{read:?}");
            let named = |p: &&Peer| founding.founders.iter().any(|f| f.peer_url == p.peer_url);
            for left_out in facts.peers.iter().filter(|p| !named(p)) {
                prop_assert!(matches!(left_out.heard, Heard::Unknown { .. }), "{left_out:?}");
            }
        }
    }

    #[test]
    fn l5_a_lost_disk_returns_under_no_member_id_but_a_new_one(world in any_world()) {
        let decided = world.decide();
        if let DataDir::Lost { .. } = &world.facts.data {
            prop_assert!(!matches!(decided.decision, Decision::Start(_)));
        }
        for step in steps(&decided) {
            let Step::HandOff { identity, .. } = step else { continue };
            let added = world.facts.journal.added.as_ref().expect("an added member");
            prop_assert_eq!((identity.member_id, identity.cluster_id), (added.member_id, added.cluster_id));
        }
    }

    #[test]
    fn l7_no_membership_change_could_cost_quorum(world in any_joiner()) {
        let decided = world.decide();
        let Some(quorum) = &world.facts.quorum else { return Ok(()) };
        let members: Vec<Member> = quorum.members.iter().map(|l| l.member.clone()).collect();
        for step in steps(&decided) {
            match step {
                Step::Remove { member, list, cluster_id, .. } => {
                    prop_assert_eq!((list, *cluster_id), (&members, quorum.cluster_id));
                    let remaining: Vec<_> =
                        quorum.members.iter().filter(|l| !l.member.learner && l.member.id != *member).collect();
                    let votes = members.iter().any(|m| m.id == *member && !m.learner);
                    let answering = remaining.iter().filter(|l| l.answers).count();
                    prop_assert!(!votes || answering > remaining.len() / 2, "{answering} of {}", remaining.len());
                }
                Step::Add { list, cluster_id, .. } => {
                    prop_assert_eq!((list, *cluster_id), (&members, quorum.cluster_id));
                    let most = usize::from(world.spec.size) + usize::from(world.spec.set == Set::Dynamic);
                    prop_assert!(members.len() < most);
                    prop_assert!(!members.iter().any(|m| m.learner), "one learner at a time");
                }
                Step::Archive { .. } | Step::Clear | Step::Claim { .. } | Step::Ready(_) | Step::Prepare { .. }
                | Step::Commit(_) | Step::HandOff { .. } | Step::Recover { .. } => {}
            }
        }
    }

    #[test]
    fn l8_the_list_handed_off_is_etcd_s_own(world in any_joiner()) {
        for step in steps(&world.decide()) {
            let Step::HandOff { identity, initial_cluster } = step else { continue };
            let list = &world.facts.quorum.as_ref().expect("a list").members;
            let urls: Vec<&String> = initial_cluster.iter().map(|(_, url)| url).collect();
            let theirs: Vec<&String> = list.iter().flat_map(|l| &l.member.peer_urls).collect();
            prop_assert_eq!(urls, theirs);
            let names: BTreeSet<&String> = initial_cluster.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(names.len(), list.len(), "a name a member");
            let us = initial_cluster.iter().filter(|(n, _)| n == identity.name.as_str());
            prop_assert_eq!(us.map(|(_, url)| url.clone()).collect::<Vec<_>>(), vec![identity.peer_url.to_string()]);
        }
    }

    #[test]
    fn l12_a_founding_is_started_only_from_its_own_commit(world in any_world()) {
        if let Decision::Start(Start::Founding { founding, wal }) = world.decide().decision {
            prop_assert_eq!(&world.facts.data, &DataDir::Founding { founding, wal });
        }
    }

    #[test]
    fn l13_a_member_that_knows_nothing_starts(mut world in any_member(), told in any::<bool>()) {
        let facts = &mut world.facts;
        (facts.quorum, facts.now, facts.own_list) = (None, None, None);
        facts.peers.iter_mut().for_each(|p| p.heard = unknown());
        facts.certificates = Some("they expired".into());
        facts.inventory = Inventory::Unknown { reason: "no route".into() };
        facts.claim = Claims::Unreachable { reason: "no route".into() };
        if told {
            world.spec.recover = Some(Recover { survivor: name(2), epoch: 9, given_up: vec![name(1), name(3)] });
        }
        let decided = world.decide();
        prop_assert!(decided.row == 4 && matches!(decided.decision, Decision::Start(Start::Member(_))));
        world.facts.peers.clear();
        prop_assert_eq!(world.decide(), decided);
    }

    #[test]
    fn mode_store_and_date_matter_to_a_blank_disk_alone_and_only_where_no_cluster_answers(
        world in any_world(), other in any_world()
    ) {
        let decided = world.decide();
        let mut changed = world.clone();
        (changed.spec.store, changed.spec.found_until) = (other.spec.store, other.spec.found_until);
        (changed.facts.claim, changed.facts.now) = (other.facts.claim, other.facts.now);
        let blank = matches!(world.facts.data, DataDir::Empty | DataDir::Aborted | DataDir::Lost { .. });
        if !blank {
            (changed.spec.mode, changed.spec.restore) = (other.spec.mode, other.spec.restore);
        }
        // A survivor's new cluster has the store's URL in its terms.
        if decided.row < 19 && decided.row != 3 {
            prop_assert_eq!(decided, changed.decide());
        }
    }

    #[test]
    fn a_decision_is_one_row_and_always_the_same(world in any_world()) {
        let decided = world.decide();
        prop_assert!((1..=29).contains(&decided.row));
        prop_assert_eq!(&decided, &world.decide());
        let mut asked_in_another_order = world;
        asked_in_another_order.facts.peers.reverse();
        prop_assert_eq!(decided.row, asked_in_another_order.decide().row);
    }

    #[test]
    fn l6_the_token_depends_on_every_disk_and_every_term_and_on_no_order(
        nonces in proptest::collection::btree_set(1..9u8, 3), changed in 0..10usize, turn in 0..3usize
    ) {
        let nonces: Vec<u8> = nonces.into_iter().collect();
        let of = |terms: Terms, nonces: &[u8]| crate::support::founding_under(terms, nonces);
        let t = of(terms(), &nonces);
        let mut turned = t.founders.clone();
        turned.rotate_left(turn);
        prop_assert_eq!(&Founding::new(terms(), turned), &t);

        let mut other = t.clone();
        match changed {
            0..=2 => other.founders[changed].nonce = nonce(9),
            3 => other.terms.epoch += 1,
            4 => other.terms.generation += 1,
            5 => other.terms.snapshot = "a".repeat(64).parse().ok(),
            6 => other.terms.etcd = "3.6".into(),
            7 => other.terms.store = Some("s3://bucket/prod".into()),
            8 => other.terms.set.push("etcd-4".into()),
            _ => other.terms.size = 5,
        }
        prop_assert_ne!(other.id(), t.id());
        prop_assert_ne!(other.token(), t.token());
        prop_assert_ne!(other.cluster_id(), t.cluster_id());
        prop_assert_ne!(other.member_id(&url(1)), t.member_id(&url(1)));
        prop_assert_ne!(t.terms.digest() == other.terms.digest(), changed > 2);
    }
}

/// Properties that hold because nothing happens prove nothing.
#[test]
fn the_worlds_of_these_laws_reach_every_row() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::new(config());
    let mut rows = BTreeMap::new();
    for _ in 0..2_000 {
        let world: World = any_world().new_tree(&mut runner).expect("a world").current();
        *rows.entry(world.decide().row).or_insert(0) += 1;
    }
    println!("worlds by row: {rows:?}");
    assert!((1..=29).all(|row| rows.contains_key(&row)), "{rows:?}");
}
