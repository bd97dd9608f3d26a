//! Disks that take nothing more in the middle of a restore.

use std::fs;
use std::process::Command;

use bootstrapper::exit::Exit;

use crate::restore::{Host, Mounted};
use crate::support::fixture::snapshot;
use crate::support::store::{End, Reply, Store};

fn run(program: &str, args: &[&str]) {
    assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}

/// Whoever announces no length is not told at once that there is no room.
#[tokio::test]
async fn a_disk_that_another_program_fills_during_a_download_without_a_length_is_told() {
    let mut host = Host::new(1, snapshot());
    let _mounted = Mounted::with(&host.paths.volume(), "size=400m");
    let filler = host.paths.volume().join("filler");
    let full = filler.to_str().unwrap().to_owned();
    let store = Store::serve(move |n, asked| match n {
        _ if asked.path.ends_with("/manifest.json") => Reply::new(404, ""),
        1 => Reply::honest(snapshot(), "\"one\"", asked).without("Content-Length").ending(End::Cut(1 << 20)),
        2 => {
            run("fallocate", &["-l", "398M", &full]);
            Reply::honest(snapshot(), "\"one\"", asked).without("Content-Length")
        }
        _ => Reply::honest(snapshot(), "\"one\"", asked).without("Content-Length"),
    })
    .await;
    host.url = store.url();
    fs::create_dir_all(host.paths.etc()).unwrap();
    fs::copy(store.roots(), host.paths.etc().join("roots.pem")).unwrap();
    let error = host.stage().await.unwrap_err();
    assert!(format!("{error:#}").contains("is too small: "), "{error:#}");
    assert_eq!(Exit::of(&error), Exit::Refused, "{error:#}");
    fs::remove_file(filler).unwrap();
    host.stage().await.unwrap();
    assert!(host.staged());
}

/// Whichever file it is that cannot be made.
#[tokio::test]
async fn a_disk_without_inodes_is_told_apart_from_a_full_one() {
    let mut refused = 0;
    for inodes in 1..40 {
        let host = Host::new(1, snapshot());
        let _mounted = Mounted::with(&host.paths.volume(), &format!("size=400m,nr_inodes={inodes}"));
        let Err(error) = host.stage().await else { break };
        refused += 1;
        let text = format!("{error:#}");
        assert!(text.contains("though ") && text.contains("it has hardly an inode left (`df -i`)"), "{inodes}: {text}");
        assert_eq!(Exit::of(&error), Exit::Refused, "{inodes}: {text}");
        assert!(!host.staged() && !host.home().exists() && !host.paths.data().exists(), "{inodes}");
    }
    assert!((5..39).contains(&refused), "{refused}");
}

#[tokio::test]
async fn a_disk_that_fails_is_told_with_where_to_look() {
    for (name, script, why) in [
        ("read-only", "mount -o remount,ro $VOLUME; exec $REAL \"$@\"", "as it is read-only: "),
        ("broken", "echo 'Error: write db: input/output error' >&2; exit 1", " has failed: "),
    ] {
        let mut host = Host::new(1, snapshot());
        let mounted = Mounted::with(&host.paths.volume(), "size=400m");
        host.script(&script.replace("$VOLUME", host.paths.volume().to_str().unwrap()));
        let error = host.stage().await.expect_err(name);
        let text = format!("{error:#}");
        assert!(text.contains(why) && text.contains("`journalctl -k`"), "{name}: {text}");
        assert_eq!(Exit::of(&error), Exit::Refused, "{name}: {text}");
        assert!(!host.staged() && !host.paths.data().exists(), "{name}");
        drop(mounted);
    }
    // A source's own medium is the source's trouble.
    let mut host = Host::new(1, snapshot());
    host.url = "file:///nowhere/prod.db".into();
    let error = host.stage().await.unwrap_err();
    assert_eq!(Exit::of(&error), Exit::Unavailable, "{error:#}");
}
