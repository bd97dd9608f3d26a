//! Several machines at once: the real rules hold, and each weaker one is seen to fail.

use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex};

use crate::model::check::check;
use crate::model::configurations::{large, small, weaker};

/// More than any of these searches needs: a search that grows must be looked at.
const MOST: usize = 6_000_000;

/// The searches by their number: two tests share them, one for each core.
static LEFT: LazyLock<Mutex<VecDeque<usize>>> = LazyLock::new(|| Mutex::new((0..small().len()).collect()));

fn searches() {
    loop {
        let Some(number) = LEFT.lock().expect("no search has panicked").pop_front() else { return };
        let first = small().swap_remove(number);
        let name = first.name();
        let checked = check(first, None, MOST);
        println!("note: {name}: {} states in {:.1} s", checked.states, checked.took.as_secs_f32());
        if let Some(story) = &checked.story {
            panic!("{name}: {}:\n  {}\n{:#?}", story.why, story.events.join("\n  "), story.end);
        }
        assert!(checked.finished, "{name} has more than {MOST} states");
    }
}

#[test]
fn whatever_befalls_the_hosts_no_write_is_lost_and_no_second_cluster_forms() {
    searches();
}

#[test]
fn whatever_befalls_the_hosts_they_become_a_cluster_or_say_who_has_to_help() {
    searches();
}

/// A weaker rule has to fail, or this model sees nothing.
#[test]
fn every_weaker_rule_fails_as_the_documents_say() {
    let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/counterexamples.md");
    let documented = std::fs::read_to_string(documented).expect("docs/counterexamples.md");
    let mut rest = documented.clone();
    for weaker in weaker() {
        let checked = check(weaker.first.clone(), None, MOST);
        let story = checked.story.unwrap_or_else(|| panic!("{}: nothing goes wrong", weaker.instead));
        println!(
            "note: {}: fails after {} events; {} states in {:.1} s",
            weaker.instead,
            story.events.len(),
            checked.states,
            checked.took.as_secs_f32()
        );
        let section = weaker.section(&story);
        assert_eq!(story.why, weaker.why, "{section}");
        assert!(documented.contains(&section), "docs/counterexamples.md does not have this:\n{section}");
        rest = rest.replace(&section, "");
        let real = check(weaker.first.by(crate::model::rules::Rule::Real), None, MOST);
        assert!(real.story.is_none(), "{}: the real rules fail there, too", weaker.instead);
    }
    assert!(!rest.contains("\n## "), "docs/counterexamples.md has what does not fail:\n{rest}");
}

#[test]
fn every_search_is_noted_under_a_name_of_its_own() {
    let names: Vec<&str> = small().iter().chain(&large()).map(|world| world.name()).collect();
    let different: std::collections::BTreeSet<&&str> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "{names:?}");
}
