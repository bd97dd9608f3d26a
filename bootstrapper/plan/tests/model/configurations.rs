//! What is searched: the kinds of clusters, each with the faults that it must bear.

use std::rc::Rc;

use super::parts::{Claim, State, T};
use super::rules::Rule;
use super::world::{Config, Faults, World};

const STATIC: Config = Config {
    name: "",
    hosts: 3,
    size: 3,
    group: false,
    store: false,
    restore: false,
    follow: false,
    dated: true,
    late: 9,
    rule: Rule::Real,
    may: NOTHING,
};
const STORE: Config = Config { store: true, late: 1, ..STATIC };
const GROUP: Config = Config { group: true, hosts: 4, ..STORE };

const NOTHING: Faults =
    Faults { crash: 0, loss: 0, gone: 0, clone: 0, edit: 0, surge: 0, total: 0, write: 1, missing: 0 };
/// Of every kind but copies of disks, which multiply the states and have searches of their own.
const ANY: Faults = Faults { crash: 2, loss: 2, gone: 2, clone: 0, edit: 1, surge: 2, total: 2, ..NOTHING };

fn any(total: u8) -> Faults {
    Faults { total, ..ANY }
}

/// So many foundings may leave somebody out, beside these.
fn without(missing: u8, faults: Faults) -> Faults {
    Faults { missing, ..faults }
}

/// Searched in every run of the tests, and finished; the big ones first.
pub fn small() -> Vec<World> {
    vec![
        World::blank(Config { name: "a static list, blank, any two faults", may: any(2), ..STATIC }),
        World::blank(Config {
            name: "a static list, blank, any two faults, copied disks too",
            may: Faults { clone: 1, ..any(2) },
            late: 1,
            ..STATIC
        }),
        World::blank(Config {
            name: "a static list, blank, a copied disk",
            may: Faults { clone: 1, ..NOTHING }.at_most(1),
            ..STATIC
        }),
        World::blank(Config {
            name: "a static list that restores, blank, any two faults, copied disks too",
            restore: true,
            late: 1,
            may: Faults { clone: 1, ..any(2) },
            ..STATIC
        }),
        World::serving(Config {
            name: "a static list that serves, any three faults, copied disks too",
            may: Faults { clone: 2, ..any(3) },
            ..STATIC
        }),
        World::blank(Config { name: "a list with a store, blank, any two faults", may: any(2), ..STORE }),
        World::blank(Config {
            name: "a list with a store, blank, any two faults, copied disks too, nobody late",
            late: 0,
            may: Faults { clone: 1, ..any(2) },
            ..STORE
        }),
        World::blank(Config {
            name: "a group with a store, blank, any two faults, copied disks too, nobody launched or late",
            hosts: 3,
            late: 0,
            may: Faults { clone: 1, ..any(2) },
            ..GROUP
        }),
        World::serving(Config {
            name: "a list with a store that serves, any two faults, copied disks too",
            may: Faults { clone: 1, ..any(2) },
            ..STORE
        }),
        after_total_loss(Config {
            name: "a list with a store after a total loss, any two faults",
            follow: true,
            may: any(2),
            ..STORE
        }),
        World::blank(Config {
            name: "a list with a store that may found without one, blank, any fault",
            may: without(1, any(1)),
            ..STORE
        }),
        World::blank(Config {
            name: "a list with a store that may found without one, restoring, any fault",
            restore: true,
            may: without(1, any(1)),
            ..STORE
        }),
        after_total_loss(Config {
            name: "a list with a store that may found without one after a total loss, any fault",
            follow: true,
            may: without(1, any(1)),
            ..STORE
        }),
        World::blank(Config {
            name: "a list with a store that may found without one twice, blank, any two faults, nobody late",
            late: 0,
            may: without(2, any(2)),
            ..STORE
        }),
        older_than_its_store(Config {
            name: "a list whose cluster is older than its store, which may found without one twice, any two faults",
            may: without(2, any(2)),
            ..STORE
        }),
        World::blank(Config {
            name: "a group of one with a store, blank, any two faults but an edit",
            hosts: 3,
            size: 1,
            late: 9,
            // A raised epoch is the operator's word to found beside what the inventory leaves out, as often as it does.
            may: Faults { edit: 0, ..any(2) },
            ..GROUP
        }),
        World::blank(Config { name: "a group with a store, blank, any two faults", late: 0, may: any(2), ..GROUP }),
        World::blank(Config {
            name: "a group with a store, blank, any two faults, nobody launched, one late",
            hosts: 3,
            may: any(2),
            ..GROUP
        }),
        World::serving(Config {
            name: "a group with a store that serves, any two faults, copied disks too",
            hosts: 5,
            may: Faults { clone: 1, ..any(2) },
            ..GROUP
        }),
    ]
}

/// Searched in a soak; not all of them can be finished.
pub fn large() -> Vec<World> {
    let crash_and_loss = Faults { crash: 4, loss: 4, total: 4, ..NOTHING };
    let five = Config { hosts: 5, size: 5, late: 1, ..STATIC };
    vec![
        World::serving(Config {
            name: "a static list that serves, four crashes and losses",
            may: crash_and_loss,
            ..STATIC
        }),
        World::blank(Config { name: "five hosts, blank, no fault", ..five }),
        World::serving(Config { name: "five hosts that serve, any two faults", may: any(2), ..five }),
        World::blank(Config {
            name: "a list with a store, blank, any two faults, copied disks too",
            may: Faults { clone: 1, ..any(2) },
            ..STORE
        }),
        World::blank(Config { name: "a list with a store, blank, any fault, all late", late: 9, may: any(1), ..STORE }),
        World::blank(Config { name: "a static list, blank, four crashes and losses", may: crash_and_loss, ..STATIC }),
        World::blank(Config {
            name: "five hosts, blank, a crash or a loss",
            may: Faults { crash: 1, loss: 1, ..NOTHING }.at_most(1),
            ..five
        }),
        World::blank(Config { name: "a group with a store, blank, any fault, one late", may: any(1), ..GROUP }),
        World::blank(Config {
            name: "a group with a store that may found without one, blank, any fault, nobody late",
            late: 0,
            may: without(1, any(1)),
            ..GROUP
        }),
        World::blank(Config {
            name: "a list with a store that may found without one twice, blank, any two faults",
            may: without(2, any(2)),
            ..STORE
        }),
        World::blank(Config {
            name: "a group with a store, blank, any two faults, copied disks too",
            late: 0,
            may: Faults { clone: 1, ..any(2) },
            ..GROUP
        }),
        World::serving(Config { name: "a group with a store that serves, any three faults", may: any(3), ..GROUP }),
        World::blank(Config {
            name: "five hosts, blank, four crashes and losses, nobody late",
            late: 0,
            may: crash_and_loss,
            ..five
        }),
        World::serving(Config {
            name: "five hosts that serve, four crashes and losses, nobody late",
            late: 0,
            may: crash_and_loss,
            ..five
        }),
        World::serving(Config { name: "five hosts that serve, four crashes and losses", may: crash_and_loss, ..five }),
    ]
}

/// A store whose cluster was founded on disks that are all gone; its policy is to restore.
fn after_total_loss(config: Config) -> World {
    let mut world = World::blank(config);
    let before = world.hosts.iter().map(|host| host.nonce).collect::<Vec<_>>();
    let nonces = std::array::from_fn(|h| before.get(h).copied().unwrap_or(super::parts::NOBODY));
    for h in 0..before.len() {
        let blank = world.hosts[h].blank(h);
        *world.host(h) = blank;
    }
    let t = T { nonces, epoch: 1, generation: 1 };
    world.shared().claim = Some(Claim { state: State::Founded, t, voters: nonces });
    world
}

/// A cluster that serves and whose store has no claim yet; the date by which it was to be founded is over.
fn older_than_its_store(config: Config) -> World {
    let mut world = World::serving(Config { dated: false, ..config });
    world.shared().claim = None;
    world
}

/// A rule that is weaker, where it shows soonest.
pub fn weaker() -> Vec<Weaker> {
    let faults = |crash, loss, surge, total| Faults { crash, loss, surge, total, ..NOTHING };
    let blank = |rule, config: Config, may| World::blank(Config { rule, may, ..config });
    let serving = |rule, config: Config, may| World::serving(Config { rule, may, ..config });
    let one = Config { hosts: 2, size: 1, ..GROUP };
    let five = Config { hosts: 5, ..GROUP };
    let restore = Config { restore: true, ..STATIC };
    let without_one = without(1, faults(0, 2, 0, 2));
    let losing = "an acknowledged write is lost";
    let two = "there is data of two clusters";
    let weaker = |instead, first: World, why| Weaker { instead, first, why };
    vec![
        weaker("A majority of blanks instead of all", serving(Rule::MajorityOfBlanks, STATIC, faults(0, 2, 0, 2)), two),
        weaker("Join without remove", serving(Rule::JoinWithoutRemove, STATIC, faults(0, 1, 0, 1)), losing),
        weaker("Unknown taken as absent", blank(Rule::UnknownIsAbsent, Config { late: 0, ..STATIC }, NOTHING), two),
        weaker("A token without nonces", blank(Rule::WithoutNonces, STATIC, faults(0, 2, 0, 2)), losing),
        weaker(
            "Absence from the inventory taken as terminated",
            serving(Rule::AbsentIsTerminated, GROUP, faults(0, 0, 1, 1)),
            "a voter whose disk lives is removed by another",
        ),
        weaker(
            "Answering Ready before it is durable",
            blank(Rule::ReadyBeforeDurable, STATIC, faults(0, 1, 0, 1)),
            STUCK,
        ),
        weaker("Leaving a founding after a stale answer", blank(Rule::ForgetsReady, STATIC, faults(0, 1, 0, 1)), STUCK),
        weaker(
            "A leader's own entries not counted as led",
            blank(Rule::OwnEntriesAreNothing, STATIC, faults(0, 2, 0, 2)),
            "a log that holds what a leader acknowledged is archived",
        ),
        weaker(
            "Waiting for all Ready while one is already Prepared",
            blank(Rule::ReadyMeansReady, restore, NOTHING),
            STUCK,
        ),
        weaker("A claim swapped without `committing`", blank(Rule::WithoutCommitting, one, faults(0, 0, 1, 1)), two),
        weaker(
            "Founding without the missing where neither a claim nor a date allows it",
            older_than_its_store(Config { rule: Rule::DateIsNothing, may: without_one, ..STORE }),
            two,
        ),
        weaker(
            "Founding without the missing where the claim says founded",
            World::serving(Config { rule: Rule::FoundedIsNothing, may: without_one, ..STORE }),
            two,
        ),
        weaker(
            "Acting on an old member list",
            serving(Rule::OldList, five, faults(0, 0, 2, 2)),
            "there are too many members",
        ),
    ]
}

/// What is said of a world from which no way leads to a good one.
pub const STUCK: &str = "no way leads from here to a cluster, and nobody has to help";

/// A rule that is weaker.
pub struct Weaker {
    /// What it is instead of what.
    pub instead: &'static str,
    pub first: World,
    /// What goes wrong.
    pub why: &'static str,
}

impl Faults {
    fn at_most(self, total: u8) -> Faults {
        Faults { total, ..self }
    }
}

impl World {
    pub fn name(&self) -> &'static str {
        self.config.name
    }

    /// The same hosts deciding by another rule.
    pub fn by(mut self, rule: Rule) -> World {
        Rc::make_mut(&mut self.config).rule = rule;
        self
    }
}
