//! Rows 19 to 28 where a store says what this cluster is.

use plan::decision::{Step, short};
use plan::facts::{Claim, ClaimState, Claims, DataDir, Stage};
use plan::founding::Founding;
use plan::spec::{Mode, OnTotalLoss};

use crate::support::{World, brief, claim, name, nonce, on_new_disk, running, terminated, unknown, url};

const AT_1: &str = "etcd-1 at https://10.0.0.11:2380";
const AT_2: &str = "etcd-2 at https://10.0.0.12:2380";
const AT_3: &str = "etcd-3 at https://10.0.0.13:2380";

fn lost() -> DataDir {
    DataDir::Lost { identity: None }
}

/// What three hosts found together where there is a store.
fn agreed() -> Founding {
    World::blank().store(None).founding()
}

/// The same hosts on disks that are gone now.
fn on_gone_disks(founding: &Founding) -> Founding {
    let mut founding = founding.clone();
    for (i, founder) in (50..).zip(&mut founding.founders) {
        founder.nonce = nonce(i);
    }
    founding
}

#[test]
fn row_22_waits_for_a_founded_cluster_whose_disks_may_still_be_there() {
    let world = World::blank().store(Some(claim(ClaimState::Founded, &agreed())));
    let every_disk = format!("{AT_1}: not proven gone; {AT_2}: not proven gone; {AT_3}: not proven gone");
    assert_eq!(brief(&world.decide()), format!("22 wait: {every_disk}"));
    let two_gone = world.facts(|f| f.journal.readied.clear()).facts(|f| f.me.nonce = nonce(77));
    let two = on_new_disk(two_gone.waiting(2, Stage::Blank));
    assert_eq!(brief(&two_gone.hears(2, two).decide()), format!("22 wait: {AT_3}: not proven gone"));
}

/// A store whose cluster was founded on disks that are all gone: other nonces answer from their places.
fn total_loss() -> World {
    World::blank().store(Some(claim(ClaimState::Founded, &on_gone_disks(&agreed()))))
}

#[test]
fn row_22_refuses_after_a_total_loss_unless_the_operator_or_the_policy_restores() {
    assert_eq!(brief(&total_loss().decide()), "22 refuse total-loss");
    assert_eq!(brief(&total_loss().data(lost()).decide()), "22 refuse total-loss");
    let snapshot = || "c".repeat(64).parse().ok();
    let restores = total_loss().spec(|s| s.restore = snapshot());
    let policy = total_loss()
        .facts(|f| {
            if let Claims::Read { newest_snapshot, .. } = &mut f.claim {
                *newest_snapshot = snapshot();
            }
        })
        .spec(|s| s.store.as_mut().expect("a store").on_total_loss = OnTotalLoss::Restore);
    for world in [restores, policy] {
        let t = world.founding();
        assert_eq!((t.terms.generation, &t.terms.snapshot), (2, &snapshot()));
        let id = short(&t.id()).to_owned();
        assert_eq!(brief(&world.decide()), format!("26 found: claim founding {id}, ready {id}"));
    }
}

#[test]
fn row_23_waits_while_another_founding_is_committing() {
    let mut other = World::blank().store(None).founding();
    other.founders[2].nonce = nonce(50);
    let world = World::blank().store(Some(claim(ClaimState::Committing, &other)));
    assert_eq!(brief(&world.decide()), format!("23 wait: {AT_1}; {AT_2}"));
    for founder in &mut other.founders {
        founder.nonce = nonce(50);
    }
    let gone = World::blank().store(Some(claim(ClaimState::Committing, &other)));
    assert_eq!(gone.decide().row, 26, "a committing claim is replaced when every disk of it is gone");
}

#[test]
fn a_raised_epoch_does_not_pass_a_claim_that_is_committing() {
    let mut other = World::blank().store(None).founding();
    other.founders[2].nonce = nonce(50);
    let raised =
        |founding: &Founding| World::blank().store(Some(claim(ClaimState::Committing, founding))).spec(|s| s.epoch = 2);
    assert_eq!(brief(&raised(&other).decide()), format!("23 wait: {AT_1}; {AT_2}"), "somebody may have committed it");
    let ours = agreed();
    let commit = format!("28 found: commit {}", short(&ours.id()));
    assert_eq!(brief(&raised(&ours).readied(&[&ours]).decide()), commit, "and this host readied it");
    for founder in &mut other.founders {
        founder.nonce = nonce(50);
    }
    assert_ne!(raised(&other).decide().row, 23, "every disk of it is gone");
}

#[test]
fn row_28_swaps_the_claim_to_committing_before_it_commits() {
    let world = World::blank().store(None);
    let t = world.founding();
    let id = short(&t.id()).to_owned();
    for (claimed, expected) in [
        (None, format!("28 found: claim committing {id}")),
        (Some(claim(ClaimState::Founding, &t)), format!("28 found: claim committing {id}")),
        (Some(claim(ClaimState::Committing, &t)), format!("28 found: commit {id}")),
    ] {
        let world = World::blank().store(claimed).readied(&[&t]).others_are(&Stage::Ready(t.id()));
        assert_eq!(brief(&world.decide()), expected);
    }
}

fn policy_restores(world: World) -> World {
    world
        .facts(|f| {
            if let Claims::Read { newest_snapshot, .. } = &mut f.claim {
                *newest_snapshot = "c".repeat(64).parse().ok();
            }
        })
        .spec(|s| s.store.as_mut().expect("a store").on_total_loss = OnTotalLoss::Restore)
}

#[test]
fn row_19_waits_where_a_store_is_configured_and_was_not_asked() {
    let unasked = World::blank().store(None).facts(|f| f.claim = Claims::NoStore);
    assert_eq!(brief(&unasked.decide()), "19 wait: it was not asked yet");
}

#[test]
fn row_19_refuses_what_is_no_claim_that_it_can_follow() {
    let unusable = |reason: &str| Claims::Unusable { reason: reason.to_owned() };
    let other = World::blank().store(None).facts(|f| f.claim = unusable("it is the claim of cluster other"));
    assert_eq!(brief(&other.decide()), "19 refuse store-unusable");
    assert_eq!(brief(&other.mode(Mode::Join).decide()), format!("19 wait: {AT_2}; {AT_3}"), "it founds nothing anyway");
    let t = agreed();
    let serves = World::blank().store(None).facts(|f| f.claim = unusable("garbage"));
    let serves = serves.hears(2, crate::support::committed(2, &t)).readied(&[&t]);
    assert_eq!(serves.decide().row, 8, "what is committed is gone into, whatever the store says");
}

#[test]
fn row_20_says_where_row_22_would_refuse() {
    let alone = |world: World| match world.hears(3, unknown()).decide() {
        plan::decision::Decided { row: 20, decision: plan::decision::Decision::Wait(wait) } => wait.until,
        other => panic!("{other:?}"),
    };
    assert!(alone(total_loss()).contains("in its place none is: write `store.on_total_loss: restore`"));
    assert!(!alone(policy_restores(total_loss())).contains("in its place none"));
    let another = "e".repeat(64).parse().ok();
    assert!(!alone(total_loss().spec(|s| s.restore = another.clone())).contains("in its place none"));
    let founded_from = total_loss().spec(|s| s.restore = another.clone()).facts(|f| {
        if let Claims::Read { claim: Some(claim), .. } = &mut f.claim {
            claim.founding.terms.snapshot = another.clone();
        }
    });
    assert!(alone(founded_from).contains("in its place none"), "it was restored already");
    assert!(!alone(World::blank().store(None)).contains("in its place none"));
}

#[test]
fn a_claim_is_made_against_the_one_that_was_read() {
    let t = agreed();
    for read in [None, Some(claim(ClaimState::Founding, &t))] {
        let world = World::blank().store(read.clone()).readied(&[&t]).others_are(&Stage::Ready(t.id()));
        let plan::decision::Decision::Proceed(plan) = world.decide().decision else { panic!("a plan") };
        let expected = Step::Claim { to: ClaimState::Committing, founding: t.clone(), read: read.map(Box::new) };
        assert_eq!(plan.steps, [expected]);
    }
}

#[test]
fn a_next_generation_keeps_the_snapshot_that_its_claim_pins() {
    let next = policy_restores(total_loss()).founding();
    let claimed = policy_restores(World::blank().store(Some(claim(ClaimState::Founding, &next))));
    let newer = claimed.clone().facts(|f| {
        if let Claims::Read { newest_snapshot, .. } = &mut f.claim {
            *newest_snapshot = "d".repeat(64).parse().ok();
        }
    });
    for world in [claimed, newer] {
        assert_eq!(world.founding().id(), next.id(), "and never founds an empty cluster");
    }
}

#[test]
fn row_26_gives_a_lost_disk_a_new_life_in_the_next_generation() {
    let world = policy_restores(total_loss()).data(lost());
    assert_eq!(brief(&world.decide()), "26 archive: archive");
    let claimed_by_another = claim(ClaimState::Founding, &policy_restores(total_loss()).founding());
    let world = policy_restores(World::blank().store(Some(claimed_by_another))).data(lost());
    assert_eq!(brief(&world.decide()), "26 archive: archive");
    let first = World::blank().store(Some(claim(ClaimState::Founding, &agreed()))).data(lost());
    assert_eq!(first.decide().row, 24, "the first generation is none that follows a loss");
}

#[test]
fn row_28_commits_on_reading_that_the_claim_commits_what_it_readied() {
    let t = agreed();
    let id = short(&t.id()).to_owned();
    let newer = World::blank().hears(3, on_new_disk(World::blank().waiting(3, Stage::Blank))).store(None).founding();
    let world = World::blank().store(Some(claim(ClaimState::Committing, &t))).readied(&[&t, &newer]);
    for world in [world.clone(), world.clone().hears(3, unknown()), world.clone().mode(Mode::Join)] {
        assert_eq!(brief(&world.decide()), format!("28 found: commit {id}"));
    }
    let not_ours = World::blank().store(Some(claim(ClaimState::Committing, &newer))).readied(&[&t]);
    assert_eq!(brief(&not_ours.decide()), format!("23 wait: {AT_1}; {AT_2}"));
}

#[test]
fn row_23_takes_a_new_nonce_when_what_it_readied_is_committing_and_can_have_no_quorum() {
    let t = agreed();
    let world = World::blank().store(Some(claim(ClaimState::Committing, &t))).readied(&[&t]);
    let (two, three) = (world.waiting(2, Stage::Blank), world.waiting(3, Stage::Blank));
    let gone = world.hears(2, on_new_disk(two)).hears(3, on_new_disk(three));
    assert_eq!(brief(&gone.decide()), "23 archive: archive if unled");
}

#[test]
fn rows_22_and_23_wait_where_the_store_is_of_a_newer_epoch_and_forget_an_older_one_that_is_not_committing() {
    let mut t = agreed();
    t.terms.epoch = 2;
    for (state, row) in [(ClaimState::Founded, 22), (ClaimState::Committing, 23), (ClaimState::Founding, 23)] {
        let claimed = Some(claim(state, &t));
        let old_spec = World::blank().store(claimed.clone());
        assert_eq!(old_spec.decide().row, row, "{state:?}");
        let raised = World::blank().store(claimed).spec(|s| s.epoch = 3);
        let founding = raised.founding();
        let row = if state == ClaimState::Committing { 23 } else { 26 };
        assert_eq!((raised.decide().row, founding.terms.generation), (row, 1), "the operator's word, {state:?}");
    }
}

#[test]
fn row_20_takes_the_set_of_the_claim_where_it_has_this_host_and_a_majority() {
    let group = |instances: Vec<_>| World::blank().group(instances).store(None);
    let pair = {
        let mut t = group(vec![running(1), running(2), running(3)]).founding();
        t.founders.retain(|f| f.name != name(3));
        t.terms.set = vec!["etcd-1".into(), "etcd-2".into()];
        t
    };
    let with = |founding: &Founding, instances: Vec<_>| {
        group(instances).store(Some(claim(ClaimState::Founding, founding))).hears(3, unknown())
    };
    let two = with(&pair, vec![running(1), running(2)]);
    assert_eq!(brief(&two.decide()), format!("26 found: claim founding {0}, ready {0}", short(&pair.id())));
    let mut alone = pair.clone();
    alone.founders.retain(|f| f.name == name(1));
    for (world, why) in [
        (with(&alone, vec![running(1), running(2)]), "one of three is no majority"),
        (with(&pair, vec![running(1), terminated(2)]), "one of the claim's set is gone for good"),
        (
            with(&pair, vec![running(2), running(3)]).facts(|f| (f.me.name, f.me.peer_url) = (name(4), url(4))),
            "not of it",
        ),
    ] {
        assert_eq!(world.decide().row, 20, "{why}");
    }
}

#[test]
fn a_claim_is_of_the_store_of_the_spec() {
    let claimed: Option<Claim> = Some(claim(ClaimState::Committing, &on_gone_disks(&agreed())));
    let without = World::blank().store(claimed).spec(|s| s.store = None);
    assert_eq!((without.decide().row, without.founding().terms.store), (26, None));
}
