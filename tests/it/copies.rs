//! A member's disk and copies of it, where no list of addresses tells whose it is: by the instance and the volume that
//! the disk was recorded on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use nix::libc;
use serde_json::{Value, json};

use crate::world::{Host, World};

const DISK: &str = "var/lib/etcd";
const IDENTITY: &str = "var/lib/etcd/bootstrapper/identity.json";

/// What the host's meta-data calls it; nothing without an ID.
fn is_instance(host: &Host, id: Option<&str>) {
    let seed = host.root.join("var/lib/cloud/seed/nocloud");
    fs::create_dir_all(&seed).expect("a seed");
    let text = id.map_or_else(String::new, |id| format!("instance-id: {id}\n"));
    fs::write(seed.join("meta-data"), text).expect("meta-data");
}

/// What the kernel says of the disk below the host's data, in the sysfs below its root.
pub fn sits_on(host: &Host, serial: &str) {
    let number = fs::metadata(&host.root).expect("a root").dev();
    let sys = host.root.join(format!("sys/dev/block/{}:{}", libc::major(number), libc::minor(number)));
    fs::create_dir_all(&sys).expect("sysfs");
    fs::write(sys.join("serial"), format!("{serial}\n")).expect("a serial number");
}

/// The data disk of one host, copied byte by byte into another that has none, as cloning a volume does it.
fn copy(from: &Host, to: &Host) {
    fs::create_dir_all(to.root.join("var/lib")).expect("a directory");
    let copied = Command::new("cp").arg("-a").args([from.root.join(DISK), to.root.join(DISK)]).status();
    assert!(copied.expect("cp runs").success());
}

/// Three settled instances of a group on disks S-1 to S-3, and a fourth that was never booted.
fn settled() -> World {
    let mut world = World::group(3, 4);
    for (number, host) in (1..).zip(&world.hosts) {
        is_instance(host, Some(&format!("i-{number}")));
        sits_on(host, &format!("S-{number}"));
    }
    world.inventory(&[(1, "running"), (2, "running"), (3, "running")]);
    for host in &mut world.hosts[..3] {
        host.boot();
    }
    world.settle_all();
    world.put(0, "acknowledged", "write");
    world
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Boots the host, which refuses its disk and says what it found, in every way that it has of saying it.
fn refuses(host: &mut Host, sides: &[&str]) {
    let before = fs::read_to_string(host.root.join(IDENTITY)).expect("identity.json");
    host.boot();
    assert_eq!(host.run_ends(), 78, "{}", host.said_by("run"));
    let said = host.said_by("run");
    let ask = |args: &[&str]| text(&host.program(args).output().expect("the program runs"));
    let shown = [said, ask(&["plan"]), ask(&["plan", "--json"]), ask(&["status"]), ask(&["status", "--json"])];
    for (how, text) in ["run", "plan", "plan --json", "status", "status --json"].iter().zip(shown) {
        for part in sides.iter().chain(&["row 2", "a copy", "vote twice", "etcd-bootstrapper reset"]) {
            assert!(text.contains(part), "{how} does not say {part:?}:\n{text}");
        }
    }
    assert!(!host.root.join("run/etcd-bootstrapper/ready").exists());
    assert_eq!(fs::read_to_string(host.root.join(IDENTITY)).expect("identity.json"), before);
}

#[test]
fn a_cloned_data_disk_in_a_group_is_refused_until_it_is_given_up() {
    let mut world = settled();
    world.inventory(&[(1, "running"), (2, "running"), (3, "running"), (4, "running")]);
    copy(&world.hosts[0], &world.hosts[3]);
    refuses(&mut world.hosts[3], &["i-1 with the disk with serial S-1", "i-4 with the disk with serial S-4"]);
    let reset = world.hosts[3].program(&["reset", "--yes"]).output().expect("reset runs");
    assert!(text(&reset).contains("this host is blank"));
    // The instance that was meant to be replaced ends, and the blank one takes its place under an ID of its own.
    let old = world.hosts[0].member_id();
    world.hosts[0].kill();
    world.inventory(&[(1, "terminated"), (2, "running"), (3, "running"), (4, "running")]);
    world.hosts[3].boot();
    world.hosts[3].settle();
    assert_ne!(world.hosts[3].member_id(), old);
    assert_eq!(world.members(1), (vec!["i-2".into(), "i-3".into(), "i-4".into()], 0));
    assert_eq!(world.get(3, "acknowledged"), "write");
}

#[test]
fn a_copy_of_another_members_disk_is_refused_and_the_right_disk_starts() {
    let mut world = settled();
    let id = world.hosts[1].member_id();
    world.hosts[1].takes_its_disk_out();
    copy(&world.hosts[0], &world.hosts[1]);
    is_instance(&world.hosts[1], Some("i-2"));
    sits_on(&world.hosts[1], "S-9");
    refuses(&mut world.hosts[1], &["i-1 with the disk with serial S-1", "i-2 with the disk with serial S-9"]);
    world.hosts[1].puts_its_disk_back();
    sits_on(&world.hosts[1], "S-2");
    world.hosts[1].boot();
    world.hosts[1].settle();
    assert_eq!((world.hosts[1].member_id(), world.hosts[1].rows()), (id, vec![4]));
}

#[test]
fn a_new_system_or_a_moved_disk_is_the_same_member_and_is_recorded_once() {
    let mut world = World::new(1);
    let identity: PathBuf = world.hosts[0].root.join(IDENTITY);
    let recorded = || -> Value {
        let text = fs::read_to_string(&identity).expect("identity.json");
        let place = &serde_json::from_str::<Value>(&text).expect("JSON")["place"];
        json!([place["instance_id"], place["volume"]["serial"]])
    };
    let inode = || fs::metadata(&identity).expect("identity.json").ino();
    is_instance(&world.hosts[0], Some("i-1"));
    sits_on(&world.hosts[0], "S-1");
    world.boot_all();
    assert_eq!(recorded(), json!(["i-1", "S-1"]));
    let id = world.hosts[0].member_id();
    for (instance, serial, expected) in [
        (Some("i-1"), "S-1", json!(["i-1", "S-1"])),
        (Some("i-2"), "S-1", json!(["i-2", "S-1"])),
        (Some("i-2"), "S-2", json!(["i-2", "S-2"])),
        (None, "S-2", json!(["i-2", "S-2"])),
        (None, "S-3", json!([null, "S-3"])),
        (Some("i-4"), "S-4", json!(["i-4", "S-4"])),
    ] {
        let host = &mut world.hosts[0];
        host.kill();
        is_instance(host, instance);
        sits_on(host, serial);
        let (before, was) = (inode(), recorded());
        host.boot();
        host.settle();
        assert_eq!((host.member_id(), host.rows()), (id.clone(), vec![4]), "{instance:?} on {serial}");
        assert_eq!(recorded(), expected, "{instance:?} on {serial}");
        // A rename makes another inode: nothing was written where nothing has changed.
        assert_eq!(inode() == before, was == expected, "{instance:?} on {serial}");
    }
    world.hosts[0].kill();
    is_instance(&world.hosts[0], Some("i-5"));
    sits_on(&world.hosts[0], "S-5");
    refuses(&mut world.hosts[0], &["i-4 with the disk with serial S-4", "i-5 with the disk with serial S-5"]);
}
