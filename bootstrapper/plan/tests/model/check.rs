//! A search and its verdict, in words.

use std::time::{Duration, Instant};

use super::configurations::{STUCK, Weaker};
use super::search::search;
use super::world::World;

/// How a search ended.
pub struct Checked {
    pub states: usize,
    pub took: Duration,
    /// Whether everything that can happen was seen.
    pub finished: bool,
    /// What goes wrong.
    pub story: Option<Story>,
}

/// The shortest way to what must not be.
pub struct Story {
    pub why: &'static str,
    pub events: Vec<String>,
    pub end: World,
}

/// Follows everything that can happen: nothing wrong may, and from everywhere all must still be able to become well.
pub fn check(first: World, until: Option<Instant>, most: usize) -> Checked {
    let began = Instant::now();
    let mut reached = search(first, until, most);
    let wrong = match reached.wrong {
        None if reached.finished => reached.stuck().map(|at| (at, STUCK)),
        wrong => wrong,
    };
    let story = wrong.map(|(at, why)| {
        let (way, end) = reached.way_to(at);
        Story { why, events: way.iter().map(ToString::to_string).collect(), end }
    });
    Checked { states: reached.states(), took: began.elapsed(), finished: reached.finished, story }
}

impl Weaker {
    /// Its section of `docs/counterexamples.md`.
    pub fn section(&self, story: &Story) -> String {
        let hosts = if self.first.shared.clusters.is_empty() { "blank hosts" } else { "members that serve" };
        let size = self.first.config.size;
        let of = match (self.first.config.group, self.first.config.store) {
            (false, false) => "a static list",
            (false, true) => "a static list with a store",
            (true, false) => "a group",
            (true, true) => "a group with a store",
        };
        let events: Vec<String> = (1..).zip(&story.events).map(|(i, event)| format!("{i}. {event}\n")).collect();
        format!(
            "## {}\n\n{} of size {size}, {hosts}:\n\n{}\nThen {}.\n",
            self.instead,
            capital(of),
            events.concat(),
            story.why
        )
    }
}

fn capital(text: &str) -> String {
    text[..1].to_uppercase() + &text[1..]
}
