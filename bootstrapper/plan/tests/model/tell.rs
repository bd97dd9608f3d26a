//! What happened, in words.

use std::fmt;

use super::parts::{Id, NOBODY, Plan, State, Step, T};
use super::rounds::Stale;

/// One thing that happens, and what others had heard or decided before it.
#[derive(Clone, Debug)]
pub struct Event {
    pub what: What,
    pub stale: Vec<Stale>,
}

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A host carries out these steps, that it has just decided or decided before.
    Does {
        h: usize,
        steps: Plan,
        late: bool,
    },
    /// A host's round ends with nothing to do.
    Waits(usize),
    /// These etcds elect the first leader of their cluster.
    Leads(Vec<usize>),
    /// These etcds acknowledge a client's write.
    Writes(Vec<usize>),
    /// An etcd hears the leader of its cluster and has all of its log.
    Follows(usize),
    /// A learner is promoted.
    Promotes(usize),
    /// An etcd learns that it was removed, and ends.
    Ends(usize),
    /// A voter writes the store's claim.
    Claims(usize),
    /// The provider launches an instance.
    Launches(usize),
    Crashes(usize),
    LosesItsDisk(usize),
    IsGone(usize),
    IsEdited(usize),
    IsCopied(usize, usize),
}

impl What {
    /// Who it befalls.
    pub fn host(&self) -> usize {
        match self {
            What::Does { h, .. } => *h,
            What::Leads(hosts) | What::Writes(hosts) => hosts[0],
            What::IsCopied(_, h)
            | What::Waits(h)
            | What::Follows(h)
            | What::Promotes(h)
            | What::Ends(h)
            | What::Claims(h)
            | What::Launches(h)
            | What::Crashes(h)
            | What::LosesItsDisk(h)
            | What::IsGone(h)
            | What::IsEdited(h) => *h,
        }
    }

    /// Whether it need not happen for all to become well.
    pub fn is_fault(&self) -> bool {
        match self {
            What::Does { .. }
            | What::Waits(_)
            | What::Leads(_)
            | What::Follows(_)
            | What::Promotes(_)
            | What::Ends(_)
            | What::Claims(_)
            | What::Launches(_) => false,
            What::Writes(_)
            | What::Crashes(_)
            | What::LosesItsDisk(_)
            | What::IsGone(_)
            | What::IsEdited(_)
            | What::IsCopied(..) => true,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for stale in &self.stale {
            match stale {
                Stale::Heard(h, sources) => {
                    let sources: Vec<String> = sources.iter().map(|s| source((*s).into())).collect();
                    write!(f, "; {} heard {} before that", host(*h), sources.join(" and "))?;
                }
                Stale::Decided(h, plan) => write!(f, "; {} decided before that to {}", host(*h), steps(plan))?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Does { h, steps: plan, late: false } => write!(f, "{}: {}", host(*h), steps(plan)),
            What::Does { h, steps: plan, late: true } => write!(f, "{}, as it had decided: {}", host(*h), steps(plan)),
            What::Waits(h) => write!(f, "{} waits", host(*h)),
            What::Leads(of) => write!(f, "{} elect{} a leader", hosts(of), ending(of)),
            What::Writes(of) => write!(f, "{} acknowledge{} a write", hosts(of), ending(of)),
            What::Follows(h) => write!(f, "{} hears the leader and has its log", host(*h)),
            What::Promotes(h) => write!(f, "{} is promoted", host(*h)),
            What::Ends(h) => write!(f, "{} learns that it was removed, and its etcd ends", host(*h)),
            What::Claims(h) => write!(f, "{} sees a quorum and writes the claim", host(*h)),
            What::Launches(h) => write!(f, "{} is launched", host(*h)),
            What::Crashes(h) => write!(f, "{} crashes", host(*h)),
            What::LosesItsDisk(h) => write!(f, "{} loses its disk", host(*h)),
            What::IsGone(h) => write!(f, "{} is gone for ever", host(*h)),
            What::IsEdited(h) => write!(f, "the epoch in the spec of {} is raised", host(*h)),
            What::IsCopied(from, to) => write!(f, "the disk of {} is copied over that of {}", host(*from), host(*to)),
        }
    }
}

fn host(h: usize) -> String {
    format!("etcd-{}", h + 1)
}

fn hosts(of: &[usize]) -> String {
    of.iter().map(|h| host(*h)).collect::<Vec<_>>().join(" and ")
}

fn ending(of: &[usize]) -> &'static str {
    if of.len() == 1 { "s" } else { "" }
}

fn source(s: usize) -> String {
    if s == super::parts::STORE { "the store".into() } else { host(s) }
}

/// The disks of a founding, each by the number of its life: `1.0 2.1 3.0`.
fn founding(t: &T) -> String {
    let disk = |n: &u8| format!("{}.{}", (n >> 4) + 1, n & 15);
    let disks: Vec<String> = t.nonces.iter().filter(|n| **n != NOBODY).map(disk).collect();
    let epoch = if t.epoch > 1 { format!(" of epoch {}", t.epoch) } else { String::new() };
    let generation = if t.generation > 1 { format!(" of generation {}", t.generation) } else { String::new() };
    format!("{{{}}}{epoch}{generation}", disks.join(" "))
}

fn member(id: Id) -> String {
    match id.seq {
        0 => format!("{}, the founder", host(id.host.into())),
        seq => format!("{}, added {seq}.", host(id.host.into())),
    }
}

fn steps(plan: &Plan) -> String {
    plan.iter().map(step).collect::<Vec<_>>().join(", ")
}

fn step(step: &Step) -> String {
    match step {
        Step::Start => "start etcd".into(),
        Step::Say(t) => format!("answer Ready for {}, which is not durable", founding(t)),
        Step::TakeBack(_, id) => format!("start etcd on a blank disk as {}", member(*id)),
        Step::Ready(t) => format!("ready {}", founding(t)),
        Step::Prepare(t) => format!("prepare {}", founding(t)),
        Step::Commit(t) => format!("commit {}", founding(t)),
        Step::Archive { removed: true } => "archive what was removed".into(),
        Step::Archive { removed: false } => "take a new disk nonce".into(),
        Step::Claim { to, t, .. } => format!("swap the claim to {} {}", state(*to), founding(t)),
        Step::Remove(_, id, _) => format!("remove {}", member(*id)),
        Step::Add(..) => "add itself as a learner".into(),
        Step::HandOff(..) => "hand off to etcd as that learner".into(),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Founding => "founding",
        State::Committing => "committing",
        State::Founded => "founded",
    }
}
