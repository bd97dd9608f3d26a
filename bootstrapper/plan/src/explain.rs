//! Any decision as text for a person at a serial console.

use crate::decision::{Aim, Decided, Decision, Start, Step, short};
use crate::facts::ClaimState;

/// What each row of the decision table is about, for explanations; rows count from 1.
pub const ROWS: [&str; 29] = [
    "the data dir is not ours to look at yet",
    "the data dir must not be used",
    "the operator names a survivor",
    "a member lives here",
    "the member that lived here was removed",
    "the data is damaged",
    "a founding is committed here and not led yet",
    "a peer has committed a founding that this disk is ready for",
    "the peers are not of one cluster",
    "a cluster answers without quorum",
    "this host's name or address is alive elsewhere",
    "a gate is closed",
    "this disk's learner is added already",
    "this host's previous life is a member",
    "a cluster is there and mode is init",
    "the cluster has room",
    "a dead voter can be replaced",
    "the cluster is full",
    "this host may not found now",
    "a member of the founding is not known to be blank",
    "the hosts do not agree",
    "the store knows this cluster as founded",
    "the store knows another founding",
    "this disk lost its member",
    "the spec allows no founding now",
    "all are blank and agree",
    "all are ready to restore",
    "all are ready",
    "the others are not as far yet",
];

impl Decided {
    /// What the row is about.
    pub fn about(&self) -> &'static str {
        ROWS.get(usize::from(self.row).wrapping_sub(1)).copied().unwrap_or("no row")
    }

    /// One line: the word, the row and why.
    pub fn headline(&self) -> String {
        format!("{} (row {}: {}): {}", self.decision.word(), self.row, self.about(), self.decision.gist())
    }

    /// All of it, a line each, without a trailing newline.
    pub fn explain(&self) -> String {
        let mut lines = vec![self.headline()];
        match &self.decision {
            Decision::Wait(wait) => {
                lines.extend(wait.who.iter().map(|who| format!("  waiting for {who}")));
                lines.push(format!("  ends when {}", wait.until));
            }
            Decision::Refuse(refusal) => lines.push(format!("  hint: {}", refusal.hint)),
            Decision::Proceed(plan) => {
                lines.extend(
                    plan.steps.iter().enumerate().map(|(i, step)| format!("  step {}: {}", i + 1, step.text())),
                );
            }
            Decision::Start(_) => {}
        }
        lines.join("\n")
    }
}

impl Decision {
    /// The reason in one clause.
    pub fn gist(&self) -> String {
        match self {
            Decision::Start(Start::Member(identity)) => {
                format!(
                    "{} ({}) of cluster {} ({})",
                    identity.name, identity.member_id, identity.cluster, identity.cluster_id
                )
            }
            Decision::Start(Start::Founding { founding, wal }) => format!(
                "founding {} of {} members, {}",
                short(&founding.id()),
                founding.founders.len(),
                if *wal { "its log is here" } else { "new" }
            ),
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
                format!("move the data dir to the trash and begin a new life of the disk ({why})")
            }
            Step::Clear => "move what a failed start left to the trash".into(),
            Step::Claim { to, founding } => {
                let to = match to {
                    ClaimState::Founding => "founding",
                    ClaimState::Committing => "committing",
                    ClaimState::Founded => "founded",
                };
                format!("swap the claim in the store to {to} {}", short(&founding.id()))
            }
            Step::Ready(founding) => format!("be ready for founding {}", short(&founding.id())),
            Step::Prepare { founding, snapshot } => {
                format!(
                    "restore snapshot {}… beside the data dir and prove it, for founding {}",
                    &snapshot.as_str()[..12],
                    short(&founding.id())
                )
            }
            Step::Commit(founding) => {
                let names: Vec<&str> = founding.founders.iter().map(|f| f.name.as_str()).collect();
                format!("commit founding {} of {}", short(&founding.id()), names.join(", "))
            }
            Step::Remove { member, why, .. } => format!("remove member {member} ({why})"),
            Step::Add { cluster_id, peer_url, .. } => format!("add {peer_url} to cluster {cluster_id} as a learner"),
            Step::HandOff { identity, .. } => {
                format!("start as learner {} of cluster {}", identity.member_id, identity.cluster_id)
            }
            Step::Recover { identity, recover, .. } => {
                format!("keep the database of {} as the only member of epoch {}", identity.name, recover.epoch)
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
