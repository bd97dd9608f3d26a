//! The group that launched this host is told when its member votes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::observe::Group;
use crate::paths::Paths;
use crate::sys::fs;

/// How long `finish` stays for the sake of a group that cannot be told; the next boot tries again.
const STAYS: Duration = Duration::from_secs(30 * 60);

/// A launch that somebody waits for.
pub(super) struct Pace {
    votes: watch::Sender<bool>,
    told: JoinHandle<()>,
}

impl Pace {
    /// Begins to give signs of life where the spec names a hook, unless this instance's launch is over.
    pub(super) fn begin(paths: &Paths, group: Option<&Arc<Group>>) -> Option<Pace> {
        let group = group?;
        let instance = group.hook()?.instance().to_owned();
        let launched = paths.launch_hook();
        // What cannot be read costs a request or two, and must not keep a learner from being promoted.
        let over = fs::read_text(&launched, 1 << 10).unwrap_or_else(|error| {
            tracing::warn!("the group is told once more that this host is launched: {error:#}");
            None
        });
        if over.is_some_and(|text| text.trim() == instance) {
            return None;
        }
        let (votes, seen) = watch::channel(false);
        let group = Arc::clone(group);
        let told = tokio::spawn(async move {
            let Some(hook) = group.hook() else { return };
            hook.pace(seen).await;
            if let Err(error) = fs::write_atomic(&launched, instance.as_bytes(), 0o644, None) {
                tracing::warn!("the next boot tells the group again: {error:#}");
            }
        });
        Some(Pace { votes, told })
    }

    /// This host's member votes.
    pub(super) fn votes(&self) {
        self.votes.send_replace(true);
    }

    /// Waits until the group has heard it, or for so long as is worth it.
    pub(super) async fn ends(self) {
        if timeout(STAYS, self.told).await.is_err() {
            tracing::warn!("the group could not be told that this host is launched; the next boot tells it again");
        }
    }
}
