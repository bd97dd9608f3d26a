//! The room that a restore needs on the data disk.

use std::fs;

use bootstrapper::exit::Exit;

use super::host::{Host, Mounted};
use crate::support::fixture::{sha256, snapshot, zstd};

#[tokio::test]
async fn a_disk_that_is_too_small_is_told_with_both_numbers_and_stays_clean() {
    // As much as passes the first look and cannot hold what etcdutl writes: the script fills the rest.
    for (name, mebibytes, script) in
        [("at the first look", 100, None), ("in the middle", 400, Some("fallocate -l 380M"))]
    {
        let mut host = Host::new(1, snapshot());
        let volume = host.paths.volume();
        let mounted = Mounted::tmpfs(&volume, mebibytes);
        if let Some(fill) = script {
            host.script(&format!("{fill} {}/filler; exec $REAL \"$@\"", volume.display()));
        }
        let error = host.stage().await.expect_err(name);
        let text = format!("{error:#}");
        assert!(text.contains("is too small: a snapshot of ") && text.contains(" bytes free there"), "{name}: {text}");
        assert_eq!(Exit::of(&error), Exit::Refused, "{name}");
        assert!(!host.staged() && !host.home().exists() && !host.paths.data().exists(), "{name}");
        drop(mounted);
    }
}

#[tokio::test]
async fn what_earlier_foundings_have_left_makes_room_for_a_restore() {
    let host = Host::new(1, snapshot());
    let mounted = Mounted::tmpfs(&host.paths.volume(), 400);
    let staging = host.paths.staging().join("another founding/data");
    let download = host.paths.download().join(format!("{}.object", "a".repeat(64)));
    let sum = host.paths.download().join(format!("{}.json", sha256(snapshot())));
    for directory in [&staging, &host.paths.download()] {
        fs::create_dir_all(directory).unwrap();
    }
    for left in [&staging.join("db"), &download] {
        fs::write(left, vec![1; 100 << 20]).unwrap();
    }
    fs::write(&sum, "what is known of this one's object").unwrap();
    host.stage().await.unwrap();
    assert!(host.staged() && !download.exists());
    assert_eq!(fs::read_dir(host.paths.staging()).unwrap().count(), 1);
    drop(mounted);
}

#[tokio::test]
async fn a_wrapped_snapshot_that_fills_the_disk_is_told_and_leaves_nothing() {
    // The object fits easily; what is inside does not.
    let large = zstd(&[&snapshot()[..1 << 20], &vec![7; 700 << 20]].concat());
    let host = Host::new(1, &large);
    let mounted = Mounted::tmpfs(&host.paths.volume(), 400);
    let error = host.stage().await.unwrap_err();
    assert!(format!("{error:#}").contains("the snapshot that was unpacked needs more"), "{error:#}");
    assert_eq!(Exit::of(&error), Exit::Refused);
    assert_eq!(fs::read_dir(host.paths.download()).unwrap().count(), 0);
    drop(mounted);
}
