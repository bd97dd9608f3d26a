//! Rows 20 and 26 where somebody of the set says nothing and a store says what this cluster is.

use plan::decision::{Decided, Decision, short};
use plan::document::Recover;
use plan::facts::{Claim, ClaimState, Claims, DataDir, Facts, Heard, Seconds, Stage, Waiting};
use plan::founding::Founding;
use plan::spec::Spec;

use crate::support::{
    FOUND_UNTIL, World, brief, claim, committed, holds, name, nonce, running, terminated, unknown, url,
};

const AT_2: &str = "etcd-2 at https://10.0.0.12:2380";
const AT_3: &str = "etcd-3 at https://10.0.0.13:2380";

/// What all three found where there is a store.
fn all() -> Founding {
    World::blank().store(None).founding()
}

/// What these of the three found without the others.
fn of(hosts: &[u8]) -> Founding {
    let mut founding = all();
    founding.founders.retain(|f| hosts.iter().any(|h| f.name == name(*h)));
    founding.terms.set.retain(|entry| hosts.iter().any(|h| entry.starts_with(&format!("{}=", name(*h)))));
    founding
}

fn claimed(founding: &Founding) -> Option<Claim> {
    Some(claim(ClaimState::Founding, founding))
}

/// Two of three, the third silent for as long as it takes.
fn without_3(claim: Option<Claim>) -> World {
    let silence = if claim.is_some() { 60 } else { 600 };
    World::blank().store(claim).hears(3, unknown()).facts(|f| f.silence = silence)
}

fn until(world: &World) -> String {
    match world.decide() {
        Decided { row: 20, decision: Decision::Wait(wait) } => wait.until,
        other => panic!("{other:?}"),
    }
}

#[test]
fn row_26_claims_for_those_that_are_here_when_one_is_silent_for_long() {
    let id = short(&of(&[1, 2]).id()).to_owned();
    let mut older = all();
    older.founders[2].nonce = nonce(50);
    for claim in [None, claimed(&all()), claimed(&older), claimed(&of(&[1, 3]))] {
        let world = without_3(claim);
        assert_eq!(brief(&world.decide()), format!("26 found: claim founding {id}"));
        // The other may not have read that claim yet.
        let behind = Waiting { stage: Stage::Blank, terms: all().terms, nonce: nonce(2) };
        assert_eq!(world.hears(2, Heard::Waiting(behind)).decide().row, 26);
    }
}

#[test]
fn those_whom_the_claim_names_go_on_by_it() {
    let pair = of(&[1, 2]);
    let id = short(&pair.id()).to_owned();
    let world = without_3(claimed(&pair));
    assert_eq!(brief(&world.decide()), format!("26 found: claim founding {id}, ready {id}"));
    let ready = world.readied(&[&pair]).hears(
        2,
        Heard::Waiting(Waiting { stage: Stage::Ready(pair.id()), terms: pair.terms.clone(), nonce: nonce(2) }),
    );
    assert_eq!(brief(&ready.decide()), format!("28 found: claim committing {id}"));
    let back = ready.clone().hears(3, ready.waiting(3, Stage::Blank));
    assert_eq!(brief(&back.decide()), format!("28 found: claim committing {id}"), "who comes late joins");
    let committing = back.store(Some(claim(ClaimState::Committing, &pair)));
    assert_eq!(brief(&committing.decide()), format!("28 found: commit {id}"));
}

#[test]
fn row_20_waits_for_whom_the_claim_leaves_out_where_it_turns_out_to_hold_data() {
    let world = World::blank().store(claimed(&of(&[1, 2])));
    assert_eq!(brief(&world.clone().hears(3, holds()).decide()), format!("20 wait: {AT_3}: holds a member's data"));
    let begun = format!("20 wait: {AT_3}: has committed founding {}", short(&all().id()));
    assert_eq!(brief(&world.clone().hears(3, committed(3, &all())).decide()), begun);
    for heard in [unknown(), world.waiting(3, Stage::Blank)] {
        assert_eq!(world.clone().hears(3, heard).decide().row, 26);
    }
}

#[test]
fn row_20_lets_whom_the_claim_leaves_out_wait_whatever_it_hears() {
    let world = World::blank().store(claimed(&of(&[2, 3]))).facts(|f| f.silence = 60);
    for (world, why) in [
        (world.clone(), "both are blank"),
        (world.clone().hears(2, unknown()), "the other of them ends it"),
        (world.clone().hears(2, unknown()).hears(3, unknown()), "one of three is no majority"),
    ] {
        assert_eq!(brief(&world.decide()), format!("20 wait: {AT_2}; {AT_3}"), "{why}");
    }
    let mut elsewhere = of(&[2, 3]);
    elsewhere.founders[1].peer_url = url(9);
    assert_eq!(world.store(claimed(&elsewhere)).decide().row, 26, "they are not those of the list");
}

#[test]
fn row_20_waits_for_the_missing_where_nothing_proves_that_they_hold_no_data() {
    type Case = (fn(&mut Spec, &mut Facts), &'static str);
    let cases: [Case; 9] = [
        (|_, f| f.silence = 599, "it may come yet"),
        (|s, _| s.found_until = None, "the cluster may be older than its store"),
        (|_, f| f.now = Some(Seconds(FOUND_UNTIL + 1)), "so it may, once that time is over"),
        (|_, f| f.now = None, "nobody knows whether that time is over"),
        (|_, f| f.peers[1].heard = holds(), "it has data"),
        (|_, f| f.peers[0].heard = unknown(), "one of three is no majority"),
        (|_, f| f.data = DataDir::Lost { identity: None }, "this disk had a member"),
        (|s, f| (s.store, f.claim) = (None, Claims::NoStore), "without a store nothing proves it"),
        (|_, f| _ = f.peers.pop(), "it was not asked yet"),
    ];
    for (change, why) in cases {
        let mut world = without_3(None);
        assert_eq!(world.decide().row, 26);
        change(&mut world.spec, &mut world.facts);
        assert_eq!(world.agreed().decide().row, 20, "{why}");
    }
    let mut raised = all();
    raised.terms.epoch = 2;
    let mut gone = all();
    gone.founders.iter_mut().for_each(|f| f.nonce = nonce(50));
    for (state, founding, why) in [
        (ClaimState::Founded, &all(), "the cluster was founded"),
        (ClaimState::Founded, &of(&[1, 2]), "by a majority, too"),
        (ClaimState::Committing, &gone, "what is committing may be committed"),
        (ClaimState::Founding, &raised, "this host's spec is behind"),
    ] {
        assert_eq!(without_3(Some(claim(state, founding))).decide().row, 20, "{why}");
    }
    let older = without_3(claimed(&all())).spec(|s| s.epoch = 2);
    assert_eq!(older.decide().row, 20, "the claim says nothing of this epoch");
    let mut differs = without_3(None);
    if let Heard::Waiting(waiting) = &mut differs.facts.peers[0].heard {
        waiting.terms.epoch = 9;
    }
    assert_eq!(differs.decide().row, 20, "they do not agree");
    let recover = Some(Recover { survivor: name(3), epoch: 2, given_up: vec![] });
    assert_eq!(without_3(None).spec(|s| s.recover = recover).decide().row, 20, "the operator named a survivor");
}

#[test]
fn a_claim_for_which_nothing_is_committed_proves_it_whenever_it_is() {
    for founding in [all(), of(&[1, 3])] {
        let late = without_3(claimed(&founding)).spec(|s| s.found_until = None).facts(|f| f.now = None);
        assert_eq!(late.decide().row, 26);
        assert_eq!(late.facts(|f| f.silence = 59).decide().row, 20, "it may come yet");
    }
}

#[test]
fn row_20_says_when_those_that_are_here_go_on_without_the_missing() {
    let later = "or they stay silent for 600 s: then those that are here found without them";
    let soon = later.replace("600", "60");
    let dated = "or `cluster.found_until` is ahead";
    let early = without_3(None).facts(|f| f.silence = 0);
    assert!(until(&early).contains(later), "{}", until(&early));
    let undated = early.clone().spec(|s| s.found_until = None);
    assert!(until(&undated).contains(dated), "{}", until(&undated));
    let by_claim = undated.store(claimed(&all())).facts(|f| f.silence = 0);
    assert!(until(&by_claim).contains(&soon), "{}", until(&by_claim));
    let two_silent = early.clone().hears(2, unknown());
    let founded = early.clone().store(Some(claim(ClaimState::Founded, &all())));
    for world in [two_silent, founded, early.spec(|s| s.store = None)] {
        let until = until(&world);
        assert!(!until.contains("stay silent") && !until.contains(dated), "{until}");
    }
}

#[test]
fn a_disk_that_is_a_copy_or_spent_is_no_part_of_a_founding_without_the_missing() {
    let world = without_3(None);
    let mut copied = world.clone();
    if let Heard::Waiting(waiting) = &mut copied.facts.peers[0].heard {
        waiting.nonce = nonce(1);
    }
    assert_eq!(brief(&copied.decide()), "21 archive: archive if unled");
    assert_eq!(brief(&world.facts(|f| f.journal.spent = true).decide()), "26 archive: archive");
}

#[test]
fn a_group_founds_without_an_instance_that_is_listed_and_silent() {
    let group = |instances| without_3(None).group(instances);
    let three = group(vec![running(1), running(2), running(3)]);
    assert_eq!(brief(&three.decide()).split(' ').take(4).collect::<Vec<_>>(), ["26", "found:", "claim", "founding"]);
    for (instances, why) in [
        (vec![running(1), running(2)], "it was not launched yet"),
        (vec![running(1), running(2), terminated(3)], "another takes its place"),
        (vec![running(1), running(2), running(3), running(4)], "one is too many"),
        (vec![running(2), running(3), running(4)], "this one is none of them"),
    ] {
        assert_eq!(group(instances).decide().row, 20, "{why}");
    }
}

/// Its cluster may have served, and the third may have joined it and be all that is left of it.
#[test]
fn where_a_claim_of_two_was_committing_on_disks_that_are_gone_all_three_are_asked() {
    let mut gone = of(&[1, 2]);
    gone.founders.iter_mut().for_each(|f| f.nonce = nonce(50));
    let world = without_3(Some(claim(ClaimState::Committing, &gone)));
    assert_eq!(brief(&world.decide()), format!("20 wait: {AT_3}: no answer within 2 s"));
    let holds = world.clone().hears(3, holds());
    assert_eq!(brief(&holds.decide()), format!("20 wait: {AT_3}: holds a member's data"));
    let blank = world.clone().hears(3, world.waiting(3, Stage::Blank));
    let id = short(&all().id()).to_owned();
    assert_eq!(brief(&blank.decide()), format!("26 found: claim founding {id}, ready {id}"));
    let of_others = World::blank().store(Some(claim(ClaimState::Committing, &of(&[2, 3]))));
    assert_eq!(brief(&of_others.decide()), format!("23 wait: {AT_2}; {AT_3}"));
}

#[test]
fn a_claim_under_way_is_left_when_the_list_has_somebody_else_in_the_place_of_one_of_its_founders() {
    let mut before = all();
    before.founders[2].peer_url = url(9);
    let world = World::blank().store(claimed(&before));
    let id = short(&all().id()).to_owned();
    assert_eq!(brief(&world.decide()), format!("26 found: claim founding {id}, ready {id}"));
}
