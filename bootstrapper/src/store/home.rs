//! The store as a host uses it: opened when it is first asked, and its claim as a fact.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plan::facts::{ClaimState, Claims};
use plan::spec::{OnTotalLoss, Spec};
use plan::store::StoreEntry;
use tokio::sync::OnceCell;

use super::{Store, Trouble, claim, manifest};
use crate::paths::Paths;
use crate::secrets::Near;

/// For how long a cloud that did not give the store's keys is not asked for them again.
const PAUSE: Duration = Duration::from_secs(5);

/// The store of this host's spec.
pub struct Home {
    entry: Arc<StoreEntry>,
    paths: Paths,
    opened: OnceCell<Store>,
    failed: Mutex<Option<(Instant, String)>>,
}

impl Home {
    /// The store that this entry names; nothing is read before it is needed.
    pub fn of(entry: &Arc<StoreEntry>, paths: &Paths) -> Home {
        Home { entry: entry.clone(), paths: paths.clone(), opened: OnceCell::new(), failed: Mutex::default() }
    }

    /// The store itself, opened anew while that fails: a secret may be delivered, or a share mounted, later.
    ///
    /// # Errors
    /// [`Trouble::Unreached`], with the reason.
    pub async fn store(&self) -> Result<&Store, Trouble> {
        let open = async || {
            if let Some((at, why)) = &*locked(&self.failed)
                && at.elapsed() < PAUSE
            {
                return Err(Trouble::Unreached(why.clone()));
            }
            let opened = async {
                let entry = Near::once(&self.paths).store(&self.entry).await?;
                Store::open(&entry, &self.paths)
            };
            let opened: anyhow::Result<Store> = opened.await;
            opened.map_err(|error| {
                let why = format!("{error:#}");
                // What lies on this host costs nothing to look for.
                *locked(&self.failed) = self.entry.is_remote().then(|| (Instant::now(), why.clone()));
                Trouble::Unreached(why)
            })
        };
        self.opened.get_or_try_init(open).await
    }

    /// What the store says, as a fact.
    pub async fn claims(&self, spec: &Spec) -> Claims {
        match self.read(spec).await {
            Ok(claims) => claims,
            Err(Trouble::Unfit(reason)) => Claims::Unusable { reason },
            Err(trouble) => Claims::Unreachable { reason: trouble.to_string() },
        }
    }

    async fn read(&self, spec: &Spec) -> Result<Claims, Trouble> {
        let store = self.store().await?;
        let claim = claim::read(store, &spec.cluster).await?;
        let founded = claim.as_ref().is_some_and(|c| c.state == ClaimState::Founded && c.epoch == spec.epoch);
        let follows = spec.store.as_ref().is_some_and(|s| s.on_total_loss == OnTotalLoss::Restore);
        let newest = if founded && follows { manifest::newest(store, &spec.cluster).await? } else { None };
        // In another epoch's is nothing that was acknowledged in this one: a person says whether it follows.
        let newest = newest.filter(|s| s.manifest.epoch == spec.epoch);
        Ok(Claims::Read { claim, newest_snapshot: newest.map(|s| s.manifest.sha256) })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
