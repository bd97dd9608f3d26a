//! `docs/soak.md` as what it says: read where a soak begins, each trial added to it, written whole after each.
//!
//! Every column is a key, or can be added to without what it was made of, so that nothing but this file is needed to go on.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

const HEAD: &str = "# Soak

What `make soak MINUTES=n` has seen. A soak goes on from this file and adds to it after every trial; it is of the last soak that
was committed. Every case is described in `tests/vm`, a small one of each kind is part of `make test`. What parsers were
given is in [fuzz.md](fuzz.md).
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

*Installing*, *first boot* and *growing* are of a machine whose `size` is 1: by the medium on a blank disk; with an image that has
not run yet and a blank data disk; with both disks a gibibyte larger than before. One such boot is recorded and ended at random
requests and at random times in turn. From each it must come, with nobody's help, to a settled member that answers, of the same
cluster where that was settled or grew, and grown; a disk that firmware starts must do so with the medium and without it. *A
person is needed* where it does not within 7 minutes, or where a console shows a refusal, a question, an error of our programs, a
panic or an emergency, even if it settles later.
";

const UNSYNCED: &str = "
### With fsync removed

The same looks must find out that a service does not sync. Its program is that of the release; a system call filter of
systemd answers each fsync of it and of what it starts with success and does nothing. The power fails as soon as others
know something that rests on this disk, and takes all that was not flushed. `make test` has a finer one: the record of a
founding is replayed without the one flush that makes the journal's Ready safe. *Disks that forget*: of all that they were told
in a boot of the last three kinds a half is lost, flushed or not; the machine must then be found to need a person.
";

const FORMATIONS: &str = "
## Formations, by either image

How machines become members, with the image without cloud-init and with that which has it, in turn; `wipeOne` and
`terminated by its group` below, in which members are replaced, take turns too. *One founds on each platform*: machines dressed
as those of Compute Engine, of Azure, and of OpenStack by its drive. *Three found from a snapshot*: by a URL. Where cloud-init
is, `cloud-init status` must have nothing to report, but for a medium that only Azure itself attaches. *One founds without the
cloud-init it has*: two machines do so, as it is switched off in the one, and hangs and is ended in the other.
*Three found that the ISO has installed*: on blank disks, each by its own copy of the medium, with static addresses and neither
DHCP, DNS nor NTP.
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

const MODEL: &str = "
## The model

Searches of `bootstrapper/plan/tests/model` that are too large for `make test`, and those of `make test` again. *All*: every
state that these faults can lead to was seen. *Not all*: the time or the memory was over first.
";

const CATCH_UP: &str = "
## A learner that takes long

A replaced member fetches the whole database over a slow link, `tests/it/catch_up.rs`, while one client writes all the time.
";

const FAILURES: &str = "\n## Failures\n";
const NO_FAILURE: &str = "\nNone.\n";

/// How a column takes what is added to its row.
#[derive(Clone, Copy)]
enum Fold {
    /// It is what tells rows apart.
    Key,
    /// Counts are added.
    Sum,
    /// The highest count stays.
    Most,
    /// The longest time stays, in seconds; `-` is none.
    Longest,
    /// Each way it went stays; `-` is none.
    Ways,
    /// What was seen last stays.
    Last,
}
use Fold::{Key, Last, Longest, Most, Sum, Ways};

/// A table of the document, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Power cuts.
    Cuts,
    /// Those of a service whose fsyncs do nothing.
    Unsynced,
    /// Machines that became members.
    Formations,
    /// Members killed or wiped under a write load.
    Chaos,
    /// Those that take long to catch up.
    Learners,
    /// The model's.
    Searches,
}

const TABLES: [Table; 6] =
    [Table::Cuts, Table::Unsynced, Table::Formations, Table::Chaos, Table::Learners, Table::Searches];

impl Table {
    fn text(self) -> &'static str {
        match self {
            Table::Cuts => CUTS,
            Table::Unsynced => UNSYNCED,
            Table::Formations => FORMATIONS,
            Table::Chaos => CHAOS,
            Table::Learners => CATCH_UP,
            Table::Searches => MODEL,
        }
    }

    fn columns(self) -> &'static [(&'static str, Fold)] {
        match self {
            Table::Cuts => &[
                ("while", Key),
                ("power fails at", Key),
                ("cuts", Sum),
                ("looked at", Sum),
                ("booted", Sum),
                ("survived", Sum),
                ("failed", Sum),
                ("looked at: max s", Longest),
                ("booted: max s", Longest),
            ],
            Table::Unsynced => &[
                ("service", Key),
                ("runs", Sum),
                ("power cuts", Sum),
                ("found out by", Sum),
                ("runs not found out", Sum),
            ],
            Table::Formations => {
                &[("formation", Key), ("image", Key), ("runs", Sum), ("failed", Sum), ("max s", Longest)]
            }
            Table::Chaos => &[
                ("case", Key),
                ("image", Key),
                ("runs", Sum),
                ("failed", Sum),
                ("acknowledged", Sum),
                ("lost", Sum),
                ("most clusters", Most),
                ("ended", Ways),
                ("silent: max s", Longest),
                ("healthy: max s", Longest),
            ],
            Table::Learners => &[
                ("MiB", Key),
                ("Mbit/s", Key),
                ("until it votes: s", Key),
                ("writes meanwhile", Key),
                ("longest write: s", Key),
            ],
            Table::Searches => &[("search", Key), ("states", Last), ("seconds", Last), ("seen", Last)],
        }
    }

    fn header(self) -> String {
        line(self.columns().iter().map(|(name, _)| *name))
    }
}

/// The whole of it.
#[derive(Debug, Default, PartialEq)]
pub struct Document {
    /// How many trials there were.
    pub trials: u64,
    /// How many rounds; one may have many power cuts.
    pub rounds: u32,
    /// How many trials failed.
    pub failed: u64,
    /// How long all of them took.
    pub minutes: f32,
    /// Of the soaks.
    pub seeds: Vec<String>,
    /// Of the repository.
    pub revisions: Vec<String>,
    rows: BTreeMap<(Table, Vec<String>), Vec<String>>,
    failures: String,
}

impl Document {
    /// What a soak has written; nothing has been tried where there is no text.
    ///
    /// # Errors
    /// When a line of a table, or the sums, would be lost by writing it again.
    pub fn read(text: &str) -> Result<Document> {
        let mut document = Document::default();
        if text.is_empty() {
            return Ok(document);
        }
        let (text, failures) = text.split_once(FAILURES).context("nothing is said of failures at its end")?;
        document.failures = if failures == NO_FAILURE { String::new() } else { failures.to_owned() };
        let sums = text.lines().find(|line| line.contains(" trials in ")).context("no line has the sums")?;
        document.read_sums(sums).with_context(|| format!("the sums are not a soak's: {sums}"))?;
        let mut table = None;
        for line in text.lines() {
            if !line.starts_with('|') {
                table = None;
            } else if let Some(table) = table {
                let cells = line.trim_start_matches("| ").trim_end_matches(" |").split(" | ");
                let cells: Vec<String> = cells.map(str::to_owned).collect();
                if cells.iter().any(|cell| cell != "---") {
                    document.add(table, cells).with_context(|| format!("this row is not a soak's: {line}"))?;
                }
            } else {
                let known = TABLES.into_iter().find(|table| table.header().trim_end() == line);
                table = Some(known.with_context(|| format!("no soak writes a table that begins with {line}"))?);
            }
        }
        Ok(document)
    }

    fn read_sums(&mut self, line: &str) -> Result<()> {
        let (counts, names) = line.split_once(" minutes in all. Seeds: ").context("it names no seeds")?;
        let (seeds, revisions) = names.split_once(". Revisions: ").context("it names no revisions")?;
        let counts: Vec<&str> = counts.split(' ').collect();
        let [trials, "trials", "in", rounds, "rounds,", failed, "failed,", minutes] = counts[..] else {
            bail!("it counts something else");
        };
        (self.trials, self.rounds) = (trials.parse()?, rounds.parse()?);
        (self.failed, self.minutes) = (failed.parse()?, minutes.parse()?);
        let list = |text: &str| text.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        (self.seeds, self.revisions) = (list(seeds), list(revisions.trim_end_matches('.')));
        Ok(())
    }

    /// All of it.
    pub fn text(&self) -> String {
        let Document { trials, rounds, failed, minutes, .. } = self;
        let (seeds, revisions) = (self.seeds.join(", "), self.revisions.join(", "));
        let mut text = format!(
            "{HEAD}\n{trials} trials in {rounds} rounds, {failed} failed, {minutes:.1} minutes in all. Seeds: {seeds}. \
             Revisions: {revisions}.\n"
        );
        for table in TABLES {
            let rows: Vec<_> = self.rows.iter().filter(|((of, _), _)| *of == table).map(|(_, cells)| cells).collect();
            if !rows.is_empty() {
                text += &format!("{}\n{}", table.text(), table.header());
                text += &line(table.columns().iter().map(|_| "---"));
                text.extend(rows.into_iter().map(|cells| line(cells.iter().map(String::as_str))));
            }
        }
        text + FAILURES + if self.failures.is_empty() { NO_FAILURE } else { &self.failures }
    }

    /// Adds to the row that has the same key, or makes one.
    pub fn add(&mut self, table: Table, cells: Vec<String>) -> Result<()> {
        let columns = table.columns();
        ensure!(cells.len() == columns.len(), "it has {} columns, expected {}", cells.len(), columns.len());
        // What cannot be added to must not come in either.
        for ((name, fold), cell) in columns.iter().zip(&cells) {
            folded(*fold, cell, cell).with_context(|| format!("its column {name:?}"))?;
        }
        let is_key = |(column, _): &(&(&str, Fold), &String)| matches!(column.1, Key);
        let key: Vec<_> = columns.iter().zip(&cells).filter(is_key).map(|(_, cell)| cell.clone()).collect();
        let Some(row) = self.rows.get_mut(&(table, key.clone())) else {
            self.rows.insert((table, key), cells);
            return Ok(());
        };
        for (((_, fold), old), new) in columns.iter().zip(row).zip(&cells) {
            *old = folded(*fold, old, new)?;
        }
        Ok(())
    }

    /// Adds what went wrong in a trial.
    pub fn add_failure(&mut self, trial: &str, why: &str) {
        self.failed += 1;
        self.failures += &format!("\n- {trial}\n\n    {}\n", why.replace('\n', "\n    "));
    }

    /// How often this was tried with this image: a case of chaos, or a formation.
    pub fn tried(&self, name: &str, image: &str) -> u64 {
        let key = vec![name.to_owned(), image.to_owned()];
        let rows = [Table::Formations, Table::Chaos].map(|table| self.rows.get(&(table, key.clone())));
        rows.into_iter().flatten().filter_map(|cells| cells[key.len()].parse::<u64>().ok()).sum()
    }
}

fn folded(fold: Fold, old: &str, new: &str) -> Result<String> {
    let count = |cell: &str| cell.parse::<u64>().with_context(|| format!("{cell:?} is no count"));
    let time = |cell: &str| cell.parse::<f32>().with_context(|| format!("{cell:?} is no time"));
    Ok(match (fold, old, new) {
        (Key | Last, _, new) => new.to_owned(),
        (Sum, old, new) => (count(old)? + count(new)?).to_string(),
        (Most, old, new) => count(old)?.max(count(new)?).to_string(),
        (Longest | Ways, one, "-") | (Longest | Ways, "-", one) => one.to_owned(),
        (Longest, old, new) => seconds(Some(time(old)?.max(time(new)?))),
        (Ways, old, new) => {
            let mut ways: Vec<&str> = old.split("; ").collect();
            for way in new.split("; ") {
                if !ways.contains(&way) {
                    ways.push(way);
                }
            }
            ways.join("; ")
        }
    })
}

/// As the tables have a time.
pub fn seconds(seconds: Option<f32>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"))
}

fn line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}
