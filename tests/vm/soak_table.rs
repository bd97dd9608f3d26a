//! `docs/soak.md`, from all trials so far.

use std::collections::BTreeMap;

use crate::cases::Outcome;
use crate::ledger::{Beside, Entry, Trial};

const HEAD: &str = "# Soak

What `make soak MINUTES=n` has seen, made anew after every trial from `out/soak.jsonl`, where the next soak goes on; this
file is of the last soak that was committed. Every case is described in `tests/vm`, a small one of each kind is part of
`make test`.
";

const CUTS: &str = "
## Power cuts

Every write of a machine's disks is recorded; the power fails at a random one of them, and of what was written after the
last flush a random half is lost. *Looked at*: `etcd-bootstrapper plan` and etcd are given the data disk as it then is, and
it must hold all that others have heard by then: answers on the peer port, acknowledged writes. *Booted*: the machine boots
from both disks, and all members must come to one cluster of three voters and nobody else. *Settled, under writes*: the
member has just settled, and with another one stopped each write needs its disk. *Restoring*: one machine founds a cluster
of its own from a snapshot of 256 MiB; the data dir must be absent or whole, `etcd-bootstrapper run` goes on from the disk
as it is left, on this host when looked at, and every value of the snapshot must be read from the member that settles.
";

const UNSYNCED: &str = "
### With fsync removed

The same looks must find out that a service does not sync. Its program is that of the release; a system call filter of
systemd answers each fsync of it and of what it starts with success and does nothing. The power fails as soon as others
know something that rests on this disk, and takes all that was not flushed. `make test` has a finer one: the record of a
founding is replayed without the one flush that makes the journal's Ready safe.
";

const CHAOS: &str = "
## Chaos under a write load

Three writers, one through each member, write new keys all the time; each acknowledged one is noted durably before the
next, and afterwards each must be read through every member with its value. *Kill* ends QEMU at once; *wipe* also takes
the disks. *Silent* is the longest time without an acknowledged write, *healthy* until all three have settled.

- `wipeMajority`: all wait; then the line that the consoles say is written into the user-data and all are rebooted. The
  survivor is the leader of the moment; a follower may lack the last writes.
- `wipeAll`, `stopWipeAll`: the clock is past `cluster.found_until`, so the blank machines refuse to found, and say so. The
  writes are gone with the disks; nothing serves that could lack them, so they are not counted as lost.
- `wipeAll before found_until`: three blank machines with a user-data that allows a founding found a new cluster. Nothing
  is left that could tell them of the old one; that is the rule, and what it costs is shown here. A store prevents it.
- `wipeAll with a store`: three blank machines with `on_total_loss: wait` refuse and say what to write; with their volumes
  attached again the members are who they were; destroyed once more, three blank ones with `restore` come back with all that
  was written before the last backup, which is what counts as acknowledged here, and with nothing that was written since.
- `terminated by its group`: machines dressed as instances of an Auto Scaling group, with its IDs and addresses, have founded a
  cluster; one of them is terminated, and whom the group launches for it takes its place. All are then three again.
";

const FORMATIONS: &str = "
## Formations, by either image

How machines become members, with the image without cloud-init and with that which has it, in turn; `wipeOne` and
`terminated by its group` below, in which members are replaced, take turns too. *One founds on each platform*: machines dressed
as those of Compute Engine, of Azure, and of OpenStack by its drive. *Three found from a snapshot*: by a URL. Where cloud-init
is, `cloud-init status` must have nothing to report, but for a medium that only Azure itself attaches.
";

const MODEL: &str = "
## The model

Searches of `bootstrapper/plan/tests/model` that are too large for `make test`, and those of `make test` again. *All*: every
state that these faults can lead to was seen. *Not all*: the time or the memory was over first.
";

const PARSERS: &str = "
## Parsers that are given anything

What reads the bytes of others, `bootstrapper/src/fuzz.rs`, by libFuzzer with AddressSanitizer and overflow checks: no
input may panic, take 10 seconds or hold more than 64 MiB beyond what the process held before the first one, which its own
allocator counts. *Searched*: ten million executions. *No new coverage*: for half an hour. `make test` gives each of them
the same corpora and some thousand changes of those.
";

const CATCH_UP: &str = "
## A learner that takes long

A replaced member fetches the whole database over a slow link, `tests/it/catch_up.rs`, while one client writes all the time.
";

/// The whole document: these trials, and what the soaks beside them have noted, a line each.
pub fn document(entries: &[Entry], beside: &Beside) -> String {
    let mut text = HEAD.to_owned();
    text += &format!("\n{}\n", summary(entries));
    let (mut cuts, mut chaos) = (BTreeMap::<_, Vec<&Entry>>::new(), BTreeMap::<_, Vec<&Entry>>::new());
    let (mut unsynced, mut formations) = (BTreeMap::<_, Vec<&Entry>>::new(), BTreeMap::<_, Vec<&Entry>>::new());
    for entry in entries {
        match &entry.trial {
            Trial::Cut { doing, at, .. } => cuts.entry((doing, at)).or_default().push(entry),
            Trial::Chaos { case, image, .. } => chaos.entry((case, image)).or_default().push(entry),
            Trial::Formation { formation, image } => formations.entry((formation, image)).or_default().push(entry),
            Trial::Unsynced { service, .. } => unsynced.entry(service).or_default().push(entry),
        }
    }
    if !cuts.is_empty() {
        text += CUTS;
        let headers = ["while", "power fails at", "cuts", "looked at", "booted", "survived", "failed"];
        let rows = cuts.iter().map(|((doing, at), entries)| cut_row(doing, at, entries)).collect::<Vec<_>>();
        let times = ["looked at: median s", "max s", "booted: median s", "max s"];
        text += &table(&[&headers[..], &times].concat(), &rows);
    }
    if !unsynced.is_empty() {
        text += UNSYNCED;
        let rows = unsynced.iter().map(|(service, entries)| unsynced_row(service, entries)).collect::<Vec<_>>();
        text += &table(&["service", "runs", "power cuts", "found out by", "runs not found out"], &rows);
    }
    if !formations.is_empty() {
        text += FORMATIONS;
        let row = |((formation, image), entries): (&(&String, &String), &Vec<&Entry>)| {
            let failed = entries.iter().filter(|e| e.failure.is_some()).count();
            let times = spread(entries.iter().map(|e| e.seconds).collect());
            let own = [formation.to_string(), image.to_string(), entries.len().to_string(), failed.to_string()];
            own.into_iter().chain(times).collect::<Vec<_>>()
        };
        let rows = formations.iter().map(row).collect::<Vec<_>>();
        text += &table(&["formation", "image", "runs", "failed", "median s", "max s"], &rows);
    }
    if !chaos.is_empty() {
        text += CHAOS;
        let headers = ["case", "image", "runs", "failed", "acknowledged", "lost", "most clusters", "ended"];
        let times = ["silent: median s", "max s", "healthy: median s", "max s"];
        let rows = chaos.iter().map(|((case, image), entries)| chaos_row(case, image, entries)).collect::<Vec<_>>();
        text += &table(&[&headers[..], &times].concat(), &rows);
    }
    if !beside.learners.is_empty() {
        text += CATCH_UP;
        let rows =
            beside.learners.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect::<Vec<_>>();
        let headers = ["MiB", "Mbit/s", "until it votes: s", "writes meanwhile", "longest write: s"];
        text += &table(&headers, &rows);
    }
    if !beside.parsers.is_empty() {
        text += PARSERS;
        let rows = beside.parsers.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect::<Vec<_>>();
        let headers = ["parser", "executions", "seconds", "coverage", "the same for: s", "ended"];
        text += &table(&headers, &rows);
    }
    if !beside.searches.is_empty() {
        text += MODEL;
        // By name, so that what was searched again counts as it ended last.
        let rows: BTreeMap<&str, &str> = beside.searches.lines().filter_map(|line| line.split_once('\t')).collect();
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|(name, rest)| [*name].into_iter().chain(rest.split('\t')).map(str::to_owned).collect())
            .collect();
        text += &table(&["search", "states", "seconds", "seen"], &rows);
    }
    text += &failures(entries);
    text
}

fn summary(entries: &[Entry]) -> String {
    let failed = entries.iter().filter(|e| e.failure.is_some()).count();
    let rounds = entries.iter().map(|e| e.round).max().unwrap_or(0);
    let seconds: f32 = entries.iter().map(|e| e.seconds).sum();
    let mut seeds: Vec<String> = entries.iter().map(|e| e.seed.to_string()).collect();
    seeds.dedup();
    let mut revisions: Vec<String> = entries.iter().map(|e| e.revision.clone()).collect();
    revisions.dedup();
    let (trials, minutes) = (entries.len(), seconds / 60.0);
    format!(
        "{trials} trials in {rounds} rounds, {failed} failed, {minutes:.0} minutes in all. Seeds: {}. Revisions: {}.",
        seeds.join(", "),
        revisions.join(", ")
    )
}

fn cut_row(doing: &str, at: &str, entries: &[&Entry]) -> Vec<String> {
    let is_booted = |e: &&&Entry| matches!(e.trial, Trial::Cut { booted: true, .. });
    let (booted, looked): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(is_booted);
    let failed = entries.iter().filter(|e| e.failure.is_some()).count();
    let counts = [entries.len(), looked.len(), booted.len(), entries.len() - failed, failed];
    let times = [looked, booted].map(|entries| spread(entries.iter().map(|e| e.seconds).collect()));
    [vec![doing.to_owned(), at.to_owned()], counts.map(|c| c.to_string()).to_vec(), times.concat()].concat()
}

fn unsynced_row(service: &str, entries: &[&Entry]) -> Vec<String> {
    let (mut cuts, mut caught) = (0, 0);
    for entry in entries {
        if let Trial::Unsynced { looks, found, .. } = entry.trial {
            cuts += looks;
            caught += found;
        }
    }
    let failed = entries.iter().filter(|e| e.failure.is_some()).count() as u64;
    let counts = [entries.len() as u64, cuts, caught, failed];
    [vec![service.to_owned()], counts.map(|c| c.to_string()).to_vec()].concat()
}

fn chaos_row(case: &str, image: &str, entries: &[&Entry]) -> Vec<String> {
    let outcomes: Vec<&Outcome> = entries
        .iter()
        .filter_map(|e| match &e.trial {
            Trial::Chaos { outcome, .. } => outcome.as_ref(),
            Trial::Cut { .. } | Trial::Unsynced { .. } | Trial::Formation { .. } => None,
        })
        .collect();
    let failed = entries.iter().filter(|e| e.failure.is_some()).count();
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(|o| of(o)).sum::<u64>().to_string();
    let clusters = outcomes.iter().map(|o| o.clusters).max().unwrap_or(0);
    let mut ended: Vec<&str> = outcomes.iter().map(|o| o.ended.as_str()).collect();
    ended.sort_unstable();
    ended.dedup();
    let counts = vec![entries.len().to_string(), failed.to_string(), sum(|o| o.acknowledged), sum(|o| o.lost)];
    let times = |of: fn(&Outcome) -> Option<f32>| spread(outcomes.iter().filter_map(|o| of(o)).collect());
    let ends = vec![clusters.to_string(), ended.join("; ")];
    [vec![case.to_owned(), image.to_owned()], counts, ends, times(|o| o.silent), times(|o| o.healthy)].concat()
}

/// Median and maximum.
fn spread(mut seconds: Vec<f32>) -> Vec<String> {
    seconds.sort_by(f32::total_cmp);
    let median = seconds.get(seconds.len() / 2).copied();
    [median, seconds.last().copied()].map(|s| s.map_or_else(|| "-".into(), |s| format!("{s:.1}"))).to_vec()
}

fn failures(entries: &[Entry]) -> String {
    let failed: Vec<&Entry> = entries.iter().filter(|e| e.failure.is_some()).collect();
    if failed.is_empty() {
        return "\n## Failures\n\nNone.\n".into();
    }
    let mut text = "\n## Failures\n".to_owned();
    for entry in failed {
        let Entry { round, seed, revision, failure, trial, .. } = entry;
        let why = failure.as_deref().unwrap_or_default().replace('\n', "\n    ");
        text += &format!("\n- round {round}, seed {seed}, revision {revision}: {trial}\n\n    {why}\n");
    }
    text
}

fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let rule = headers.iter().map(|_| "---").collect::<Vec<_>>();
    let rows: String = rows.iter().map(|r| line(r.iter().map(String::as_str).collect())).collect();
    format!("\n{}{}{rows}", line(headers.to_vec()), line(rule))
}
