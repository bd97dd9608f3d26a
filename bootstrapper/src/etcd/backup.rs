//! What a backup needs of etcd: when the last one was, whose turn it is, and the database as a stream.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, SnapshotStreaming, Txn, TxnOp};
use hyper::body::Bytes;
use plan::member::ClusterId;
use tokio::time::timeout;

use super::{Etcd, EtcdError, PREFIX, error};

/// Keys below our prefix: the last backup, and by the cluster's ID the member that makes one now. A backup holds the turn
/// in which it was made, and a cluster that is restored from it must not wait for that one to end.
const LAST: &str = "backup/last";
const TURN: &str = "backup/turn/";

/// How long a dead member keeps its turn, seconds.
const LEASE: i64 = 60;

/// How often the turn is kept.
pub const KEEP: Duration = Duration::from_secs(15);

/// Between two pieces of a database; etcd reads them from its own memory.
const IDLE: Duration = Duration::from_secs(30);

/// The last backup as it was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What the member that made it wrote.
    pub text: String,
    /// Whether no key of the whole cluster was written since.
    pub unchanged: bool,
}

/// The turn of this member, until it is given back or its lease ends.
pub struct Turn {
    key: String,
    lease: i64,
}

impl Etcd {
    /// The last backup, linearizable.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn last_backup(&mut self) -> Result<Option<Noted>, EtcdError> {
        let call = self.client.get(format!("{PREFIX}{LAST}"), Some(GetOptions::new()));
        let read = error::within(self.limit, &self.url, "read", call).await?;
        let now = read.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok(read.kvs().first().map(|kv| {
            let text = String::from_utf8_lossy(kv.value()).into_owned();
            Noted { text, unchanged: kv.mod_revision() == now }
        }))
    }

    /// Takes the turn of this cluster unless another member has it, who is named then.
    ///
    /// # Errors
    /// [`EtcdError`]; a turn that was taken without us hearing of it ends with its lease.
    pub async fn take_turn(&mut self, of: ClusterId, who: &str) -> Result<Result<Turn, String>, EtcdError> {
        let grant = error::within(self.limit, &self.url, "get a lease", self.client.lease_grant(LEASE, None)).await?;
        let (key, lease) = (format!("{PREFIX}{TURN}{of}"), grant.id());
        let put = TxnOp::put(key.as_str(), who, Some(PutOptions::new().with_lease(lease)));
        let txn = Txn::new()
            .when([Compare::version(key.as_str(), CompareOp::Equal, 0)])
            .and_then([put])
            .or_else([TxnOp::get(key.as_str(), None)]);
        let taken = error::within(self.limit, &self.url, "take the turn", self.client.txn(txn)).await?;
        if taken.succeeded() {
            return Ok(Ok(Turn { key, lease }));
        }
        self.end_lease(lease).await;
        let holder = taken.op_responses().into_iter().find_map(|response| match response {
            etcd_client::TxnOpResponse::Get(read) => {
                read.kvs().first().map(|kv| String::from_utf8_lossy(kv.value()).into_owned())
            }
            etcd_client::TxnOpResponse::Put(_)
            | etcd_client::TxnOpResponse::Delete(_)
            | etcd_client::TxnOpResponse::Txn(_) => None,
        });
        Ok(Err(holder.unwrap_or_else(|| "another member".into())))
    }

    /// Keeps the turn for another while.
    ///
    /// # Errors
    /// [`EtcdError`], also when it has ended already.
    pub async fn keep_turn(&mut self, turn: &Turn) -> Result<(), EtcdError> {
        let ended = || EtcdError::Other { url: self.url.clone(), reason: "this member's turn has ended".into() };
        let call = async {
            let (_keeper, mut answers) = self.client.lease_keep_alive(turn.lease).await?;
            answers.message().await
        };
        let kept = error::within(self.limit, &self.url, "keep the turn", call).await?;
        if kept.is_some_and(|kept| kept.ttl() > 0) { Ok(()) } else { Err(ended()) }
    }

    /// Gives the turn back, with what is noted as the last backup; in one revision, so that a later look can tell
    /// whether anything was written since.
    ///
    /// # Errors
    /// [`EtcdError`]; the turn ends by itself then.
    pub async fn end_turn(&mut self, turn: Turn, noted: Option<&str>) -> Result<(), EtcdError> {
        let mut all = vec![TxnOp::delete(turn.key, None)];
        all.extend(noted.map(|text| TxnOp::put(format!("{PREFIX}{LAST}"), text, None)));
        let call = self.client.txn(Txn::new().and_then(all));
        error::within(self.limit, &self.url, "note the backup", call).await?;
        self.end_lease(turn.lease).await;
        Ok(())
    }

    async fn end_lease(&mut self, lease: i64) {
        let revoke = error::within(self.limit, &self.url, "give the lease back", self.client.lease_revoke(lease)).await;
        if let Err(error) = revoke {
            tracing::debug!(%error, "the lease was not given back, it ends by itself");
        }
    }

    /// The database of this member as it is now, with the sha256 of it at its end.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn snapshot(&mut self) -> Result<Stream, EtcdError> {
        let stream = error::within(self.limit, &self.url, "take a snapshot", self.client.snapshot()).await?;
        Ok(Stream { stream, url: self.url.clone(), total: None, bytes: 0 })
    }
}

/// A database on its way.
pub struct Stream {
    stream: SnapshotStreaming,
    url: String,
    /// Bytes of the database, once the first piece has come.
    pub total: Option<u64>,
    bytes: u64,
}

impl Stream {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`EtcdError`], also for a silence of half a minute.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EtcdError> {
        let Ok(next) = timeout(IDLE, self.stream.message()).await else {
            let seconds = IDLE.as_secs();
            return Err(EtcdError::Silent { url: self.url.clone(), call: "take a snapshot", seconds });
        };
        let next = next.map_err(|e| EtcdError::Other { url: self.url.clone(), reason: e.to_string() })?;
        Ok(next.map(|piece| {
            let bytes = Bytes::copy_from_slice(piece.blob());
            self.bytes += bytes.len() as u64;
            self.total.get_or_insert(self.bytes + piece.remaining_bytes());
            bytes
        }))
    }
}
