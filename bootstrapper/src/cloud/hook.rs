//! The launch lifecycle hook of an Auto Scaling group: an instance counts as launched once its member votes, so that an
//! instance refresh goes at the pace of etcd.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::watch;

use super::Trouble;
use super::asg::{Asg, Members};
use super::aws::{Action, Page};

/// What a hook on a launch is called (Auto Scaling, `LifecycleTransition`).
const LAUNCHING: &str = "autoscaling:EC2_INSTANCE_LAUNCHING";

/// Between two signs of life; the shortest timeout that a hook can have is twice that.
pub(super) const BEAT: Duration = Duration::from_secs(15);

/// The longest pause while the group does not take our word.
const LONGEST: Duration = Duration::from_secs(60);

/// A launch that waits for this host.
#[derive(Clone, Copy)]
pub struct Hook<'a> {
    asg: &'a Asg,
    instance: &'a str,
    /// Its name; the group's only one on launches where nobody says.
    named: Option<&'a str>,
    beat: Duration,
}

impl<'a> Hook<'a> {
    pub(super) fn of(asg: &'a Asg, instance: &'a str, named: Option<&'a str>, beat: Duration) -> Hook<'a> {
        Hook { asg, instance, named, beat }
    }

    /// Whose launch it is.
    pub fn instance(&self) -> &str {
        self.instance
    }

    /// Tells the group that this host is at work until its member votes, and then that it is launched; ends when the group
    /// has heard that, or waits for it no more. Whatever fails is logged and tried again.
    pub async fn pace(self, mut votes: watch::Receiver<bool>) {
        let mut failures = 0;
        let mut name = self.named.map(str::to_owned);
        loop {
            let done = *votes.borrow_and_update();
            match self.tell(done, &mut name).await {
                Ok(Heard::Goes) if done => {
                    tracing::info!("the Auto Scaling group was told that {} is launched", self.instance);
                    return;
                }
                Ok(Heard::Goes) => failures = 0,
                Ok(Heard::NoLaunch(why)) => {
                    tracing::info!("no launch waits for {}: {why}", self.instance);
                    return;
                }
                Err(trouble) => {
                    failures += 1;
                    tracing::warn!(
                        "the launch of {} goes on without its group being told: {}",
                        self.instance,
                        trouble.text
                    );
                }
            }
            let pause = if failures == 0 { self.beat } else { (self.beat / 4 * failures).min(LONGEST) };
            let _changed_or_late = tokio::time::timeout(pause, votes.changed()).await;
        }
    }

    pub(super) async fn tell(&self, done: bool, name: &mut Option<String>) -> Result<Heard, Trouble> {
        let group = self.asg.name().await?;
        if name.is_none() {
            *name = self.only(group).await?;
        }
        let Some(hook) = name.clone() else {
            return Ok(Heard::NoLaunch(format!("the group {group} has no hook on launches")));
        };
        let (action, further) = if done {
            (Action::CompleteLifecycleAction, Some(("LifecycleActionResult".to_owned(), "CONTINUE".to_owned())))
        } else {
            (Action::RecordLifecycleActionHeartbeat, None)
        };
        let mut parameters = vec![
            ("AutoScalingGroupName".to_owned(), group.to_owned()),
            ("LifecycleHookName".to_owned(), hook),
            ("InstanceId".to_owned(), self.instance.to_owned()),
        ];
        parameters.extend(further);
        let about = format!("the launch of {} in {group}", self.instance);
        match self.asg.aws().ask::<IgnoredAny>(action, &about, &parameters).await {
            Ok(IgnoredAny) => Ok(Heard::Goes),
            // So it answers of an instance that is in service already, of one that has not come to the hook yet, and of a
            // hook by a wrong name; only the first is over.
            Err(trouble) if trouble.text.contains("No active Lifecycle Action found") => {
                if self.asg.is_pending(self.instance).await? { Err(trouble) } else { Ok(Heard::NoLaunch(trouble.text)) }
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The group's hook on launches, where it has exactly one.
    async fn only(&self, group: &str) -> Result<Option<String>, Trouble> {
        let parameters = [("AutoScalingGroupName".to_owned(), group.to_owned())];
        let about = format!("the Auto Scaling group {group}");
        let hooks: Vec<Hooks> = self.asg.aws().pages(Action::DescribeLifecycleHooks, &about, &parameters).await?;
        let mut launch =
            hooks.into_iter().flat_map(|page| page.result.hooks.member).filter(|h| h.transition == LAUNCHING);
        match (launch.next(), launch.next()) {
            (one, None) => Ok(one.map(|hook| hook.name)),
            (Some(a), Some(b)) => Err(Trouble::new(
                crate::exit::Exit::BadInput,
                format!(
                    "{about} has the hooks {} and {} on launches: write `discovery.aws_asg.launch_hook`",
                    a.name, b.name
                ),
            )),
            (None, Some(_)) => Ok(None),
        }
    }
}

/// What the group says to it.
pub(super) enum Heard {
    Goes,
    NoLaunch(String),
}

#[derive(Deserialize)]
struct Hooks {
    #[serde(rename = "DescribeLifecycleHooksResult")]
    result: HooksResult,
}

#[derive(Deserialize)]
struct HooksResult {
    #[serde(rename = "LifecycleHooks")]
    hooks: Members<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "LifecycleHookName")]
    name: String,
    #[serde(rename = "LifecycleTransition")]
    transition: String,
}

impl Page for Hooks {
    fn token(&self) -> Option<&str> {
        None
    }
}
