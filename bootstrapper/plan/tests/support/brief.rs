//! A decision in a few words, for tables: all of it that is not prose.

use plan::decision::{Decided, Decision, Start, Step, short};

/// `20 wait: etcd-2 at …: no answer`, `2 refuse foreign-data`, `16 join: add`, `4 start a1`.
pub fn brief(decided: &Decided) -> String {
    let rest = match &decided.decision {
        Decision::Start(Start::Member(identity)) => format!("start {}", identity.member_id),
        Decision::Start(Start::Founding { founding, wal: false }) => format!("start new {}", short(&founding.id())),
        Decision::Start(Start::Founding { founding, wal: true }) => format!("start logged {}", short(&founding.id())),
        Decision::Wait(wait) if wait.who.is_empty() => "wait".into(),
        Decision::Wait(wait) => format!("wait: {}", wait.who.join("; ")),
        Decision::Refuse(refusal) => {
            let code = serde_json::to_value(refusal.code).expect("a code");
            format!("refuse {}", code.as_str().expect("a text"))
        }
        Decision::Proceed(plan) => {
            let steps: Vec<String> = plan.steps.iter().map(step).collect();
            format!("{}: {}", plan.aim, steps.join(", "))
        }
    };
    format!("{} {rest}", decided.row)
}

fn step(step: &Step) -> String {
    match step {
        Step::Archive { removed, only_unled, lost, why: _ } => {
            let flags = [(removed.is_some(), " removed"), (*only_unled, " if unled"), (*lost, " as lost")];
            format!("archive{}", flags.iter().filter(|(on, _)| *on).map(|(_, text)| *text).collect::<String>())
        }
        Step::Clear => "clear".into(),
        Step::Claim { to, founding, .. } => format!("claim {to:?} {}", short(&founding.id())).to_lowercase(),
        Step::Ready(founding) => format!("ready {}", short(&founding.id())),
        Step::Prepare { founding, .. } => format!("prepare {}", short(&founding.id())),
        Step::Commit(founding) => format!("commit {}", short(&founding.id())),
        Step::Remove { member, .. } => format!("remove {member}"),
        Step::Add { .. } => "add".into(),
        Step::HandOff { identity, .. } => format!("hand off {}", identity.member_id),
        Step::Recover { founding, .. } => format!("recover {}", short(&founding.id())),
    }
}
