//! The moment between a founding's commit and etcd's start.

use std::time::{Duration, Instant};

use plan::facts::{Facts, Heard};
use plan::founding::Founding;
use plan::member::PeerUrl;

/// The longest wait for others; who has not committed by then is pulled into the founding by etcd's own answer.
const LONGEST: Duration = Duration::from_secs(1);

/// A host that has committed a founding goes on answering that it has, for those that have not.
///
/// An etcd listens up to a second before it answers, so who has not heard of the commit by then hears nothing for so
/// long, and etcds that start apart wait for each other as long again. Of no consequence but for time.
pub struct Linger {
    since: Instant,
    /// Those that were seen to have committed it too.
    told: Vec<PeerUrl>,
}

impl Default for Linger {
    fn default() -> Linger {
        Linger { since: Instant::now(), told: Vec::new() }
    }
}

impl Linger {
    /// Whether etcd may start: all others of the founding were seen to have committed it, or the time is over.
    pub fn is_over(&mut self, founding: &Founding, facts: &Facts) -> bool {
        let (id, cluster_id) = (founding.id(), founding.cluster_id());
        let committed = facts.peers.iter().filter(|p| match &p.heard {
            Heard::Founding { founding, .. } => *founding == id,
            Heard::Cluster(answer) => answer.cluster_id == cluster_id,
            Heard::Waiting(_) | Heard::Holds { .. } | Heard::Unknown { .. } => false,
        });
        self.told.extend(committed.map(|p| p.peer_url.clone()));
        let knows = |url: &PeerUrl| *url == facts.me.peer_url || self.told.contains(url);
        self.since.elapsed() >= LONGEST || founding.founders.iter().all(|f| knows(&f.peer_url))
    }
}
