//! Several machines at once: everything that can happen to three hosts that decide by the real rules, with crashes and
//! lost disks at every moment, and weaker rules that must be seen to fail.

mod hosts;
mod parts;
mod search;
mod view;

use hosts::Hosts;
use search::{Reached, search};
use view::Rule;

fn explore(what: &str, first: Hosts) -> Reached<Hosts> {
    let began = std::time::Instant::now();
    let reached = search(first);
    let twice = reached.worlds.iter().filter(|w| w.clusters.len() > 1).count();
    let (states, time) = (reached.worlds.len(), began.elapsed());
    println!("{what}: {states} states in {time:.1?}, {twice} of them after two foundings had a leader");
    reached
}

fn show(reached: &Reached<Hosts>, world: u32) -> String {
    let way: Vec<String> = reached.way_to(world).iter().map(|event| format!("  {event:?}")).collect();
    format!("{}\n{:#?}", way.join("\n"), reached.worlds[world as usize])
}

/// Nothing wrong can happen, and from everywhere all can still become well.
fn holds(what: &str, first: Hosts) {
    let losses = first.losses;
    let reached = explore(what, first);
    if let Some((world, why)) = &reached.wrong {
        panic!("{why}:\n{}", show(&reached, *world));
    }
    // Two lost disks of three may take with them all that a cluster ever wrote, and then there is nothing to remember it.
    let twice = (0u32..).zip(&reached.worlds).find(|(_, w)| w.clusters.len() > 1);
    if let Some((world, _)) = twice.filter(|_| losses < 2) {
        panic!("two foundings had a leader:\n{}", show(&reached, world));
    }
    if let Some(world) = reached.stuck(|w| w.settled() || w.beyond_help()) {
        panic!("no way leads from here to three members:\n{}", show(&reached, world));
    }
}

#[test]
fn three_hosts_become_one_cluster_whatever_one_or_two_of_them_suffer() {
    holds("nothing happens", Hosts::blank(0, 0, Rule::Real));
    holds("a crash", Hosts::blank(1, 0, Rule::Real));
    holds("two crashes", Hosts::blank(2, 0, Rule::Real));
    holds("a lost disk", Hosts::blank(0, 1, Rule::Real));
    holds("a lost disk and a crash", Hosts::blank(1, 1, Rule::Real));
}

#[test]
fn a_cluster_that_serves_goes_on_or_waits_for_help_whatever_two_or_three_faults_come() {
    holds("a cluster and two crashes and a lost disk", Hosts::serving(2, 1, Rule::Real));
    holds("a cluster and a crash and two lost disks", Hosts::serving(1, 2, Rule::Real));
}

#[test]
fn three_hosts_become_one_cluster_though_two_disks_are_lost() {
    holds("two lost disks", Hosts::blank(0, 2, Rule::Real));
}

/// A weaker rule has to fail, or this model sees nothing.
fn fails(what: &str, first: Hosts, expected: &str) {
    let reached = explore(what, first);
    let (world, why) = reached.wrong.as_ref().expect("a counterexample");
    println!("{why}:\n{}", show(&reached, *world));
    assert_eq!(why, expected);
}

#[test]
fn a_majority_of_blanks_is_not_enough() {
    fails("a majority of blanks", Hosts::serving(0, 2, Rule::MajorityOfBlanks), "there is data of two clusters");
}

#[test]
fn a_founding_is_of_disks_and_not_of_hosts() {
    let expected = "a cluster that had a leader got one again from disks that know nothing of it";
    fails("T without nonces", Hosts::blank(0, 2, Rule::WithoutNonces), expected);
}
