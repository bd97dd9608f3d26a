//! Every fault of a spec and of user-data, with its exit code and the whole message.

use std::time::{Duration, Instant};

use super::{GOOD, fixtures, gzip, repository, verdict};

/// Limits are there so that no input makes a boot wait; debug builds on a busy machine need this much.
pub(super) const FAST: Duration = Duration::from_secs(2);

#[test]
fn each_bad_file_fails_with_its_exit_code_place_path_and_remedy() {
    let expected = std::fs::read_to_string(repository().join("tests/fixtures/spec/bad.txt")).unwrap();
    let mut found = Vec::new();
    for (name, bytes) in fixtures("bad") {
        let begun = Instant::now();
        found.extend(verdict(&name, &bytes));
        assert!(begun.elapsed() < FAST, "{name} took {:?}", begun.elapsed());
    }
    for (found, expected) in found.iter().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.join("\n") + "\n", expected);
}

#[test]
fn no_message_quotes_a_secret() {
    let canaries: Vec<_> =
        fixtures("bad").into_iter().filter(|(_, b)| String::from_utf8_lossy(b).contains("CANARY")).collect();
    assert_eq!(canaries.len(), 22, "files with a canary");
    for (name, bytes) in canaries {
        let said = verdict(&name, &bytes).join("\n");
        assert!(!said.to_ascii_uppercase().contains("CANARY"), "{said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
}

#[test]
fn bytes_that_are_no_text_or_too_much_of_it_are_refused_by_what_they_are() {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| GOOD.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let with_mark = |mark: [u8; 2], bytes: Vec<u8>| [mark.to_vec(), bytes].concat();
    let replaced = |from: &str, to: &[u8]| {
        let at = GOOD.find(from).unwrap();
        [&GOOD.as_bytes()[..at], to, &GOOD.as_bytes()[at + from.len()..]].concat()
    };
    let padded = |bytes: usize| format!("{GOOD}#{}", "x".repeat(bytes)).into_bytes();
    for (bytes, expected) in [
        (with_mark([0xff, 0xfe], utf16(u16::to_le_bytes)), "65 f:1:1: the text is UTF-16: save it as UTF-8"),
        (with_mark([0xfe, 0xff], utf16(u16::to_be_bytes)), "65 f:1:1: the text is UTF-16: save it as UTF-8"),
        (utf16(u16::to_le_bytes), "65 f:1:1: the text is UTF-16: save it as UTF-8"),
        (replaced("prod", b"pr\xffd"), "65 f:3:11: byte 0xff is not UTF-8: save the text as UTF-8"),
        (replaced("prod", b"pr\0d"), "65 f:3:11: a NUL is in the text: remove it"),
        (replaced("prod", b"pr\x1b[1m"), "65 f:3:11: the control character U+001B is in the text: remove it"),
        (padded(1 << 20), "65 f:1:1: larger than 1024 KiB: is it the right file?"),
        (
            [b"#cloud-config\n#", padded(1 << 20).as_slice()].concat(),
            "65 f:1:1: user-data is larger than 1024 KiB: is it the right file?",
        ),
        (gzip(&vec![b'#'; 64 << 20]), "65 f:1:1: the gzip data unpacks to more than 4 MiB: is it the right file?"),
        (gzip(GOOD.as_bytes())[..100].to_vec(), "65 f:1:1: the gzip data is damaged or cut short: pack it again"),
    ] {
        let begun = Instant::now();
        assert_eq!(verdict("f", &bytes), [expected]);
        assert!(begun.elapsed() < FAST, "{expected} took {:?}", begun.elapsed());
    }
}

#[test]
fn a_fault_in_packed_user_data_is_placed_in_what_was_unpacked() {
    let bad = format!("#etcd-bootstrapper\n{}", GOOD.replace("mode: auto", "mode: found"));
    let expected = "65 f (unpacked):7:7: mode: `found` is not one of `auto`, `init`, `join`, `restore`";
    assert_eq!(verdict("f", &gzip(bad.as_bytes())), [expected]);
}
