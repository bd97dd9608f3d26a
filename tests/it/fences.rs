//! What must not come into the house, held by looking.

use std::path::Path;

/// A second TLS or a C parser would be a second set of bugs between us and what metadata hands us.
///
/// And 120 KiB of tables for names that a spec refuses anyway: idna_adapter is kept at 1.0.0.
const BANNED: [&str; 9] = [
    "aws-lc-rs",
    "aws-lc-sys",
    "openssl",
    "openssl-sys",
    "native-tls",
    "serde_yaml",
    "serde_yml",
    "unsafe-libyaml",
    "icu_normalizer",
];

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn no_banned_crate_is_in_the_lock_file() {
    let lock = std::fs::read_to_string(repository().join("Cargo.lock")).expect("Cargo.lock");
    let names: Vec<&str> = lock.lines().filter_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(names.contains(&"ring"), "the lock file was read");
    let found: Vec<&&str> = names.iter().filter(|n| BANNED.contains(n)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_lock_file_and_the_deny_list_ban_the_same_crates() {
    let deny = std::fs::read_to_string(repository().join("deny.toml")).expect("deny.toml");
    for name in BANNED {
        assert!(deny.contains(&format!("crate = \"{name}\"")), "deny.toml does not ban {name}");
    }
}

#[test]
fn observe_does_not_write_and_apply_does_not_observe_metadata() {
    let src = repository().join("bootstrapper/src");
    for (room, never) in
        [("apply", "crate::metadata"), ("observe", "sys::volume::prepare"), ("observe", "write_atomic")]
    {
        for entry in std::fs::read_dir(src.join(room)).expect("a room") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(!text.contains(never), "{} uses {never}", path.display());
        }
    }
}
