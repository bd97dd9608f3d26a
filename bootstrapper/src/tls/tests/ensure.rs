//! When leaves are made, when they are made anew, and when nothing is touched.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::*;
use crate::sys::fs::Owner;
use crate::sys::process::{Program, run};
use crate::tls::{LEAVES, Leaf, Outcome, certificates_problem, ensure, read_certificate, renew};

/// Every file of `pki/` with its inode, which a rewrite changes, and its bytes.
fn snapshot(paths: &Paths) -> BTreeMap<String, (u64, Vec<u8>)> {
    let entries = std::fs::read_dir(paths.pki()).expect("pki");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, (path.metadata().expect("metadata").ino(), std::fs::read(&path).expect("bytes")))
        })
        .collect()
}

fn issued(outcome: &Outcome) -> Vec<&str> {
    outcome.issued.iter().map(|(leaf, _)| *leaf).collect()
}

fn leaf(paths: &Paths, which: &Leaf) -> crate::tls::certificate::Certificate {
    read_certificate(&paths.pki(), which).expect("a certificate")
}

#[test]
fn a_blank_host_gets_three_leaves_and_a_second_call_writes_nothing() {
    let (scratch, ca) = (Scratch::new(), ca("prod etcd CA", NOW));
    let paths = scratch.paths();
    let first = ensure(&paths, &ca, &names(), Some(NOW), None).expect("leaves");
    assert_eq!(first.issued, ["server", "peer", "client"].map(|l| (l, "it is missing".to_owned())));
    assert_eq!(first.first_end, Some(Seconds(NOW.0 + YEAR)));
    assert_eq!(first.next_due, Some(Seconds(NOW.0 - 3600 + (YEAR + 3600) / 3 * 2)));
    let before = snapshot(&paths);
    let all = [
        "ca.crt",
        "ca.key",
        "client.crt",
        "client.key",
        "names.json",
        "peer.crt",
        "peer.key",
        "server.crt",
        "server.key",
    ];
    assert_eq!(before.keys().collect::<Vec<_>>(), all);
    let second = ensure(&paths, &ca, &names(), Some(Seconds(NOW.0 + DAY)), None).expect("leaves");
    assert_eq!(second, Outcome { issued: vec![], ..first });
    assert_eq!(snapshot(&paths), before);
}

#[test]
fn leaves_say_who_and_where_this_host_is() {
    let (scratch, ca) = (Scratch::new(), ca("prod etcd CA", NOW));
    let paths = scratch.paths();
    ensure(&paths, &ca, &names(), Some(NOW), None).expect("leaves");
    let sans = [
        "10.0.0.11",
        "127.0.0.1",
        "::1",
        "etcd.example.com",
        "etcd_1",
        "fd00::11",
        "host-1.example.com",
        "localhost",
        "peer-1.example.com",
    ];
    for which in &LEAVES {
        let certificate = leaf(&paths, which);
        let expected: Vec<&str> = if which.server { sans.to_vec() } else { vec![] };
        assert_eq!(certificate.sans.iter().collect::<Vec<_>>(), expected, "{}", which.file);
        assert_eq!(certificate.subject, if which.server { "CN=etcd_1" } else { "CN=etcd-bootstrapper" });
        assert_eq!((certificate.server, certificate.client, certificate.ca), (which.server, true, false));
        assert_eq!((certificate.not_before, certificate.not_after), (Seconds(NOW.0 - 3600), Seconds(NOW.0 + YEAR)));
    }
}

#[test]
fn a_hostname_that_is_no_dns_name_is_left_out() {
    for hostname in ["", "(none)", "two words", "trailing.", "-dash"] {
        let sans = Names { hostname: hostname.into(), ..names() }.sans();
        assert!(!sans.contains(hostname), "{hostname:?}");
    }
}

#[test]
fn extra_sans_and_validity_are_checked_by_name() {
    let make = |extra: &str, validity: Option<&str>| {
        let mut tls = tls(inline(""), inline(""));
        tls.extra_sans = vec!["good.example.com".into(), extra.into()];
        tls.validity = validity.map(|v| v.parse::<plan::spec::Duration>().expect("a duration"));
        let names = names();
        Names::new(&tls, names.member, &names.hostname, names.address, names.peer_url)
    };
    for good in ["a.b", "*.example.com", "10.1.2.3", "FD00:0::1", "under_score.example.com"] {
        assert!(make(good, None).is_ok(), "{good}");
    }
    assert_eq!(make("FD00:0::1", None).expect("names").extra.first().map(String::as_str), Some("fd00::1"));
    for bad in ["https://a.b", "[fd00::1]", "a.b:2379", "", "a b", "ä.example.com", "a..b"] {
        let error = make(bad, None).expect_err(bad);
        assert_eq!(crate::exit::Exit::of(&error), crate::exit::Exit::BadInput);
        let expected = format!(
            "tls.extra_sans[1]: {bad:?} is neither a DNS name nor an address: write it without scheme, port and brackets"
        );
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(make("a.b", Some("72h")).expect("names").validity, 3 * DAY);
    let error = make("a.b", Some("71h")).expect_err("too short");
    assert!(error.to_string().starts_with("tls.validity: "), "{error}");
}

#[test]
fn a_leaf_that_no_longer_fits_is_made_anew_and_only_that() {
    type Damage = fn(&Paths);
    let cases: [(&str, Damage, &[&str]); 6] = [
        ("nothing", |_| {}, &[]),
        ("it is missing", |p| fs::remove(&p.pki().join("peer.crt")).expect("gone"), &["peer"]),
        ("its key is missing", |p| fs::remove(&p.pki().join("server.key")).expect("gone"), &["server"]),
        (
            "it is not PEM",
            |p| fs::write_atomic(&p.pki().join("client.crt"), b"x", 0o600, None).expect("written"),
            &["client"],
        ),
        (
            "its key is another's",
            |p| {
                std::fs::read(p.pki().join("peer.key"))
                    .map(|k| fs::write_atomic(&p.pki().join("server.key"), &k, 0o600, None))
                    .expect("read")
                    .expect("written")
            },
            &["server"],
        ),
        (
            "it is damaged PEM",
            |p| {
                fs::write_atomic(&p.pki().join("peer.crt"), b"-----BEGIN CERTIFICATE-----\nAA", 0o600, None)
                    .expect("written")
            },
            &["peer"],
        ),
    ];
    for (reason, damage, expected) in cases {
        let (scratch, ca) = (Scratch::new(), ca("ca", NOW));
        let paths = scratch.paths();
        ensure(&paths, &ca, &names(), Some(NOW), None).expect("leaves");
        let before = snapshot(&paths);
        damage(&paths);
        let outcome = ensure(&paths, &ca, &names(), Some(NOW), None).expect("leaves");
        assert_eq!(issued(&outcome), expected, "{reason}");
        assert!(outcome.issued.iter().all(|(_, why)| why.starts_with(reason)), "{reason}: {outcome:?}");
        assert_eq!(certificates_problem(&paths, Some(NOW)), None, "{reason}");
        let changed: Vec<_> = snapshot(&paths)
            .into_iter()
            .filter(|(name, file)| before.get(name) != Some(file))
            .map(|(n, _)| n)
            .collect();
        assert!(changed.iter().all(|name| expected.iter().any(|leaf| name.starts_with(leaf))), "{reason}: {changed:?}");
    }
}

#[test]
fn a_new_name_makes_both_served_leaves_anew() {
    let (scratch, ca) = (Scratch::new(), ca("ca", NOW));
    ensure(&scratch.paths(), &ca, &names(), Some(NOW), None).expect("leaves");
    let moved = Names { address: [10, 0, 0, 99].into(), ..names() };
    let outcome = ensure(&scratch.paths(), &ca, &moved, Some(NOW), None).expect("leaves");
    assert_eq!(outcome.issued, ["server", "peer"].map(|l| (l, "it lacks the name 10.0.0.99".to_owned())));
}

#[test]
fn age_is_judged_at_two_thirds_and_the_key_stays() {
    let due = NOW.0 - 3600 + (YEAR + 3600) / 3 * 2;
    for (now, expected) in [
        (Some(due - 1), None),
        (Some(due), Some("it is past two thirds of its life, which ends on 2028-01-15T08:00:00Z")),
        (Some(NOW.0 + YEAR + 1), Some("it expired on 2028-01-15T08:00:00Z")),
        (Some(NOW.0 - 3601), Some("it is not valid before 2027-01-15T07:00:00Z: the clock was ahead when it was made")),
        (Some(NOW.0 - 3600), None),
        (None, None),
    ] {
        let (scratch, ca) = (Scratch::new(), ca("ca", NOW));
        let paths = scratch.paths();
        ensure(&paths, &ca, &names(), Some(NOW), None).expect("leaves");
        let (before, now) = (snapshot(&paths), now.map(Seconds));
        let outcome = renew(&paths, None, now).expect("renewal");
        let reasons: Vec<Option<&str>> = outcome.issued.iter().map(|(_, why)| Some(why.as_str())).collect();
        assert_eq!(reasons, if expected.is_some() { vec![expected; 3] } else { vec![] }, "{now:?}");
        assert_eq!(certificates_problem(&paths, now.or(Some(NOW))), None, "{now:?}");
        let after = snapshot(&paths);
        for (name, file) in &before {
            let renewed = expected.is_some() && name.ends_with(".crt") && name != "ca.crt";
            assert_eq!(after.get(name) != Some(file), renewed, "{name} at {now:?}");
        }
        assert_eq!(issued(&renew(&paths, None, now).expect("renewal")), [""; 0], "again at {now:?}");
    }
}

#[test]
fn near_the_end_of_the_ca_a_leaf_is_not_renewed_over_and_over() {
    let (certificate, key) = ca_pem("short", YEAR, NOW);
    let ca = checked(&certificate, &key, Some(NOW)).expect("a CA");
    let scratch = Scratch::new();
    let outcome = ensure(&scratch.paths(), &ca, &names(), Some(Seconds(NOW.0 + DAY)), None).expect("leaves");
    assert_eq!((outcome.first_end, outcome.next_due), (Some(Seconds(NOW.0 + YEAR)), None));
    let late = Seconds(NOW.0 + YEAR - DAY);
    assert_eq!(issued(&ensure(&scratch.paths(), &ca, &names(), Some(late), None).expect("leaves")), [""; 0]);
}

#[test]
fn without_a_clock_a_leaf_lives_as_long_as_its_ca_until_the_clock_is_known() {
    let (scratch, ca) = (Scratch::new(), ca("ca", NOW));
    let paths = scratch.paths();
    let outcome = ensure(&paths, &ca, &names(), None, None).expect("leaves");
    assert_eq!(outcome.first_end, Some(ca.not_after()));
    assert_eq!(certificates_problem(&paths, None), None);
    assert!(leaf(&paths, &LEAVES[0]).not_before >= ca.not_before());
    assert_eq!(issued(&ensure(&paths, &ca, &names(), None, None).expect("leaves")), [""; 0]);
    let outcome = ensure(&paths, &ca, &names(), Some(NOW), None).expect("leaves");
    assert_eq!(issued(&outcome), ["server", "peer", "client"]);
    assert_eq!(outcome.first_end, Some(Seconds(NOW.0 + YEAR)));
}

#[test]
fn another_ca_brings_new_keys_and_a_second_one_in_the_bundle_brings_nothing() {
    let scratch = Scratch::new();
    let paths = scratch.paths();
    let (old, old_key) = ca_pem("old", 10 * YEAR, NOW);
    let (new, new_key) = ca_pem("new", 10 * YEAR, NOW);
    let at = |bundle: String, key: &str| {
        let ca = checked(&bundle, key, Some(NOW)).expect("a CA");
        ensure(&paths, &ca, &names(), Some(NOW), None).expect("leaves")
    };
    at(old.clone(), &old_key);
    let (alone, pair) = (snapshot(&paths), at(format!("{old}{new}"), &old_key));
    assert_eq!(issued(&pair), [""; 0]);
    assert_eq!(std::fs::read_to_string(paths.pki().join("ca.crt")).expect("ca.crt"), format!("{old}{new}"));
    let outcome = at(format!("{new}{old}"), &new_key);
    assert_eq!(outcome.issued, ["server", "peer", "client"].map(|l| (l, "another CA issued it".to_owned())));
    let after = snapshot(&paths);
    for key in ["server.key", "peer.key", "client.key", "ca.key"] {
        assert_ne!(alone.get(key), after.get(key), "{key}");
    }
}

#[test]
fn a_ca_with_the_same_name_and_another_key_is_another_ca() {
    let (scratch, first, second) = (Scratch::new(), ca("twin", NOW), ca("twin", NOW));
    ensure(&scratch.paths(), &first, &names(), Some(NOW), None).expect("leaves");
    let outcome = ensure(&scratch.paths(), &second, &names(), Some(NOW), None).expect("leaves");
    assert_eq!(issued(&outcome), ["server", "peer", "client"]);
    assert_eq!(certificates_problem(&scratch.paths(), Some(NOW)), None);
}

#[test]
fn what_would_fail_at_the_other_end_is_said_with_the_file() {
    type Damage = fn(&Paths);
    let pki = |p: &Paths| p.pki().display().to_string();
    let foreign = |p: &Paths| {
        let other = ca("other", NOW);
        fs::write_atomic(&p.pki().join("ca.crt"), other.bundle().as_bytes(), 0o644, None).expect("written");
    };
    let swapped = |p: &Paths| {
        let client = std::fs::read(p.pki().join("client.crt")).expect("client.crt");
        fs::write_atomic(&p.pki().join("peer.crt"), &client, 0o644, None).expect("written");
    };
    let late = NOW.0 + YEAR + 1;
    let cases: [(Damage, u64, &str); 7] = [
        (|_| {}, NOW.0 + YEAR, ""),
        (
            |_| {},
            late,
            "/server.crt: it expired on 2028-01-15T08:00:00Z, and this host's clock says 2028-01-15T08:00:01Z: correct the clock if it is wrong, else boot with the CA in the spec, or see `etcd-bootstrapper certs renew`",
        ),
        (
            |_| {},
            NOW.0 - DAY,
            "/server.crt: it is not valid before 2027-01-15T07:00:00Z, and this host's clock says 2027-01-14T08:00:00Z: the clock is behind",
        ),
        (foreign, NOW.0, "/server.crt: its issuer (CN=mine) is none of the CAs in ca.crt (CN=other)"),
        (|p| fs::remove(&p.pki().join("ca.crt")).expect("gone"), NOW.0, "/ca.crt: it is missing"),
        (|p| fs::remove(&p.pki().join("client.key")).expect("gone"), NOW.0, "/client.key: it is missing"),
        (swapped, NOW.0, "/peer.crt: it lacks the name 10.0.0.11, so members and clients that use it are refused"),
    ];
    for (damage, now, expected) in cases {
        let (scratch, ca) = (Scratch::new(), ca("mine", NOW));
        let paths = scratch.paths();
        ensure(&paths, &ca, &names(), Some(NOW), None).expect("leaves");
        damage(&paths);
        let problem = certificates_problem(&paths, Some(Seconds(now)));
        assert_eq!(problem, (!expected.is_empty()).then(|| format!("{}{expected}", pki(&paths))));
    }
}

#[test]
fn renewal_without_a_ca_says_until_when_it_can_wait() {
    let (scratch, ca) = (Scratch::new(), ca("ca", NOW));
    let paths = scratch.paths();
    ensure(&paths, &ca, &names(), Some(NOW), None).expect("leaves");
    fs::remove(&paths.pki().join("ca.key")).expect("gone");
    let error = renew(&paths, None, Some(NOW)).expect_err("no CA");
    assert_eq!(crate::exit::Exit::of(&error), crate::exit::Exit::TryAgain);
    let key = paths.pki().join("ca.key").display().to_string();
    let expected = format!(
        "cannot renew certificates: {key}: there is no {key}: put it there. this host's first certificate ends on 2028-01-15T08:00:00Z, and etcd stops being reached then; a reboot with the CA in the spec heals this"
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn keys_belong_to_who_uses_them() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let (scratch, ca) = (Scratch::new(), ca("ca", NOW));
    let paths = scratch.paths();
    for etcd in [Owner { uid: 870, gid: 870 }, Owner { uid: 871, gid: 872 }] {
        ensure(&paths, &ca, &names(), Some(NOW), Some(etcd)).expect("leaves");
        let of = |name: &str| {
            let meta = std::fs::metadata(paths.pki().join(name)).expect("metadata");
            (meta.uid(), meta.gid(), meta.mode() & 0o7777)
        };
        for (name, expected) in [
            ("", (0, etcd.gid, 0o750)),
            ("ca.crt", (0, 0, 0o644)),
            ("ca.key", (0, 0, 0o600)),
            ("names.json", (0, 0, 0o600)),
            ("server.crt", (0, 0, 0o644)),
            ("server.key", (etcd.uid, etcd.gid, 0o600)),
            ("peer.key", (etcd.uid, etcd.gid, 0o600)),
            ("client.key", (0, 0, 0o600)),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
        let before = snapshot(&paths);
        renew(&paths, None, Some(NOW)).expect("renewal");
        assert_eq!(snapshot(&paths), before, "renewal keeps the owners");
    }
}

#[tokio::test]
async fn openssl_agrees_that_the_leaves_are_good() {
    let now = crate::sys::clock::now();
    let (scratch, ca) = (Scratch::new(), ca("prod etcd CA", now));
    let paths = scratch.paths();
    ensure(&paths, &ca, &names(), Some(now), None).expect("leaves");
    let pki = |file: &str| paths.pki().join(file).display().to_string();
    for (purpose, file, name) in [
        ("sslserver", "server.crt", &["-verify_hostname", "etcd.example.com"][..]),
        ("sslclient", "server.crt", &[]),
        ("sslserver", "peer.crt", &["-verify_ip", "fd00::11"]),
        ("sslclient", "peer.crt", &[]),
        ("sslclient", "client.crt", &[]),
    ] {
        let mut arguments: Vec<String> = ["verify", "-x509_strict", "-CAfile"].map(String::from).to_vec();
        arguments.extend([pki("ca.crt"), "-purpose".into(), purpose.into()]);
        arguments.extend(name.iter().map(|s| (*s).to_owned()));
        arguments.push(pki(file));
        let program = Program { program: "openssl", arguments, owner: None, timeout: Duration::from_secs(30) };
        let said = run(program).await.expect("openssl accepts it");
        assert_eq!(said, format!("{}: OK\n", pki(file)), "{purpose}");
    }
}
