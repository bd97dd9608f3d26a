//! `soak`: the long tests until the time is over, going on where the last soak ended.

use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cases::{
    CHAOS, Chaos, DOINGS, Doing, FORMATIONS, Formation, GROUP, Moment, Outcome, PHASES, Phase, RESTORING, Restoring,
    TOTAL_LOSS, Unsynced, chaos, cut, cuts, forgetful, group, judge, total_loss, unsynced,
};
use crate::flavour::Flavour;
use crate::ledger::{Ledger, Trial};
use crate::sandbox;
use crate::suite::Suite;

/// Disks that are looked at for each machine that is booted.
const LOOKS: u32 = 19;

/// Goes round until the time is over or a person has had enough; true when nothing failed.
///
/// `docs/soak.md` is complete after every trial, so that a soak may be ended at any time. A round that a
/// person has ended is not counted.
pub fn run(suite: &mut Suite, minutes: u64, seed: u64, names: &[String]) -> Result<bool> {
    let images = &suite.yard.images;
    for lacking in images.lacking() {
        println!("{lacking}: what it shows is left out");
    }
    let kinds = kinds(names, &images.flavours())?;
    let ledger = Ledger::open()?;
    let (rounds, trials, before) = (ledger.document.rounds, ledger.document.trials, ledger.document.failed);
    println!("{trials} trials in {rounds} rounds until now; going on for {minutes} minutes");
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let first = suite.yard.images.flavour;
    let mut soak = Soak { suite, ledger, seed, kinds, round: rounds, began: Instant::now(), end, first };
    while Instant::now() < end && !sandbox::interrupted() {
        soak.round += 1;
        soak.began = Instant::now();
        if let Err(error) = soak.one() {
            // What runs is not what the next round expects.
            soak.suite.stop();
            ensure!(sandbox::interrupted(), error);
        }
    }
    soak.ledger.write()?;
    let failed = soak.ledger.document.failed - before;
    println!("{} passed, {failed} failed", soak.ledger.document.trials - trials - failed);
    Ok(failed == 0)
}

/// What a round does.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Cut(Doing),
    Alone(Phase),
    Forgetful(Phase),
    Chaos(Chaos),
    Unsynced(Unsynced),
    TotalLoss,
    Group,
    Restoring,
    Formation(Formation),
}

/// Power cuts and chaos in turn; those with these names, all without any, and of those what these images can show.
fn kinds(names: &[String], built: &[Flavour]) -> Result<Vec<Kind>> {
    let each = |(at, chaos): (usize, &Chaos)| [Kind::Cut(DOINGS[at % DOINGS.len()]), Kind::Chaos(*chaos)];
    let mut kinds: Vec<Kind> = CHAOS.iter().enumerate().flat_map(each).collect();
    kinds.extend([Kind::Restoring, Kind::Unsynced(Unsynced::Bootstrapper), Kind::Restoring]);
    kinds.extend(PHASES.map(Kind::Alone));
    kinds.extend([Kind::TotalLoss, Kind::Restoring, Kind::Unsynced(Unsynced::Etcd), Kind::Group]);
    kinds.extend(PHASES.map(Kind::Forgetful));
    kinds.extend(FORMATIONS.map(Kind::Formation));
    let known: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
    for name in names {
        ensure!(known.contains(&name.as_str()), "nothing is called {name}; there are {}", known.join(", "));
    }
    kinds.retain(|k| names.is_empty() || names.iter().any(|n| n == k.name()));
    kinds.retain(|k| k.only().is_none_or(|only| built.contains(&only)));
    ensure!(!kinds.is_empty(), "nothing of {} can be shown without its image", names.join(", "));
    Ok(kinds)
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Cut(doing) => doing.name(),
            Kind::Alone(phase) => phase.name(),
            Kind::Forgetful(phase) => phase.forgetful(),
            Kind::Chaos(chaos) => chaos.name(),
            Kind::Unsynced(service) => service.name(),
            Kind::TotalLoss => TOTAL_LOSS,
            Kind::Group => GROUP,
            Kind::Restoring => RESTORING,
            Kind::Formation(formation) => formation.name,
        }
    }

    fn only(self) -> Option<Flavour> {
        match self {
            Kind::Formation(formation) => formation.only,
            // There is no medium of the other image.
            Kind::Alone(Phase::Installing) | Kind::Forgetful(Phase::Installing) => Some(Flavour::Minimal),
            Kind::Alone(_)
            | Kind::Forgetful(_)
            | Kind::Cut(_)
            | Kind::Chaos(_)
            | Kind::Unsynced(_)
            | Kind::TotalLoss
            | Kind::Group
            | Kind::Restoring => None,
        }
    }
}

struct Soak<'a> {
    suite: &'a mut Suite,
    ledger: Ledger,
    seed: u64,
    kinds: Vec<Kind>,
    round: u32,
    began: Instant,
    end: Instant,
    /// The image of what has no turns.
    first: Flavour,
}

impl Soak<'_> {
    fn one(&mut self) -> Result<()> {
        let kind = self.kinds[self.round as usize % self.kinds.len()];
        let flavour = self.flavour(kind);
        self.suite.choose(flavour)?;
        match kind {
            Kind::Cut(doing) => self.cut(doing),
            Kind::Alone(phase) => self.alone(phase),
            Kind::Forgetful(phase) => {
                let found = forgetful(self.suite, phase);
                self.found_out(phase.forgetful(), found)
            }
            Kind::Chaos(what) => self.chaos(what),
            Kind::Unsynced(service) => self.unsynced(service),
            Kind::TotalLoss => self.whole(TOTAL_LOSS, total_loss),
            Kind::Group => self.whole(GROUP, group),
            Kind::Restoring => self.restoring(),
            Kind::Formation(formation) => self.formation(formation),
        }
    }

    /// How machines become members is shown with either image, with that first which it was tried with less, unless a person
    /// named one; all else with the one that this soak has begun with.
    fn flavour(&self, kind: Kind) -> Flavour {
        if let Some(only) = kind.only() {
            return only;
        }
        match kind {
            _ if self.suite.yard.images.named => self.first,
            Kind::Chaos(Chaos::WipeOne) | Kind::Group | Kind::Formation(_) => {
                let built = self.suite.yard.images.flavours();
                let tried = |flavour: &Flavour| self.ledger.document.tried(kind.name(), flavour.name());
                built.into_iter().min_by_key(tried).unwrap_or(self.first)
            }
            Kind::Cut(_)
            | Kind::Alone(_)
            | Kind::Forgetful(_)
            | Kind::Chaos(_)
            | Kind::Unsynced(_)
            | Kind::TotalLoss
            | Kind::Restoring => self.first,
        }
    }

    fn image(&self) -> String {
        self.suite.yard.images.flavour.name().to_owned()
    }

    fn formation(&mut self, formation: Formation) -> Result<()> {
        let failure = (formation.run)(self.suite).err();
        self.note(Trial::Formation { formation: formation.name.into(), image: self.image() }, failure)
    }

    fn chaos(&mut self, what: Chaos) -> Result<()> {
        let result = chaos(self.suite, what);
        let (outcome, failure) = match result {
            Ok(outcome) => (Some(outcome.clone()), judge(what, &outcome).err()),
            Err(error) => (None, Some(error)),
        };
        self.note(Trial::Chaos { case: what.name().into(), image: self.image(), outcome }, failure)
    }

    fn restoring(&mut self) -> Result<()> {
        let trial = |at: &str, moment: String, booted| {
            let (doing, at) = (RESTORING.to_owned(), at.to_owned());
            Trial::Cut { doing, at, moment, booted }
        };
        let mut restoring = match Restoring::record(self.suite) {
            Ok(restoring) => restoring,
            Err(error) => return self.note(trial("both disks", "never".into(), true), Some(error)),
        };
        self.began = Instant::now();
        let (moment, booted) = restoring.boot(self.suite)?;
        self.note(trial("both disks", moment, true), booted.err())?;
        for _ in 0..LOOKS {
            self.began = Instant::now();
            let (moment, looked) = restoring.look(self.suite)?;
            self.note(trial("data disk", moment, false), looked.err())?;
        }
        restoring.discard()
    }

    /// A case that judges itself.
    fn whole(&mut self, name: &str, case: fn(&mut Suite) -> Result<Outcome>) -> Result<()> {
        let (outcome, failure) = match case(self.suite) {
            Ok(outcome) => (Some(outcome), None),
            Err(error) => (None, Some(error)),
        };
        self.note(Trial::Chaos { case: name.into(), image: self.image(), outcome }, failure)
    }

    fn cut(&mut self, doing: Doing) -> Result<()> {
        let number = self.suite.random.below(1000);
        let moment = Moment::choose(self.suite, number)?;
        let trial =
            |at: &str, moment: String, booted| Trial::Cut { doing: doing.name().into(), at: at.into(), moment, booted };
        let booted = trial(moment.place(), moment.to_string(), true);
        let mut boot = match cut(self.suite, doing, slice::from_ref(&moment)) {
            Ok(boot) => boot,
            Err(error) => return self.note(booted, Some(error)),
        };
        self.note(booted, None)?;
        for _ in 0..LOOKS {
            self.began = Instant::now();
            let (moment, looked) = boot.look(self.suite)?;
            self.note(trial("data disk", moment, false), looked.err())?;
        }
        Ok(())
    }

    fn alone(&mut self, phase: Phase) -> Result<()> {
        let Soak { suite, ledger, seed, round, end, .. } = self;
        cuts(suite, phase, *end, |ended| {
            let (doing, at) = (phase.name().to_owned(), phase.place().to_owned());
            let trial = Trial::Cut { doing, at, moment: ended.moment, booted: true };
            note(ledger, *round, *seed, trial, ended.seconds, ended.result.err())
        })
    }

    fn unsynced(&mut self, service: Unsynced) -> Result<()> {
        let found = unsynced(self.suite, service);
        self.found_out(service.name(), found)
    }

    fn found_out(&mut self, service: &str, found: Result<(u64, u64)>) -> Result<()> {
        let ((looks, found), error) = match found {
            Ok(cuts) => (cuts, None),
            Err(error) => ((0, 0), Some(error)),
        };
        self.note(Trial::Unsynced { service: service.into(), looks, found }, error)
    }

    /// Notes what came of a trial; after a failure nothing runs on.
    fn note(&mut self, trial: Trial, failure: Option<anyhow::Error>) -> Result<()> {
        if failure.is_some() {
            self.suite.stop();
        }
        note(&mut self.ledger, self.round, self.seed, trial, self.began.elapsed().as_secs_f32(), failure)
    }
}

/// Notes what came of a trial, unless a person has ended it.
fn note(
    ledger: &mut Ledger,
    round: u32,
    seed: u64,
    trial: Trial,
    seconds: f32,
    failure: Option<anyhow::Error>,
) -> Result<()> {
    match &failure {
        Some(_) if sandbox::interrupted() => return Ok(()),
        Some(error) => println!("FAILED  {trial}\n  {error:#}"),
        None => println!("ok      {trial} ({seconds:.1} s)"),
    }
    ledger.note(round, seed, trial, seconds, failure.map(|e| format!("{e:#}")))
}
