//! The shipped program and bad input: the exit code, the message, and a data dir that nobody touched.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::scratch::Scratch;

/// User-data that holds nothing for us is no fault: such a host waits for a carrier that does.
const WAITED_FOR: [&str; 6] = [
    "user-data-fragment-only.yaml",
    "user-data-include.yaml",
    "user-data-jinja.yaml",
    "user-data-mime-scripts.yaml",
    "user-data-script.yaml",
    "user-data-without-ours.yaml",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/spec")
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-bootstrapper"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A host with somebody's data, and this as its configuration; gives back the configuration's path.
fn host(root: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    put(&root.join("var/lib/etcd/data/member/wal/0000000000000000-0000000000000000.wal"), b"somebody's log");
    put(&root.join("var/lib/etcd/data/member/snap/db"), b"somebody's database");
    let config = if name.starts_with("user-data") {
        put(&root.join("var/lib/cloud/seed/nocloud/meta-data"), b"instance-id: i-1\n");
        root.join("var/lib/cloud/seed/nocloud/user-data")
    } else {
        let ending = name.rsplit('.').next().unwrap();
        root.join(format!("etc/etcd-bootstrapper/config.{ending}"))
    };
    put(&config, bytes);
    config
}

/// Every file below a directory: bytes, mode and time of change.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, i64, i64)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
        if meta.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path, (bytes, meta.mode(), meta.ctime(), meta.ctime_nsec()));
    }
    found
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What `bad.txt` says about a file: the exit code, and its messages without the file's name.
fn expected() -> BTreeMap<String, (i32, Vec<String>)> {
    let text = std::fs::read_to_string(fixtures().join("bad.txt")).unwrap();
    let mut expected: BTreeMap<String, (i32, Vec<String>)> = BTreeMap::new();
    for line in text.lines() {
        let (code, message) = line.split_once(' ').unwrap();
        let end = [".json", ".yaml"].into_iter().filter_map(|e| message.find(e)).min().unwrap() + ".yaml".len();
        let entry = expected.entry(message[..end].to_owned()).or_default();
        entry.0 = code.parse().unwrap();
        entry.1.push(message[end..].to_owned());
    }
    expected
}

#[test]
fn run_ends_with_the_documented_code_and_message_and_leaves_the_data_dir_alone() {
    let expected = expected();
    let mut refused = 0;
    for (name, (code, messages)) in expected.iter().filter(|(name, _)| !WAITED_FOR.contains(&name.as_str())) {
        let root = Scratch::new();
        let config = host(root.path(), name, &std::fs::read(fixtures().join("bad").join(name)).unwrap());
        let volume = root.join("var/lib/etcd");
        let before = tree(&volume);
        let output = program(&["--root", root.path().to_str().unwrap(), "run"]).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(*code), "{name}: {said}");
        for message in messages {
            let message = format!("{}{}", config.display(), message.replace(name, &config.display().to_string()));
            assert!(said.contains(&message), "{name}: expected {message}, said {said}");
        }
        assert!(!said.contains("CANARY"), "{name}: {said}");
        assert_eq!(tree(&volume), before, "{name}");
        assert!(!root.join("run/etcd-bootstrapper/ready").exists(), "{name}");
        refused += 1;
    }
    assert_eq!(refused + WAITED_FOR.len(), std::fs::read_dir(fixtures().join("bad")).unwrap().count());
}

#[test]
fn validate_tells_each_file_and_fails_when_one_is_bad() {
    let good = fixtures().join("good/three.yaml");
    let bad = fixtures().join("bad/several-problems.yaml");
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    let output = program(&["config", "validate", good]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = format!("{good}: valid: cluster prod, 3 members, mode auto\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);

    let output = program(&["config", "validate", good, bad]).output().unwrap();
    assert_eq!(output.status.code(), Some(65));
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), expected);
    let said = stderr(&output);
    for place in ["4:9: cluster.size", "9:30: peers[1].peer_url", "10:12: peers[2].name"] {
        assert!(said.contains(&format!("{bad}:{place}: ")), "{said}");
    }

    let output = program(&["config", "validate", "--json", bad]).output().unwrap();
    assert_eq!(output.status.code(), Some(65));
    let reports: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &reports[0]["faults"][0];
    assert_eq!(
        (&reports[0]["valid"], &first["line"], &first["path"]),
        (&false.into(), &4.into(), &"cluster.size".into())
    );
}

#[test]
fn validate_reads_standard_input() {
    let mut child = program(&["config", "validate", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"version: 1\ncluster: {}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(65));
    let expected = "standard input:2:10: cluster.name: missing: this key is required, add it";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn a_command_line_that_means_nothing_is_64_and_a_file_that_is_not_there_65() {
    for (arguments, code) in [
        (vec!["config"], 64),
        (vec!["config", "validate"], 64),
        (vec!["config", "validate", "--jsn", "x"], 64),
        (vec!["config", "explain", "x"], 64),
        (vec!["config", "explan"], 64),
        (vec!["config", "validate", "/no/such/file"], 65),
        (vec!["--root", "/no/such/directory", "plan"], 65),
        (vec!["--root", "/proc/version", "run"], 65),
        (vec!["metadata", "detect", "--root", "/no/such/directory"], 65),
    ] {
        let output = program(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn explain_names_the_carrier_of_each_value_and_schema_prints_the_schema() {
    let root = Scratch::new();
    let config = host(root.path(), "three.yaml", &std::fs::read(fixtures().join("good/three.yaml")).unwrap());
    let root = root.path().to_str().unwrap().to_owned();
    let output = program(&["--root", &root, "config", "explain", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let values: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let value = |path: &str| values.iter().find(|v| v["path"] == path).map(|v| (v["value"].clone(), v["from"].clone()));
    assert_eq!(value("cluster.name"), Some(("prod".into(), format!("{}:3", config.display()).into())));
    assert_eq!(value("data.device"), Some(("auto".into(), "default".into())));

    // As systemd hands a unit its credentials.
    let credentials = Scratch::new();
    put(&credentials.join("etcd-bootstrapper.config"), b"replace_after: 7m\n");
    let mut explain = program(&["--root", &root, "config", "explain"]);
    let output = explain.env("CREDENTIALS_DIRECTORY", credentials.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("replace_after = 7m ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.ends_with(" the credential etcd-bootstrapper.config:1"), "{line}");

    let output = program(&["config", "schema"]).output().unwrap();
    let kept =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../cloud-init/schema.json")).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), kept);
}
