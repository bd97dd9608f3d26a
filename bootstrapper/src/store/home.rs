//! The store as a host uses it: opened when it is first asked, and its claim as a fact.

use std::sync::Arc;

use plan::facts::{ClaimState, Claims};
use plan::spec::{OnTotalLoss, Spec};
use plan::store::StoreEntry;
use tokio::sync::OnceCell;

use super::{Store, Trouble, claim, manifest};
use crate::paths::Paths;

/// The store of this host's spec.
pub struct Home {
    entry: Arc<StoreEntry>,
    paths: Paths,
    opened: OnceCell<Store>,
}

impl Home {
    /// The store that this entry names; nothing is read before it is needed.
    pub fn of(entry: &Arc<StoreEntry>, paths: &Paths) -> Home {
        Home { entry: entry.clone(), paths: paths.clone(), opened: OnceCell::new() }
    }

    /// The store itself, opened anew while that fails: a secret may be delivered, or a share mounted, later.
    ///
    /// # Errors
    /// [`Trouble::Unreached`], with the reason.
    pub async fn store(&self) -> Result<&Store, Trouble> {
        let open = async || Store::open(&self.entry, &self.paths);
        self.opened.get_or_try_init(open).await.map_err(|error| Trouble::Unreached(format!("{error:#}")))
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
        Ok(Claims::Read { claim, newest_snapshot: newest.map(|s| s.manifest.sha256) })
    }
}
