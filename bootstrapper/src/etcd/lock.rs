//! The lock under which members are changed: an etcd lease, so that a dead holder frees it by itself.

use etcd_client::LockOptions;

use super::{Etcd, EtcdError, PREFIX, error};

/// How long a dead holder keeps the lock, seconds; a change with its list takes well under it.
const LEASE: i64 = 20;

/// The lock, until `release` or the end of its lease.
pub struct Locked {
    key: Vec<u8>,
    lease: i64,
}

impl Etcd {
    /// Takes the cluster's membership lock.
    ///
    /// # Errors
    /// [`EtcdError::Silent`] when somebody else holds it all the time.
    pub async fn lock(&mut self) -> Result<Locked, EtcdError> {
        let grant = error::within(self.limit, &self.url, "get a lease", self.client.lease_grant(LEASE, None)).await?;
        let options = LockOptions::new().with_lease(grant.id());
        // The call waits while another holds the lock; after the timeout the loop looks around again.
        let call = self.client.lock(format!("{PREFIX}lock/membership"), Some(options));
        match error::within(self.limit, &self.url, "take the membership lock", call).await {
            Ok(lock) => Ok(Locked { key: lock.key().to_vec(), lease: grant.id() }),
            Err(error) => {
                // A queued claim would take the lock later, for nobody.
                let revoke = self.client.lease_revoke(grant.id());
                let _ends_with_its_time_to_live =
                    error::within(self.limit, &self.url, "give the lease back", revoke).await;
                Err(error)
            }
        }
    }

    /// Gives the lock back; if that fails, its lease ends it.
    pub async fn release(&mut self, locked: Locked) {
        let unlock = error::within(self.limit, &self.url, "unlock", self.client.unlock(locked.key)).await;
        let revoke =
            error::within(self.limit, &self.url, "give the lease back", self.client.lease_revoke(locked.lease)).await;
        if let Some(error) = unlock.err().or(revoke.err()) {
            tracing::warn!(%error, "the membership lock was not given back, its lease ends in {LEASE} s");
        }
    }
}
