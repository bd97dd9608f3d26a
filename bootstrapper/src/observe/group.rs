//! Who is in the group, as last answered: asked in the background, not more often than whoever lists it likes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plan::discovery::Discovery;
use plan::document::Auto;
use plan::facts::Inventory;
use plan::spec::Host;
use tokio::sync::watch;
use tokio::time::timeout;

use super::inventory;
use crate::cloud::{Hook, Listing, Source, Trouble};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::sys::random;

/// An answer is not believed for longer than this after it was due to be asked for again.
const OLD: Duration = Duration::from_secs(30);

/// For all requests of one answer.
const WHOLE: Duration = Duration::from_secs(60);

/// How long the first answer is waited for before it is unknown.
const FIRST: Duration = Duration::from_secs(10);

/// Between two questions while they fail: the first pause, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A group that somebody lists.
pub struct Group {
    lister: Lister,
}

enum Lister {
    File(PathBuf),
    Asked(Asked),
}

struct Asked {
    source: Arc<Source>,
    state: Arc<Mutex<State>>,
    /// Counts the answers, good or bad.
    answered: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Members that somebody has named.
    known: BTreeSet<String>,
    listing: Option<(Instant, Listing)>,
    trouble: Option<Trouble>,
    /// Since when every question has ended in a way that waiting does not heal.
    hopeless_since: Option<Instant>,
    failures: u32,
    asking: bool,
    due: Option<Instant>,
}

impl Group {
    /// The group that the spec names; nobody is asked yet.
    pub fn of(host: &Host, paths: &Paths, instance_id: Option<&str>) -> Option<Arc<Group>> {
        let discovery = host.discovery.as_ref()?;
        let named = match &host.name {
            Auto::Is(name) => Some(name.as_str()),
            Auto::Auto => None,
        };
        let instance = named.or(instance_id);
        let lister = match (discovery, Source::of(discovery, paths, instance)) {
            (Discovery::File(file), _) => Lister::File(paths.host(file)),
            (_, Some(source)) => Lister::Asked(Asked {
                source: Arc::new(source),
                state: Arc::default(),
                answered: watch::Sender::new(0),
            }),
            (_, None) => return None,
        };
        Some(Arc::new(Group { lister }))
    }

    /// Whether nothing but this host is asked.
    pub fn is_local(&self) -> bool {
        matches!(self.lister, Lister::File(_))
    }

    /// Whether a host finds itself by its address, and not by its instance ID.
    pub fn by_address(&self) -> bool {
        match &self.lister {
            Lister::File(_) => false,
            Lister::Asked(asked) => asked.source.by_address(),
        }
    }

    /// The launch that waits for this host, where the spec says so.
    pub fn hook(&self) -> Option<Hook<'_>> {
        match &self.lister {
            Lister::File(_) => None,
            Lister::Asked(asked) => asked.source.hook(),
        }
    }

    /// Where the group is listed, for a person.
    pub fn place(&self) -> String {
        match &self.lister {
            Lister::File(path) => format!("the inventory {}", path.display()),
            Lister::Asked(asked) => asked.source.place(),
        }
    }

    /// The group as it is listed now; waits for the first answer only.
    pub async fn now(&self) -> Inventory {
        match &self.lister {
            Lister::File(path) => inventory::read(path),
            Lister::Asked(asked) => asked.now().await,
        }
    }

    /// These are or were members; whoever lists the group is asked what became of those whom it does not list.
    pub fn know(&self, names: impl Iterator<Item = String>) {
        let Lister::Asked(asked) = &self.lister else { return };
        let mut state = asked.state();
        let before = state.known.len();
        state.known.extend(names);
        // Only an answer is asked for again: a failure has its own pause.
        if state.known.len() > before && state.trouble.is_none() {
            state.due = None;
        }
    }

    /// For how long every question has failed in a way that waiting does not heal, and how.
    pub fn hopeless(&self) -> Option<(Duration, Trouble)> {
        let Lister::Asked(asked) = &self.lister else { return None };
        let state = asked.state();
        Some((state.hopeless_since?.elapsed(), state.trouble.clone()?))
    }
}

impl Asked {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn now(&self) -> Inventory {
        let mut answered = self.answered.subscribe();
        self.ask_if_due();
        if !self.state().known() {
            let _too_late = timeout(FIRST, answered.changed()).await;
        }
        self.state().inventory(&self.source.place())
    }

    /// Asks in the background, unless somebody does or it is too early.
    fn ask_if_due(&self) {
        let mut state = self.state();
        if state.asking || state.due.is_some_and(|due| Instant::now() < due) {
            return;
        }
        state.asking = true;
        let known = state.known.clone();
        let (source, state, answered) = (self.source.clone(), self.state.clone(), self.answered.clone());
        tokio::spawn(async move {
            let result = timeout(WHOLE, source.list(&known)).await.unwrap_or_else(|_| {
                let text = format!("{} took more than {} s to list", source.place(), WHOLE.as_secs());
                Err(Trouble::new(Exit::Unavailable, text))
            });
            state.lock().unwrap_or_else(PoisonError::into_inner).note(result);
            answered.send_modify(|count| *count += 1);
        });
    }
}

impl State {
    fn known(&self) -> bool {
        self.listing.is_some() || self.trouble.is_some()
    }

    fn note(&mut self, result: Result<Listing, Trouble>) {
        let now = Instant::now();
        self.asking = false;
        match result {
            Ok(listing) => {
                self.due = Some(now + listing.fresh);
                self.listing = Some((now, listing));
                (self.trouble, self.hopeless_since, self.failures) = (None, None, 0);
            }
            Err(trouble) => {
                tracing::debug!("{}", trouble.text);
                self.due = Some(now + pause(self.failures, trouble.after));
                self.failures += 1;
                let hopeless = matches!(trouble.exit, Exit::BadInput | Exit::Permission);
                self.hopeless_since = hopeless.then(|| self.hopeless_since.unwrap_or(now));
                self.trouble = Some(trouble);
            }
        }
    }

    fn inventory(&self, place: &str) -> Inventory {
        match (&self.listing, &self.trouble) {
            (Some((at, listing)), _) if at.elapsed() <= listing.fresh + OLD => {
                Inventory::Listed(listing.instances.clone())
            }
            (_, Some(trouble)) => Inventory::Unknown { reason: trouble.text.clone() },
            (Some(_), None) => Inventory::Unknown { reason: format!("{place} have not been answered again for long") },
            (None, None) => Inventory::Unknown { reason: format!("{place} have not been answered yet") },
        }
    }
}

/// Doubles with each failure, and differs from host to host, so that a group does not ask in one moment.
fn pause(failures: u32, wanted: Option<Duration>) -> Duration {
    let doubled = BACK_OFF.0.saturating_mul(1 << failures.min(8)).min(BACK_OFF.1);
    let share = random::bytes::<1>().map_or(0.5, |[byte]| f64::from(byte) / 255.0);
    doubled.mul_f64(0.5 + share / 2.0).max(wanted.unwrap_or_default().min(BACK_OFF.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        Listing { instances: Vec::new(), fresh: Duration::from_secs(5) }
    }

    #[test]
    fn a_failure_takes_nothing_from_an_answer_until_that_is_old() {
        let mut state = State::default();
        assert!(!state.known());
        state.note(Ok(listing()));
        state.note(Err(Trouble::new(Exit::TryAgain, "throttled")));
        assert_eq!(state.inventory("x"), Inventory::Listed(Vec::new()));
        let ago = Instant::now().checked_sub(Duration::from_secs(36)).expect("an uptime");
        state.listing = Some((ago, listing()));
        assert_eq!(state.inventory("x"), Inventory::Unknown { reason: "throttled".into() });
        state.note(Ok(listing()));
        assert_eq!((state.failures, state.hopeless_since), (0, None));
    }

    #[test]
    fn what_no_waiting_heals_counts_from_its_own_beginning() {
        let mut state = State::default();
        state.note(Err(Trouble::new(Exit::Permission, "no right")));
        let first = state.hopeless_since.expect("hopeless");
        state.note(Err(Trouble::new(Exit::Permission, "no right")));
        assert_eq!(state.hopeless_since, Some(first));
        state.note(Err(Trouble::new(Exit::Unavailable, "nobody answers")));
        assert_eq!(state.hopeless_since, None);
        state.note(Err(Trouble::new(Exit::BadInput, "a wrong record")));
        assert!(state.hopeless_since.is_some_and(|since| since > first));
    }

    #[test]
    fn pauses_grow_to_a_bound_and_nobody_is_asked_earlier_than_it_wants() {
        for (failures, least, most) in [(0, 500, 1000), (1, 1000, 2000), (3, 4000, 8000), (20, 15_000, 30_000)] {
            let pause = pause(failures, None).as_millis();
            assert!((least..=most).contains(&pause), "{failures}: {pause}");
        }
        assert_eq!(pause(0, Some(Duration::from_secs(20))), Duration::from_secs(20));
        assert_eq!(pause(0, Some(Duration::from_secs(3600))), BACK_OFF.1);
    }
}
