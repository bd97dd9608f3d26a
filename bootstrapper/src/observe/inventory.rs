//! The group that a file lists: whoever keeps it up to date, a provider's agent or a person, is taken at its word.

use std::path::Path;

use plan::facts::{Instance, Inventory};
use plan::member::{MemberName, PeerUrl};
use plan::spec::Timestamp;
use serde::Deserialize;

use crate::sys::fs;

/// Largest inventory, bytes.
const LIMIT: u64 = 1 << 20;

/// `{"instances": [{"id": …, "peer_url": …, "state": …, "launched": …}]}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    instances: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: MemberName,
    #[serde(default)]
    peer_url: Option<PeerUrl>,
    state: State,
    #[serde(default)]
    launched: Option<Timestamp>,
}

/// The words of the providers; only the last one says that the instance never comes back.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum State {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

/// Reads the inventory; whatever is wrong with it makes the whole of it unknown, and an instance that it lacks is not
/// known to be gone.
pub fn read(path: &Path) -> Inventory {
    match instances(path) {
        Ok(instances) => Inventory::Listed(instances),
        Err(why) => Inventory::Unknown { reason: format!("the inventory {} {why}", path.display()) },
    }
}

fn instances(path: &Path) -> Result<Vec<Instance>, String> {
    let text = fs::read_text(path, LIMIT).map_err(|e| format!("cannot be used: {e:#}"))?;
    listed(&text.ok_or("is not there yet")?)
}

/// The instances that this text lists, or why it is no inventory.
pub(crate) fn listed(text: &str) -> Result<Vec<Instance>, String> {
    let file: File = serde_json::from_str(text).map_err(|e| format!("is not an inventory: {e}"))?;
    for (i, entry) in file.instances.iter().enumerate() {
        if let Some(before) = file.instances[..i].iter().find(|e| e.id == entry.id) {
            return Err(format!("lists the instance {} twice", before.id));
        }
    }
    let instance = |e: Entry| Instance {
        id: e.id,
        peer_url: e.peer_url,
        terminated: e.state == State::Terminated,
        launched: e.launched,
    };
    Ok(file.instances.into_iter().map(instance).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn of(text: &str) -> Inventory {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("it is written");
        read(file.path())
    }

    #[test]
    fn only_the_word_terminated_says_that_an_instance_is_gone() {
        for state in ["pending", "running", "stopping", "stopped", "shutting_down", "terminated"] {
            let text = format!(r#"{{"instances": [{{"id": "i-1", "state": "{state}"}}]}}"#);
            let Inventory::Listed(instances) = of(&text) else { panic!("{text}") };
            assert_eq!(instances[0].terminated, state == "terminated", "{state}");
        }
    }

    #[test]
    fn an_inventory_that_is_not_understood_whole_is_unknown() {
        for (text, why) in [
            ("", "EOF"),
            ("{}", "instances"),
            (r#"{"instances": [{"id": "i-1"}]}"#, "state"),
            (r#"{"instances": [{"id": "i-1", "state": "gone"}]}"#, "gone"),
            (r#"{"instances": [{"id": "i-1", "state": "running", "peer_url": "10.0.0.1"}]}"#, "https"),
            (r#"{"instances": [{"id": "i-1", "state": "running", "az": "b"}]}"#, "az"),
            (r#"{"instances": [{"id": "i-1", "state": "running"}, {"id": "i-1", "state": "running"}]}"#, "twice"),
            (r#"{"instances": [{"id": "i-1", "state": "runn"#, "EOF"),
        ] {
            match of(text) {
                Inventory::Unknown { reason } => assert!(reason.contains(why), "{text}: {reason}"),
                Inventory::Static | Inventory::Listed(_) => panic!("{text} was taken for an inventory"),
            }
        }
        let absent = read(Path::new("/nonexistent/inventory.json"));
        assert!(matches!(absent, Inventory::Unknown { reason } if reason.ends_with("is not there yet")));
    }
}
