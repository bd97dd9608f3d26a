//! `run` on a machine that a platform launched: what it waits for, what it takes, and that a settled member asks nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fake::{Log, Reply, dress, ip, listen, patience, service};
use super::services::{self as s, Ec2};
use crate::copies::sits_on;
use crate::world::{Host, World};

const LINK: &str = "169.254.169.254";

const OTHER_DISK: &str = "data: {device: {serial: another}}\n";

/// One machine of EC2 without any other configuration, and what `config new` would have it configured by.
pub fn launched() -> (World, String) {
    let world = World::new(1);
    let config = world.config();
    std::fs::remove_file(world.hosts[0].root.join("etc/etcd-bootstrapper/config.yaml")).expect("a configuration");
    dress(&world.hosts[0].root, s::EC2);
    (world, config)
}

pub fn serve(host: &Host, service: super::fake::Service) -> Log {
    host.inside(async move || {
        ip(&format!("addr add {LINK}/32 dev lo"));
        listen(LINK, service)
    })
}

fn gone(host: &Host) {
    host.inside(async || ip(&format!("addr del {LINK}/32 dev lo")));
}

#[test]
fn a_machine_founds_by_its_user_data_and_starts_again_without_its_platform() {
    let (mut world, config) = launched();
    let config = format!("#etcd-bootstrapper\n{config}");
    let tags = vec![("etcd-bootstrapper:replace_after", "90s".to_owned()), ("Name", "etcd".to_owned())];
    let host = &mut world.hosts[0];
    // What its owner writes into it later.
    let (now, later) = (
        Ec2 { tags, ..Ec2::with(&config) }.serve(),
        Ec2::with(&format!("{config}replace_after: 7s\n{OTHER_DISK}")).serve(),
    );
    let is_later = Arc::new(AtomicBool::new(false));
    let edited = is_later.clone();
    let log = serve(host, service(move |a| if edited.load(Ordering::Relaxed) { later(a) } else { now(a) }));
    host.boot();
    host.settle();
    let asked = log.all();
    // One for our own tag, and four that every machine makes.
    assert_eq!(asked.len(), 6, "{:?}", log.paths());
    assert!(asked.iter().all(|asked| asked.connection == 0), "{:?}", log.paths());
    let explained = host.program(&["config", "explain"]).output().expect("config explain runs");
    let explained = String::from_utf8(explained.stdout).expect("UTF-8");
    for line in [
        "replace_after = \"90s\"",
        "tag etcd-bootstrapper:replace_after of ec2 i-0123456789abcdef0:1",
        "user-data of ec2 i-0123456789abcdef0:",
        "instance-id = i-0123456789abcdef0",
    ] {
        assert!(explained.contains(line), "{line}: {explained}");
    }
    assert!(!explained.contains("PRIVATE KEY"), "{explained}");
    let identity =
        std::fs::read_to_string(host.root.join("var/lib/etcd/bootstrapper/identity.json")).expect("an identity");
    assert!(identity.contains("i-0123456789abcdef0"), "{identity}");

    // A reboot: nobody answers any more, and nobody is asked.
    gone(host);
    host.kill();
    host.boot();
    host.settle();
    assert!(!host.said_by("run").contains("metadata service"), "{}", host.said_by("run"));
    assert_eq!(log.all().len(), asked.len());

    // A blank disk takes what it is given now, and not what was kept of it.
    is_later.store(true, Ordering::Relaxed);
    host.kill();
    std::fs::remove_dir_all(host.root.join("var/lib/etcd")).expect("a disk");
    host.boot();
    host.wait_for("run", "waiting up to 120 s for EC2's metadata service");
    host.inside(async || ip(&format!("addr add {LINK}/32 dev lo")));
    // What is there was chosen by what was kept.
    assert_eq!(host.run_ends(), 75, "{}", host.said());
    assert!(host.said_by("run").contains("`data.device` has changed since the last boot"), "{}", host.said());
    host.start_run();
    host.settle();
    let explained = host.program(&["config", "explain"]).output().expect("config explain runs");
    let explained = String::from_utf8(explained.stdout).expect("UTF-8");
    assert!(explained.contains("replace_after = 7s"), "{explained}");
}

#[test]
fn a_machine_whose_platform_has_nothing_for_it_says_what_was_found_there() {
    let (mut world, config) = launched();
    let host = &mut world.hosts[0];
    let log = serve(host, Ec2::with("<!DOCTYPE html><title>Login</title>").serve());
    host.boot();
    host.wait_for("run", "waiting for a configuration: ");
    host.wait_for("run", "user-data of ec2 i-0123456789abcdef0 begins `<!DOCTYPE html>");
    assert_eq!(log.all().len(), 5, "{:?}", log.paths());
    host.kill();

    // A private key in what everything on the machine can ask for.
    assert!(config.contains("allow_inline_secrets: true"));
    let with_key = format!("#etcd-bootstrapper\n{}", config.replace("allow_inline_secrets: true", ""));
    let (mut other, _) = launched();
    let other = &mut other.hosts[0];
    serve(other, Ec2::with(&with_key).serve());
    other.boot();
    assert_eq!(other.run_ends(), 78, "{}", other.said());
    assert!(other.said_by("run").contains("write allow_inline_secrets: true"), "{}", other.said());
}

#[test]
fn a_platform_that_does_not_answer_is_waited_for_and_a_file_does_without_it() {
    let (mut world, config) = launched();
    let host = &mut world.hosts[0];
    patience(&host.root, "2s");
    host.boot();
    assert_eq!(host.run_ends(), 75, "{}", host.said());
    for said in ["waiting up to 2 s for EC2's metadata service", "has not answered PUT /latest/api/token within 2 s"] {
        assert!(host.said_by("run").contains(said), "{said}: {}", host.said());
    }
    // The service is disabled for this instance: nothing of it is to come.
    let log = serve(host, service(|_| Reply::new(403, "")));
    host.boot();
    assert_eq!(host.run_ends(), 69, "{}", host.said());
    host.configure(&config);
    host.boot();
    host.settle();
    assert!(host.said_by("run").contains("going on with the configuration in "), "{}", host.said());
    assert!(log.all().len() >= 2);
}

#[test]
fn an_image_that_was_taken_of_a_live_member_is_refused_on_another_machine() {
    // What the other was launched with: the same, nothing, or what cannot be used.
    for handed in ["as-before", "", "#etcd-bootstrapper\nversion: [\n"] {
        is_refused_elsewhere(handed);
    }
}

fn is_refused_elsewhere(handed: &str) {
    let (mut world, config) = launched();
    let config = format!("#etcd-bootstrapper\n{config}");
    let handed = if handed == "as-before" { &config } else { handed };
    let (one, other) =
        (Ec2::with(&config).serve(), Ec2 { id: Some("i-0fedcba9876543210".into()), ..Ec2::with(handed) }.serve());
    let is_other = Arc::new(AtomicBool::new(false));
    let elsewhere = is_other.clone();
    let host = &mut world.hosts[0];
    sits_on(host, "vol-1");
    serve(host, service(move |a| if elsewhere.load(Ordering::Relaxed) { other(a) } else { one(a) }));
    host.boot();
    host.settle();
    host.kill();
    // All of it comes up on another machine: the system's disk with what is remembered, and the data.
    is_other.store(true, Ordering::Relaxed);
    dress(&host.root, &[("board_asset_tag", "i-0fedcba9876543210\n")]);
    sits_on(host, "vol-2");
    gone(host);
    patience(&host.root, "2s");
    host.boot();
    assert_eq!(host.run_ends(), 75, "{}", host.said());
    assert!(host.said_by("run").contains("only the platform can say who it is"), "{}", host.said());
    host.inside(async || ip(&format!("addr add {LINK}/32 dev lo")));
    // The first time it is asked, and the next time it is known.
    for _ in 0..2 {
        host.boot();
        assert_eq!(host.run_ends(), 78, "{}", host.said());
        for side in ["i-0123456789abcdef0", "i-0fedcba9876543210"] {
            assert!(host.said_by("run").contains(side), "{side}: {}", host.said());
        }
    }
}
