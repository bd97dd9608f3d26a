//! The CA's key at rest, sealed by the systemd-creds of this machine with a host key of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::keepers::files;
use crate::world::{Host, World};

/// Gives this thread, and all that it starts, the host's directory in the place of this machine's own host key.
fn host_key_of(host: &Host) {
    let own = host.root.join("var/lib/systemd");
    fs::create_dir_all(&own).expect("a directory");
    let nothing: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("mounts of its own");
    mount(Some(&own), "/var/lib/systemd", nothing, MsFlags::MS_BIND, nothing).expect("a bind mount");
    new_host_key(&own);
}

fn new_host_key(at: &Path) {
    let _there_is_none = fs::remove_file(at.join("credential.secret"));
    let made = Command::new("/usr/bin/systemd-creds").arg("setup").output().expect("systemd-creds runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(at.join("credential.secret").exists());
}

/// Every file of the host in which a line of the key stands.
fn holding(host: &Host, key: &str) -> Vec<PathBuf> {
    let line = key.lines().nth(1).expect("a key of lines");
    let mut all = Vec::new();
    files(&host.root, &mut all);
    let holds = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(line));
    all.into_iter().map(|(path, _)| path).filter(holds).collect()
}

/// Renews a certificate that is gone; code and what was said.
fn renew(host: &Host) -> (i32, String) {
    fs::remove_file(host.root.join("var/lib/etcd/bootstrapper/pki/client.crt")).expect("a certificate");
    let output = host.program(&["certs", "renew"]).output().expect("certs renew runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("a code"), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_ca_s_key_is_sealed_once_it_was_used_and_renews_from_there_alone() {
    // A namespace is of a thread, and no other test is to have it.
    std::thread::spawn(sealed).join().expect("the thread ends well");
}

fn sealed() {
    let mut world = World::new(1);
    let key = fs::read_to_string(world.dir.join("prod/ca.key")).expect("the CA's key");
    let host = &mut world.hosts[0];
    host_key_of(host);
    let pki = host.root.join("var/lib/etcd/bootstrapper/pki");
    let config = host.root.join("etc/etcd-bootstrapper/config.yaml");
    host.boot();
    host.settle();
    assert_eq!(holding(host, &key), std::slice::from_ref(&config));
    let seal = fs::read(pki.join("ca.key.sealed")).expect("a seal");
    let (code, said) = renew(host);
    assert!(code == 0 && said.contains("renewed client.crt"), "{code}: {said}");

    // The configuration is gone, as a volume that was detached: nothing else has the key.
    let given = fs::read_to_string(&config).expect("a configuration");
    fs::remove_file(&config).expect("a configuration");
    host.kill();
    host.boot();
    host.settle();
    assert_eq!(holding(host, &key), [""; 0].map(PathBuf::from));
    assert_eq!(fs::read(pki.join("ca.key.sealed")).expect("a seal"), seal, "sealed once");
    assert_eq!(renew(host).0, 0);

    // Another system on the same data disk: it starts, and says what it takes to renew.
    new_host_key(&host.root.join("var/lib/systemd"));
    let (code, said) = renew(host);
    assert!(code == 75 && said.contains("was sealed to another machine"), "{code}: {said}");
    host.configure(&given);
    host.kill();
    host.boot();
    host.settle();
    assert_ne!(fs::read(pki.join("ca.key.sealed")).expect("a seal"), seal);
    assert_eq!(renew(host).0, 0);
    assert_eq!(holding(host, &key), [config]);
}
