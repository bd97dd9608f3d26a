//! Faults of user-data as a boot meets them, by their numbers in docs/metadata-faults.md: exit code and message, or the
//! note of a host that goes on waiting.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

use super::super::remember::differing;
use super::super::{Sources, remember};
use super::bad::FAST;
use super::volumes::{host as with_disks, iso9660};
use super::{GOOD, Host, SEED, gzip};
use crate::exit::Exit;

/// What a boot makes of it.
fn outcome(host: &Host) -> String {
    let sources = Sources::new(&host.paths());
    let said = match sources.load() {
        Ok(Some(loaded)) => format!("0 {}", loaded.spec.cluster.as_str()),
        Ok(None) => {
            let looked = sources.looked_at().to_string();
            format!("waits: {}", looked.split_once("; ").map_or(looked.as_str(), |(_, notes)| notes))
        }
        Err(error) => format!("{} {error:#}", Exit::of(&error) as u8),
    };
    host.rootless(&said).replace(&format!("{SEED}/"), "")
}

fn handed_out(user_data: impl AsRef<[u8]>) -> Host {
    Host::new().with(&format!("{SEED}/user-data"), user_data).with(&format!("{SEED}/meta-data"), "instance-id: i-1")
}

#[test]
fn packed_user_data_is_unpacked_or_told() {
    let plain = format!("#etcd-bootstrapper\n{GOOD}");
    let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
    let wrapped =
        base64(plain.as_bytes()).as_bytes().chunks(76).map(<[u8]>::to_vec).collect::<Vec<_>>().join(&b"\r\n"[..]);
    // Two bytes whose base64 has the letters in which the alphabets differ.
    let odd = format!("{plain}# \u{fbff}\u{ffff}??>>\n");
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(plain.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let uneven = format!("{plain}#{}", "x".repeat((3 - plain.len() % 3) % 3));
    let unpadded = STANDARD_NO_PAD.encode(&uneven);
    let indented: String = GOOD.lines().map(|line| format!("  {line}\n")).collect();
    let not_ours = "which is neither #cloud-config nor #etcd-bootstrapper";
    for (number, user_data, expected) in [
        (25, gzip(plain.as_bytes()), "0 prod".to_owned()),
        (25, base64(&gzip(plain.as_bytes())).into(), "0 prod".into()),
        (25, base64(base64(plain.as_bytes()).as_bytes()).into(), "0 prod".into()),
        (
            25,
            gzip(&gzip(&vec![b'#'; 8 << 20])),
            "65 user-data:1:1: the gzip data unpacks to more than 4 MiB: is it the right file?".into(),
        ),
        (
            25,
            gzip(plain.as_bytes())[..90].to_vec(),
            "65 user-data:1:1: the gzip data is damaged or cut short: pack it again".into(),
        ),
        (26, wrapped, "0 prod".into()),
        (26, "abcd".into(), format!("waits: user-data begins `abcd`, {not_ours}")),
        (26, "aGVsbG8gd29ybGQ=".into(), format!("waits: user-data begins `aGVsbG8gd29ybGQ=`, {not_ours}")),
        (
            26,
            URL_SAFE.encode(odd).into(),
            "65 user-data:1:1: this is base64 of the URL-safe kind: encode it with `base64`".into(),
        ),
        (26, unpadded.into(), "65 user-data:1:1: this is not base64, or cut short: encode it with `base64`".into()),
        (29, format!("\u{feff}#cloud-config\netcd_bootstrapper:\n{indented}").into(), "0 prod".into()),
        (29, format!("\u{feff}{}", plain.replace('\n', "\r\n")).into(), "0 prod".into()),
        (29, utf16, "65 user-data:1:1: the text is UTF-16: save it as UTF-8".into()),
        (
            57,
            "## template: jinja\n#cloud-config\n".into(),
            "waits: user-data is not read: it is a template, and templates \
            are not rendered: write the values"
                .into(),
        ),
        (
            57,
            "#include\nhttp://10.0.0.1/\n".into(),
            "waits: user-data is not read: includes are not fetched: write the \
            configuration itself"
                .into(),
        ),
    ] {
        let begun = Instant::now();
        let said = outcome(&handed_out(&user_data));
        assert!(begun.elapsed() < FAST, "{number}: {:?}", begun.elapsed());
        assert_eq!(said, expected, "{number}");
    }
}

#[test]
fn a_volume_that_cannot_be_mounted_is_tried_again() {
    let host = with_disks(&[("sr0", iso9660("cidata"))]);
    let said = outcome(&host);
    assert!(said.starts_with("75 cannot mount /dev/sr0 (iso9660) at /run/etcd-bootstrapper/cidata: "), "{said}");
}

#[test]
fn a_configuration_that_changed_between_boots_is_told_by_its_keys_and_never_by_its_values() {
    let old = serde_json::json!({"mode": "auto", "cluster": {"name": "a", "size": 3}, "tls": {"ca": {"key": "K"}}, "peers": [1]});
    let new = serde_json::json!({"mode": "init", "cluster": {"name": "a", "size": 5}, "tls": {"ca": {"key": "L"}}, "peers": [1, 2],
        "replace_after": "5m"});
    assert_eq!(differing(&old, &new), ["cluster.size", "mode", "peers", "replace_after", "tls.ca.key"]);
    assert_eq!(differing(&old, &old), [""; 0]);
    let host = handed_out(format!("#etcd-bootstrapper\n{GOOD}"));
    let load = |host: &Host| Sources::new(&host.paths()).load().unwrap().unwrap();
    remember(&host.paths(), &load(&host)).unwrap();
    let host = host.with(
        &format!("{SEED}/user-data"),
        format!("#etcd-bootstrapper\n{}", GOOD.replace("mode: auto", "mode: init")),
    );
    remember(&host.paths(), &load(&host)).unwrap();
    assert_eq!(super::super::remembered(&host.paths()).unwrap().unwrap().spec.mode, plan::spec::Mode::Init);
}

#[test]
fn a_configuration_that_cannot_be_kept_is_tried_again_and_is_not_gone_on_with() {
    // A file where a directory belongs fails as a full or broken disk does, and without one.
    let host = handed_out(format!("#etcd-bootstrapper\n{GOOD}")).with("/var/lib/etcd-bootstrapper", "");
    let loaded = Sources::new(&host.paths()).load();
    let error = match loaded {
        Ok(loaded) => remember(&host.paths(), &loaded.unwrap()).expect_err("it is kept nowhere"),
        Err(error) => error,
    };
    assert_eq!(Exit::of(&error), Exit::TryAgain, "{error:#}");
    assert!(format!("{error:#}").contains("/var/lib/etcd-bootstrapper"), "{error:#}");
}

/// Every Rust file below a directory, in one text.
fn sources(dir: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &std::fs::read_to_string(&path).unwrap();
        }
    }
}

#[test]
fn each_fault_that_is_documented_has_the_test_that_it_names_and_stands_in_its_order() {
    let documented = std::fs::read_to_string(super::repository().join("docs/metadata-faults.md")).unwrap();
    let mut text = String::new();
    for dir in ["bootstrapper", "tests"] {
        sources(&super::repository().join(dir), &mut text);
    }
    let rows: Vec<Vec<&str>> = documented
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 40);
    // A row may be for several: `18, 19`.
    let first = |row: &Vec<&str>| row[0].split(',').next().and_then(|number| number.parse::<u32>().ok());
    let numbers: Vec<u32> = rows.iter().map(|row| first(row).unwrap_or_else(|| panic!("{row:?}"))).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    for row in rows {
        let [_, _, _, exit, test] = row[..] else { panic!("{row:?} has {} columns", row.len()) };
        assert!(["0", "waits", "65", "69", "75", "77", "78"].contains(&exit), "{row:?}");
        let name = test.rsplit("::").next().unwrap();
        assert!(text.contains(&format!("fn {name}(")), "there is no test {test}");
    }
}
