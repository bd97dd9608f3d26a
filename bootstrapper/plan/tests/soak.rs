//! The model for hours: what is too large for every run of the tests, and the counterexamples for the documents.
//!
//! `--minutes N` searches until the time is over. What was seen is noted in `out/model-soak.tsv`, a line a search: its
//! name, how many states, how many seconds, and `all` or `not all`. What is noted as finished is not searched again, and
//! what is not comes after what was never begun; remove the file after a change of the rules. `--counterexamples` prints
//! `docs/counterexamples.md`.
#![allow(clippy::disallowed_methods, reason = "the fence is around the program; this notes what was searched")]

#[path = "model/mod.rs"]
mod model;
#[allow(dead_code, unused_imports, reason = "the tests use the rest of it")]
mod support;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use model::check::check;
use model::configurations::{large, small, weaker};
use model::rules::Rule;

/// A world takes some 40 bytes and its edges as much again, so that this is some gigabytes.
const MOST: usize = 40_000_000;

const NOTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../out/model-soak.tsv");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--counterexamples"] => counterexamples(),
        ["--minutes", minutes] => match minutes.parse::<u64>() {
            Ok(minutes) => soak(Duration::from_secs(60 * minutes)),
            Err(_) => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: --minutes N | --counterexamples");
    ExitCode::from(64)
}

/// Searches what is not noted yet, in turn, each for as long as is left.
fn soak(time: Duration) -> ExitCode {
    let end = Instant::now() + time;
    let noted = std::fs::read_to_string(NOTED).unwrap_or_default();
    let noted_as =
        |name: &str, how: &str| noted.lines().any(|l| l.starts_with(&format!("{name}\t")) && l.ends_with(how));
    let mut searches: Vec<_> = small().into_iter().chain(large()).map(|w| w.by(Rule::Real)).collect();
    searches.retain(|first| !noted_as(first.name(), "\tall"));
    searches.sort_by_key(|first| noted_as(first.name(), "\tnot all"));
    let mut ok = true;
    for first in searches {
        let name = first.name();
        if Instant::now() > end {
            println!("{name}: no time was left");
            continue;
        }
        println!("{name} ...");
        let checked = check(first, Some(end), MOST);
        let (states, seconds) = (checked.states, checked.took.as_secs_f32());
        if let Some(story) = &checked.story {
            ok = false;
            println!("FAILED  {name}: {}:\n  {}\n{:#?}", story.why, story.events.join("\n  "), story.end);
            continue;
        }
        let all = if checked.finished { "all" } else { "not all" };
        println!("{name}: {states} states in {seconds:.1} s, {all} of them; nothing wrong");
        note(&format!("{name}\t{states}\t{seconds:.1}\t{all}\n"));
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn note(line: &str) {
    let noted = std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../../out"))
        .and_then(|()| std::fs::OpenOptions::new().create(true).append(true).open(NOTED))
        .and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_data()));
    if let Err(error) = noted {
        eprintln!("{NOTED} cannot be written, and this will be searched again: {error}");
    }
}

fn counterexamples() -> ExitCode {
    let mut out = String::from(HEAD);
    for weaker in weaker() {
        match check(weaker.first.clone(), None, MOST).story {
            Some(story) if story.why == weaker.why => out.push_str(&format!("\n{}", weaker.section(&story))),
            Some(_) | None => {
                eprintln!("{}: it is not so that {}", weaker.instead, weaker.why);
                return ExitCode::FAILURE;
            }
        }
    }
    print!("{out}");
    ExitCode::SUCCESS
}

const HEAD: &str = "# Counterexamples

Each rule of DESIGN sections 5 to 7 that looks fussy is there because a weaker one fails. The model in
`bootstrapper/plan/tests/model` drives the real `decide` in a breadth-first search, so that these are the shortest ways;
`make test` finds each of them again and compares it with this page. A founding is written with its disks: `{1.0 2.1}` is
the first disk of etcd-1 and the second of etcd-2.

This page is printed by `tools/cargo.sh test -p bootstrap-plan --test soak -- --counterexamples`.
";
