//! etcd's errors by what a caller can do about them. etcd has texts, not codes; each text here is in a test.

use std::time::Duration;

/// Why a call to etcd failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// Nothing listens there.
    #[error("{url}: connection refused")]
    Refused {
        /// Who was asked.
        url: String,
    },
    /// It did not answer in time.
    #[error("{url}: no answer to `{call}` within {seconds} s")]
    Silent {
        /// Who was asked.
        url: String,
        /// What for.
        call: &'static str,
        /// How long.
        seconds: u64,
    },
    /// It or we rejected the certificates.
    #[error("{url}: TLS failed: {reason}")]
    Tls {
        /// Who was asked.
        url: String,
        /// Why.
        reason: String,
    },
    /// There is no quorum, or no leader right now.
    #[error("{url}: the cluster has no leader")]
    NoLeader {
        /// Who was asked.
        url: String,
    },
    /// Members would not be healthy enough for a change, for at least 5 s after any of them came up.
    #[error("etcd refuses the change: {0}")]
    Unhealthy(String),
    /// Another learner is there.
    #[error("another member is a learner already")]
    TooManyLearners,
    /// The learner has not caught up.
    #[error("the learner has not caught up with the leader")]
    NotInSync,
    /// It votes already.
    #[error("the member is not a learner")]
    NotALearner,
    /// There is no such member.
    #[error("there is no such member")]
    MemberNotFound,
    /// Its peer URL is taken: perhaps our own add went through without us hearing of it.
    #[error("the peer URL belongs to a member already")]
    PeerUrlTaken,
    /// Authentication is on and we may not.
    #[error("etcd does not allow it: {0}")]
    Denied(String),
    /// A learner serves no such call.
    #[error("{url}: a learner does not serve this")]
    Learner {
        /// Who was asked.
        url: String,
    },
    /// Anything else.
    #[error("{url}: {reason}")]
    Other {
        /// Who was asked.
        url: String,
        /// etcd's or the transport's words.
        reason: String,
    },
}

impl EtcdError {
    /// Whether waiting can help, without anybody doing anything.
    pub fn passes(&self) -> bool {
        match self {
            EtcdError::Denied(_) | EtcdError::Tls { .. } => false,
            EtcdError::Refused { .. }
            | EtcdError::Silent { .. }
            | EtcdError::NoLeader { .. }
            | EtcdError::Unhealthy(_)
            | EtcdError::TooManyLearners
            | EtcdError::NotInSync
            | EtcdError::NotALearner
            | EtcdError::MemberNotFound
            | EtcdError::PeerUrlTaken
            | EtcdError::Learner { .. }
            | EtcdError::Other { .. } => true,
        }
    }
}

/// Runs a call under a deadline of our own, since the transport's do not cover a peer that says nothing.
pub(super) async fn within<T>(
    limit: Duration,
    url: &str,
    call: &'static str,
    future: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, EtcdError> {
    match tokio::time::timeout(limit + Duration::from_millis(200), future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(classify(url, call, &error)),
        Err(_) => Err(EtcdError::Silent { url: url.to_owned(), call, seconds: limit.as_secs() }),
    }
}

fn classify(url: &str, call: &'static str, error: &etcd_client::Error) -> EtcdError {
    let text = match error {
        etcd_client::Error::GRpcStatus(status) => {
            // The transport's reason is only in the source chain of the status.
            let mut text = status.message().to_owned();
            let mut source = std::error::Error::source(status);
            while let Some(inner) = source {
                text.push_str(&format!(": {inner}"));
                source = inner.source();
            }
            text
        }
        other => other.to_string(),
    };
    by_text(url, call, text)
}

fn by_text(url: &str, call: &'static str, text: String) -> EtcdError {
    let url = || url.to_owned();
    let has = |part: &str| text.contains(part);
    match () {
        () if has("unhealthy cluster") || has("not enough started members") => EtcdError::Unhealthy(text),
        () if has("too many learner") => EtcdError::TooManyLearners,
        () if has("in sync with leader") => EtcdError::NotInSync,
        () if has("can only promote a learner member") => EtcdError::NotALearner,
        () if has("member not found") => EtcdError::MemberNotFound,
        () if has("Peer URLs already exists") || has("member ID already exist") => EtcdError::PeerUrlTaken,
        () if has("rpc not supported for learner") => EtcdError::Learner { url: url() },
        () if ["permission denied", "user name is empty", "user name not found", "invalid auth"]
            .into_iter()
            .any(has) =>
        {
            EtcdError::Denied(text)
        }
        () if has("no leader") || has("leader changed") || has("request timed out") => {
            EtcdError::NoLeader { url: url() }
        }
        () if has("Timeout expired") || has("deadline has elapsed") => {
            EtcdError::Silent { url: url(), call, seconds: 5 }
        }
        () if has("certificate") || has("received fatal alert") || has("UnknownIssuer") || has("HandshakeFailure") => {
            EtcdError::Tls { url: url(), reason: text }
        }
        () if has("Connection refused") => EtcdError::Refused { url: url() },
        () => EtcdError::Other { url: url(), reason: text },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_texts_are_told_apart() {
        let url = || "u".to_owned();
        for (text, expected) in [
            ("etcdserver: unhealthy cluster", EtcdError::Unhealthy("etcdserver: unhealthy cluster".into())),
            ("etcdserver: too many learner members in cluster", EtcdError::TooManyLearners),
            ("etcdserver: can only promote a learner member which is in sync with leader", EtcdError::NotInSync),
            ("etcdserver: can only promote a learner member", EtcdError::NotALearner),
            ("etcdserver: member not found", EtcdError::MemberNotFound),
            ("etcdserver: Peer URLs already exists", EtcdError::PeerUrlTaken),
            ("etcdserver: rpc not supported for learner", EtcdError::Learner { url: url() }),
            ("etcdserver: user name not found", EtcdError::Denied("etcdserver: user name not found".into())),
            ("etcdserver: request timed out", EtcdError::NoLeader { url: url() }),
            ("tcp connect error: Connection refused (os error 111)", EtcdError::Refused { url: url() }),
        ] {
            assert_eq!(by_text("u", "call", text.into()), expected);
        }
    }
}
