//! etcd's options that 3.6 knows by another name.
//!
//! User-data outlives images: what it says by either name is told to an etcd of any minor version by the name that this
//! one knows. An etcd only warns of an environment variable that it does not know, and goes on without it.

use std::collections::BTreeMap;

use crate::member::Version;

/// `ETCD_EXPERIMENTAL_…` in 3.5, without that word since 3.6, which takes the old name and drops it in 3.7
/// (etcd.io, "Upgrade etcd from v3.5 to v3.6", flags deprecated). The latest 3.5 lacks two of them by either name.
const RENAMED: [&str; 18] = [
    "BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES",
    "COMPACTION_BATCH_LIMIT",
    "COMPACTION_SLEEP_INTERVAL",
    "COMPACT_HASH_CHECK_TIME",
    "CORRUPT_CHECK_TIME",
    "DISTRIBUTED_TRACING_ADDRESS",
    "DISTRIBUTED_TRACING_INSTANCE_ID",
    "DISTRIBUTED_TRACING_SAMPLING_RATE",
    "DISTRIBUTED_TRACING_SERVICE_NAME",
    "DOWNGRADE_CHECK_TIME",
    "ENABLE_DISTRIBUTED_TRACING",
    "MAX_LEARNERS",
    "MEMORY_MLOCK",
    "PEER_SKIP_CLIENT_SAN_VERIFICATION",
    "SNAPSHOT_CATCHUP_ENTRIES",
    "WARNING_APPLY_DURATION",
    "WARNING_UNARY_REQUEST_DURATION",
    "WATCH_PROGRESS_NOTIFY_INTERVAL",
];

/// `ETCD_EXPERIMENTAL_…` in 3.5, an entry of `ETCD_FEATURE_GATES` since 3.6, which refuses to start with both (same page).
const GATES: [(&str, &str); 6] = [
    ("COMPACT_HASH_CHECK_ENABLED", "CompactHashCheck"),
    ("ENABLE_LEASE_CHECKPOINT", "LeaseCheckpoint"),
    ("ENABLE_LEASE_CHECKPOINT_PERSIST", "LeaseCheckpointPersist"),
    ("INITIAL_CORRUPT_CHECK", "InitialCorruptCheck"),
    ("STOP_GRPC_SERVICE_ON_DEFRAG", "StopGRPCServiceOnDefrag"),
    ("TXN_MODE_WRITE_WITH_SHARED_BUFFER", "TxnModeWriteWithSharedBuffer"),
];

const FEATURE_GATES: &str = "ETCD_FEATURE_GATES";

/// Options by 3.6's names.
#[derive(Default)]
pub(crate) struct Options {
    named: BTreeMap<String, String>,
    gates: BTreeMap<String, String>,
}

impl Options {
    /// Takes options by the names of any minor version; they override what was taken before. Where one is given by both its
    /// names, the newer name wins.
    pub(crate) fn with(mut self, options: impl IntoIterator<Item = (String, String)>) -> Options {
        let mut taken = Options::default();
        for (key, value) in options {
            let old = key.strip_prefix("ETCD_EXPERIMENTAL_");
            let gate = old.and_then(|old| GATES.into_iter().find(|(name, _)| *name == old));
            if key == FEATURE_GATES {
                let entries = value.split(',').filter_map(|entry| entry.split_once('='));
                taken.gates.extend(entries.map(|(gate, value)| (gate.trim().to_owned(), value.trim().to_owned())));
            } else if let Some((_, gate)) = gate {
                taken.gates.entry(gate.to_owned()).or_insert(value);
            } else if let Some(old) = old.filter(|old| RENAMED.contains(old)) {
                taken.named.entry(format!("ETCD_{old}")).or_insert(value);
            } else {
                taken.named.insert(key, value);
            }
        }
        self.named.extend(taken.named);
        self.gates.extend(taken.gates);
        self
    }

    /// All of them, as this etcd calls them. What 3.5 has no name for stays as it is, and etcd warns of it.
    pub(crate) fn spelled_for(self, version: Version) -> BTreeMap<String, String> {
        let Options { mut named, mut gates } = self;
        if (version.major, version.minor) < (3, 6) {
            for name in RENAMED {
                if let Some(value) = named.remove(&format!("ETCD_{name}")) {
                    named.insert(format!("ETCD_EXPERIMENTAL_{name}"), value);
                }
            }
            for (name, gate) in GATES {
                if let Some(value) = gates.remove(gate) {
                    named.insert(format!("ETCD_EXPERIMENTAL_{name}"), value);
                }
            }
        }
        if !gates.is_empty() {
            let entries: Vec<String> = gates.iter().map(|(gate, value)| format!("{gate}={value}")).collect();
            named.insert(FEATURE_GATES.to_owned(), entries.join(","));
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(minor: u16, given: &[(&str, &str)]) -> Vec<(String, String)> {
        let options = given.iter().map(|(key, value)| (format!("ETCD_{key}"), (*value).to_owned()));
        let known = Options::default().with([(FEATURE_GATES.to_owned(), "InitialCorruptCheck=true".to_owned())]);
        known.with(options).spelled_for(Version { major: 3, minor, patch: 0 }).into_iter().collect()
    }

    fn is(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| (format!("ETCD_{key}"), (*value).to_owned())).collect()
    }

    #[test]
    fn an_option_is_told_by_the_name_that_this_etcd_knows() {
        for given in ["EXPERIMENTAL_MAX_LEARNERS", "MAX_LEARNERS"] {
            let at = |minor| spelled(minor, &[(given, "2"), ("SNAPSHOT_COUNT", "9")]);
            assert_eq!(
                at(5),
                is(&[
                    ("EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "true"),
                    ("EXPERIMENTAL_MAX_LEARNERS", "2"),
                    ("SNAPSHOT_COUNT", "9")
                ])
            );
            let new =
                is(&[("FEATURE_GATES", "InitialCorruptCheck=true"), ("MAX_LEARNERS", "2"), ("SNAPSHOT_COUNT", "9")]);
            assert_eq!(at(6), new);
            assert_eq!(at(7), new);
        }
    }

    #[test]
    fn a_user_s_word_on_a_gate_overrides_the_default_by_either_name() {
        for given in [("EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "false"), ("FEATURE_GATES", "InitialCorruptCheck=false")] {
            assert_eq!(spelled(5, &[given]), is(&[("EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "false")]));
            assert_eq!(spelled(6, &[given]), is(&[("FEATURE_GATES", "InitialCorruptCheck=false")]));
        }
    }

    #[test]
    fn gates_by_both_names_are_one_option() {
        let given = [
            ("EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT", "true"),
            ("EXPERIMENTAL_COMPACT_HASH_CHECK_ENABLED", "false"),
            ("FEATURE_GATES", "CompactHashCheck=true, Later=true"),
        ];
        assert_eq!(
            spelled(6, &given),
            is(&[("FEATURE_GATES", "CompactHashCheck=true,InitialCorruptCheck=true,Later=true,LeaseCheckpoint=true")])
        );
        assert_eq!(
            spelled(5, &given),
            is(&[
                ("EXPERIMENTAL_COMPACT_HASH_CHECK_ENABLED", "true"),
                ("EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT", "true"),
                ("EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "true"),
                ("FEATURE_GATES", "Later=true")
            ])
        );
    }
}
