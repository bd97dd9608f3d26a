//! Snapshots on attached volumes: real file systems on loop devices.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use bootstrapper::exit::Exit;

use super::super::support::fixture::{snapshot, zstd};
use super::super::support::scratch::Scratch;
use super::super::support::store::{Reply, Store};
use super::{Fetch, honest};

/// A stick that is attached for as long as this lives.
struct Stick(PathBuf);

impl Stick {
    /// Filled with `files`; one without bytes is a symbolic link out of it.
    fn with(scratch: &Scratch, label: &str, files: &[(&str, Option<&[u8]>)]) -> Stick {
        let image = scratch.join(&format!("{label}.img"));
        fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
        let tree = scratch.join("tree");
        fs::create_dir_all(tree.join("2026")).unwrap();
        for (name, bytes) in files {
            match bytes {
                Some(bytes) => fs::write(tree.join(name), bytes).unwrap(),
                None => symlink("/etc/passwd", tree.join(name)).unwrap(),
            }
        }
        let enter = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/enter.sh");
        let image = image.to_str().unwrap();
        let script = format!("mkfs.ext4 -q -d {} -L {label} {image}", tree.display());
        let made = Command::new(enter).args(["sh", "-ec", &script]).output().unwrap();
        assert!(made.status.success(), "{script}: {}", String::from_utf8_lossy(&made.stderr));
        let output = Command::new("losetup").args(["-f", "--show", "-r", image]).output().unwrap();
        assert!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        Stick(String::from_utf8(output.stdout).unwrap().trim().into())
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

/// Of this host's volumes.
fn from(store: &Store, url: String) -> Fetch {
    let fetch = Fetch { url, ..Fetch::from(store) };
    for name in ["sys", "dev", "proc"] {
        symlink(format!("/{name}"), fetch.home.join(name)).unwrap();
    }
    fetch
}

#[tokio::test]
async fn a_snapshot_on_an_attached_volume_is_read_and_nothing_stays_mounted() {
    let store = Store::serve(|_, asked| honest(asked)).await;
    let scratch = Scratch::new();
    // One run at a time on a machine would do with constants.
    let label = format!("EB{}", std::process::id());
    let packed = zstd(snapshot());
    let stick = Stick::with(&scratch, &label, &[("prod.db", Some(snapshot())), ("2026/prod.db.zst", Some(&packed))]);
    for name in ["prod.db", "2026/prod.db.zst"] {
        let mut fetch = from(&store, format!("volume://{}/{name}", label.to_lowercase()));
        if name.ends_with("zst") {
            fetch.sha256 = super::sha256(&packed).parse().unwrap();
        }
        let outcome = fetch.run().await;
        outcome.result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
    }
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounted.contains(&format!(" {} ", stick.0.display())), "{mounted}");
    assert!(store.asked().is_empty());
}

#[tokio::test]
async fn a_volume_that_does_not_deliver_says_why_and_leads_nowhere_else() {
    let store = Store::serve(|_, _| Reply::new(404, "")).await;
    let scratch = Scratch::new();
    let label = format!("EB{}9", std::process::id());
    let _stick = Stick::with(&scratch, &label, &[("out", None)]);
    for (url, why) in [
        ("volume://no-such-volume/prod.db".to_owned(), "no volume labelled no-such-volume is attached: there are "),
        (format!("volume://{label}/prod.db"), "No such file or directory"),
        (format!("volume://{label}/2026"), "it is not a file"),
        (format!("volume://{label}/out"), "symbolic links"),
    ] {
        let error = from(&store, url.clone()).run().await.result.expect_err(&url);
        assert_eq!(Exit::of(&error), Exit::Unavailable, "{url}: {error:#}");
        assert!(error.to_string().contains(why), "{url}: {error:#}");
    }
}
