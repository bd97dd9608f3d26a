//! What the program prints, where nobody reads on and where there is no room.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::scratch::Scratch;

fn output(root: &Path, arguments: &str, stdout: impl Into<Stdio>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_etcd-bootstrapper"))
        .arg("--root")
        .arg(root)
        .args(arguments.split_whitespace())
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|child| child.wait_with_output())
        .expect("the program runs")
}

/// A host that has something to print for each of these commands, and the code that each ends with.
fn host() -> (Scratch, Vec<(&'static str, i32)>) {
    let root = Scratch::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/spec");
    std::fs::copy(fixtures.join("good/three.yaml"), root.join("good.yaml")).expect("a copy");
    std::fs::copy(fixtures.join("bad/several-problems.yaml"), root.join("bad.yaml")).expect("a copy");
    std::fs::create_dir_all(root.join("etc/etcd-bootstrapper")).expect("a directory");
    std::fs::copy(fixtures.join("good/three.yaml"), root.join("etc/etcd-bootstrapper/config.yaml")).expect("a copy");
    std::fs::create_dir_all(root.join("run/etcd-bootstrapper")).expect("a directory");
    std::fs::write(root.join("run/etcd-bootstrapper/status.json"), "{}").expect("a file");
    let commands = vec![
        ("version", 0),
        ("help", 0),
        ("config schema", 0),
        ("config explain", 0),
        ("config validate good.yaml", 0),
        ("config validate good.yaml bad.yaml", 65),
        ("config new --name one --size 1 --peer etcd-1=10.0.0.11 --out new", 0),
        ("config new --help", 0),
        ("status", 0),
        ("status --json", 0),
        ("certs renew", 0),
        ("certs show", 78),
        ("reset", 0),
    ];
    (root, commands)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_reader_that_has_seen_enough_changes_nothing_about_how_a_command_ends() {
    let (root, commands) = host();
    for (command, code) in commands {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = output(root.path(), command, writer);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{command}: {said}");
        assert!(!said.contains("panicked") && !said.contains("roken pipe"), "{command}: {said}");
    }
    assert!(root.join("new/user-data").exists());
}

#[test]
fn output_that_finds_no_room_is_an_error_that_says_so() {
    let (root, commands) = host();
    for (command, _) in commands {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let output = output(root.path(), command, full);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(75), "{command}: {said}");
        assert!(said.contains("cannot write to standard output: No space left on device"), "{command}: {said}");
    }
}

#[test]
fn errors_that_nobody_can_read_do_not_change_the_exit_code() {
    let root = Scratch::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    for stderr in [File::from(std::os::fd::OwnedFd::from(writer)), full] {
        let status = Command::new(env!("CARGO_BIN_EXE_etcd-bootstrapper"))
            .arg("--root")
            .arg(root.path())
            .args(["config", "explan"])
            .stderr(stderr)
            .status()
            .expect("the program runs");
        assert_eq!(status.code(), Some(64));
    }
}
