//! Any decision as text for a person at a serial console.

use crate::decision::{Aim, Decided, Decision, Start, Step, short};
use crate::facts::{ClaimState, Quorum};

/// What each row of the decision table is about, for explanations; rows count from 1.
pub const ROWS: [&str; 29] = [
    "the data disk is missing or in use",
    "this host cannot use its data disk",
    "the spec says recover",
    "a member lives on this disk",
    "the member on this disk was removed from its cluster",
    "the data on this disk is broken",
    "this disk has begun a new cluster that has no leader yet",
    "another host has begun the new cluster that this one was ready for",
    "the other hosts are not of one cluster of this name",
    "a cluster is there and has no quorum",
    "somebody else has this host's name or address",
    "something must be put right before this host can take part",
    "the cluster has added this host already",
    "the cluster still lists this host as it was before its disk was lost",
    "a cluster is there already and the spec says mode: init",
    "the cluster takes one member more",
    "this host can replace a dead member",
    "the cluster is full",
    "no cluster answers and this host may not found one",
    "not everybody who must take part is known to be blank",
    "the hosts do not agree on what to found",
    "the store says that this cluster was founded before",
    "the store says that a founding is under way already",
    "a member lived on this disk and its data is gone",
    "the spec allows no new cluster now",
    "all who take part are blank and agree",
    "all hosts are ready, and a snapshot is to be restored",
    "all hosts are ready",
    "some hosts are not ready yet",
];

impl Decided {
    /// What the row is about.
    pub fn about(&self) -> &'static str {
        ROWS.get(usize::from(self.row).wrapping_sub(1)).copied().unwrap_or("no row")
    }

    /// One line: the word, the row and why.
    pub fn headline(&self) -> String {
        format!("{}: {}", self.title(), self.decision.gist())
    }

    /// All of it, a line each, without a trailing newline.
    pub fn explain(&self) -> String {
        let mut lines = vec![self.title()];
        match &self.decision {
            Decision::Start(_) => lines.push(format!("  as {}", self.decision.gist())),
            Decision::Wait(wait) => {
                lines.push(format!("  why: {}", wait.why));
                lines.extend(wait.who.iter().map(|who| format!("  waiting for: {who}")));
                lines.push(format!("  ends when: {}", wait.until));
            }
            Decision::Refuse(refusal) => {
                lines.push(format!("  why: {}", refusal.sentence));
                lines.push(format!("  what to do: {}", refusal.hint));
            }
            Decision::Proceed(plan) => lines.extend(plan.steps.iter().map(|step| format!("  then {}", step.text()))),
        }
        lines.join("\n")
    }

    fn title(&self) -> String {
        format!("{} (row {}: {})", self.decision.word(), self.row, self.about())
    }
}

/// How a cluster stands and what a change of its members needs, in words.
///
/// etcd adds nobody, a learner neither, before every voter is connected (`AddMember` in server/etcdserver/server.go).
pub fn quorum(quorum: &Quorum) -> String {
    let count = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let (learners, voters): (Vec<_>, Vec<_>) = quorum.members.iter().partition(|l| l.member.learner);
    let dead: Vec<String> = voters.iter().filter(|l| !l.answers).map(|l| l.member.label()).collect();
    let (all, up) = (voters.len(), voters.len() - dead.len());
    let mut text = format!("{}, {up} answer, a quorum is {}", count(all, "voter"), all / 2 + 1);
    if !learners.is_empty() {
        text.push_str(&format!("; {}", count(learners.len(), "learner")));
    }
    if dead.is_empty() {
        return text;
    }
    text.push_str(&format!("; adding needs all {all}: "));
    let left = all - 1;
    if up > left / 2 {
        text.push_str(&format!("start {0}, or remove it first if its disk is gone", dead[0]));
    } else {
        text.push_str(&format!("start {}; removing one could cost the quorum", dead.join(" and ")));
    }
    text
}

impl Decision {
    /// The reason in one clause.
    pub fn gist(&self) -> String {
        match self {
            Decision::Start(Start::Member(identity)) => format!(
                "{} ({}) of cluster {} ({})",
                identity.name, identity.member_id, identity.cluster, identity.cluster_id
            ),
            Decision::Start(Start::Founding { founding, wal }) => {
                let names: Vec<&str> = founding.founders.iter().map(|f| f.name.as_str()).collect();
                format!(
                    "one of the first members ({}) of cluster {} ({}), founding {}, {}",
                    names.join(", "),
                    founding.terms.cluster,
                    founding.cluster_id(),
                    short(&founding.id()),
                    if *wal { "with the log that is here" } else { "for the first time" }
                )
            }
            Decision::Wait(wait) if wait.who.is_empty() => format!("{}; ends when {}", wait.why, wait.until),
            Decision::Wait(wait) => format!("{}: {}", wait.why, wait.who.join("; ")),
            Decision::Refuse(refusal) => refusal.sentence.clone(),
            Decision::Proceed(plan) => {
                let steps: Vec<String> = plan.steps.iter().map(Step::text).collect();
                steps.join(", then ")
            }
        }
    }
}

impl Step {
    /// The step as a clause.
    pub fn text(&self) -> String {
        match self {
            Step::Archive { why, .. } => {
                format!("move the data dir to the trash, where nothing is deleted, and go on as a blank disk: {why}")
            }
            Step::Clear => "move what a failed start left to the trash".into(),
            Step::Claim { to, founding, .. } => {
                let to = match to {
                    ClaimState::Founding => "founding",
                    ClaimState::Committing => "committing",
                    ClaimState::Founded => "founded",
                };
                let names: Vec<&str> = founding.founders.iter().map(|f| f.name.as_str()).collect();
                format!("swap the claim in the store to {to} {} of {}", short(&founding.id()), names.join(", "))
            }
            Step::Ready(founding) => {
                format!(
                    "write down that this host is ready for founding {}, and tell the others",
                    short(&founding.id())
                )
            }
            Step::Prepare { founding, snapshot } => {
                format!(
                    "restore snapshot {}… beside the data dir and verify it, for founding {}",
                    &snapshot.as_str()[..12],
                    short(&founding.id())
                )
            }
            Step::Commit(founding) => {
                let names: Vec<&str> = founding.founders.iter().map(|f| f.name.as_str()).collect();
                format!(
                    "begin the new cluster {} of {}: commit founding {}",
                    founding.terms.cluster,
                    names.join(", "),
                    short(&founding.id())
                )
            }
            Step::Remove { why, .. } => format!("remove {why}"),
            Step::Add { cluster_id, peer_url, .. } => {
                format!("add {peer_url} to cluster {cluster_id} as a learner, without a vote yet")
            }
            Step::HandOff { identity, .. } => {
                format!("start etcd as learner {} of cluster {}", identity.member_id, identity.cluster_id)
            }
            Step::Recover { identity, recover, .. } => {
                format!(
                    "keep the database of {} in a new cluster of its own, epoch {}, and the old data in the trash",
                    identity.name, recover.epoch
                )
            }
        }
    }
}

impl Aim {
    /// What it is as a participle, for the console.
    pub fn doing(&self) -> &'static str {
        match self {
            Aim::Found => "founding",
            Aim::Join => "joining",
            Aim::Replace => "replacing",
            Aim::Recover => "recovering",
            Aim::Archive => "archiving",
        }
    }
}
