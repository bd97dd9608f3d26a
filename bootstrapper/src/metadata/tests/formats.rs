//! User-data in its wrappings: MIME messages and systemd's credentials, good and bad.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::user_data::{self, Found};
use super::{GOOD, gzip, verdict};

const VALID: &str = "0 f: valid: cluster prod, 3 members, mode auto";

/// A message of these parts; each is its header's lines, and its content.
fn message(parts: &[(&str, &str)]) -> String {
    let mut text =
        "Content-Type: multipart/mixed; boundary=\"=b 1\"\nMIME-Version: 1.0\n\nfor old mail readers\n".to_owned();
    for (header, content) in parts {
        let header: String = header.lines().map(|line| format!("{line}\n")).collect();
        text += &format!("--=b 1\n{header}\n{content}\n");
    }
    text + "--=b 1--\nepilogue\n"
}

fn ours(content: &str) -> (&'static str, String) {
    ("Content-Type: text/x-etcd-bootstrapper", content.to_owned())
}

fn cloud_config() -> String {
    let lines: String = GOOD.lines().map(|l| format!("      {l}\n")).collect();
    format!("#cloud-config\nwrite_files:\n  - path: /etc/etcd-bootstrapper/config.yaml\n    content: |\n{lines}")
}

fn base64(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    text.as_bytes().chunks(76).map(|line| format!("{}\n", std::str::from_utf8(line).unwrap())).collect()
}

fn quoted_printable(text: &str) -> String {
    let encoded = text.replace('=', "=3D").replace("prod", "pr=6F=\nd");
    encoded.replace("    - {", " =20 =20- {")
}

fn found(bytes: &[u8]) -> Found {
    user_data::read(bytes, "f").map_err(|fault| fault.to_string()).unwrap()
}

#[test]
fn our_part_of_a_mime_message_is_read_however_it_is_wrapped() {
    let script = ("Content-Type: text/x-shellscript; charset=\"us-ascii\"", "#!/bin/sh\nreboot\n");
    let (kind, document) = ours(GOOD);
    let plain = message(&[script, (kind, &document)]);
    let encoded = format!("{kind}\nContent-Transfer-Encoding: base64");
    let packed = base64(&gzip(GOOD.as_bytes()));
    let inner = message(&[(kind, GOOD)]).replace("=b 1", "inner");
    let (inner_header, inner_body) = inner.split_once("\n\n").unwrap();
    let with = |header: &str, content: &str| message(&[script, (header, content)]);
    for (case, text) in [
        ("plain", plain.clone()),
        ("CRLF", plain.replace('\n', "\r\n")),
        ("no end boundary", plain.replace("--=b 1--\nepilogue\n", "")),
        ("an unquoted boundary", plain.replace("\"=b 1\"", "b_1;charset=utf-8").replace("--=b 1", "--b_1")),
        ("a folded header", plain.replace("mixed; boundary", "mixed;\n\tboundary")),
        ("other fields first", format!("From nobody Sat Nov 21 2026\nX-Made-By: me\n{plain}")),
        ("no MIME-Version", plain.replace("MIME-Version: 1.0\n", "")),
        ("MIME-Version first, in capitals", format!("MIME-VERSION: 1.0\n{}", plain.replace("MIME-Version: 1.0\n", ""))),
        ("the other type", plain.replace("text/x-etcd-bootstrapper", "Application/vnd.ETCD-bootstrapper")),
        ("base64", with(&encoded, &base64(GOOD.as_bytes()))),
        ("gzip in base64", with(&encoded, &packed)),
        ("gzip in base64 that no header tells of", with(kind, &packed)),
        (
            "quoted-printable",
            with(&format!("{kind}\nContent-Transfer-Encoding: Quoted-Printable"), &quoted_printable(GOOD)),
        ),
        ("nested", with(inner_header, inner_body)),
        ("cloud-config", with("Content-Type: text/cloud-config; charset=utf-8", &cloud_config())),
        ("cloud-config without its first line", with("Content-Type: text/cloud-config", &cloud_config()[14..])),
        ("text/plain", with("Content-Type: text/plain", &cloud_config())),
        ("no type", with("X-Nothing: 1", &format!("#etcd-bootstrapper\n{GOOD}"))),
        (
            "a type for what is packed",
            with(
                "Content-Type: application/x-gzip\nContent-Transfer-Encoding: base64",
                &packed.replace(&packed, &base64(&gzip(cloud_config().as_bytes()))),
            ),
        ),
        ("a message of one part", format!("{kind}\nMIME-Version: 1.0\n\n{GOOD}")),
        ("a message that is packed", base64(&gzip(plain.as_bytes()))),
    ] {
        assert_eq!(verdict("f", text.as_bytes()), [VALID], "{case}: {text}");
    }
}

#[test]
fn parts_are_merged_in_their_order_and_must_agree_on_what_makes_the_cluster() {
    let header = "Content-Type: text/x-etcd-bootstrapper";
    let other = |mode: &str| format!("replace_after: 5m\nmode: {mode}\n");
    let fits = message(&[(header, GOOD), (header, &other("auto")), (header, "replace_after: 7m")]);
    let values =
        |text: &str| found(text.as_bytes()).parts.iter().map(|p| p.tree.at("replace_after").is_some()).collect();
    assert_eq!((verdict("f", fits.as_bytes()), values(&fits)), (vec![VALID.to_owned()], vec![false, true, true]));
    let conflict = message(&[(header, GOOD), (header, &other("join"))]);
    let lines = GOOD.lines().count();
    let expected = format!(
        "78 f:{}:7: mode: differs from f:{}:7, and neither counts more: make them the same, or remove one",
        7 + lines + 6,
        7 + 6
    );
    assert_eq!(verdict("f", conflict.as_bytes()), [expected]);
}

#[test]
fn what_is_wrong_in_a_part_is_placed_where_a_person_finds_it() {
    let bad = GOOD.replace("mode: auto", "mode: found");
    let says = "mode: `found` is not one of `auto`, `init`, `join`, `restore`";
    let kind = "Content-Type: text/x-etcd-bootstrapper";
    let encoded = |with: &str| format!("{kind}\nContent-Transfer-Encoding: {with}");
    let boundary = "write boundary=\"WORD\" behind it, and --WORD before each part";
    for (text, expected) in [
        (message(&[(kind, &bad)]), format!("65 f:13:7: {says}")),
        (message(&[(kind, &bad)]).replace('\n', "\r\n"), format!("65 f:13:7: {says}")),
        (
            message(&[("Content-Type: text/cloud-config", &cloud_config().replace("mode: auto", "mode: found"))]),
            format!("65 f:17:13: {says}"),
        ),
        (
            message(&[("", "#!/bin/sh"), (&encoded("base64"), &base64(bad.as_bytes()))]),
            format!("65 f part 2 (text/x-etcd-bootstrapper):6:7: {says}"),
        ),
        (
            message(&[(&encoded("base64"), "dmVy%")]),
            "65 f:6:1: part 1 (text/x-etcd-bootstrapper): this is not base64, or cut short: encode it with `base64`".into(),
        ),
        (
            message(&[(&encoded("quoted-printable"), "a=zz")]),
            "65 f:6:1: part 1 (text/x-etcd-bootstrapper): this is not quoted-printable: `=` is not followed by two digits: \
             encode it again"
                .into(),
        ),
        (
            message(&[(&encoded("x-uuencode"), "begin")]),
            "65 f:6:1: part 1 (text/x-etcd-bootstrapper): this Content-Transfer-Encoding is not known: write base64, or \
             leave it out"
                .into(),
        ),
        (
            message(&[(kind, "# nothing")]),
            "65 f:8:1: there is nothing but comments in it: write the document, which begins with `version: 1`".into(),
        ),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n--b\n".into(),
            format!("65 f:2:1: multipart/mixed has no boundary: {boundary}"),
        ),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--c\n".into(),
            "65 f:1:1: this user-data is a MIME message without any part: is its boundary written before each part?".into(),
        ),
        (
            format!("X-Long: {}\nMIME-Version: 1.0\n{kind}\n\n{GOOD}", "x".repeat(4096)),
            "65 f:1:1: this user-data is not read: its MIME-Version is not in the first 4 KiB, where cloud-init looks for \
             it: put it on the first line"
                .into(),
        ),
    ] {
        assert_eq!(verdict("f", text.as_bytes()), [expected], "{text}");
    }
}

#[test]
fn parts_that_are_not_for_us_are_passed_over_each_with_its_reason() {
    let script = "is not read: it is a script, and nothing in user-data is executed";
    let include = "is not read: includes are not fetched: write the configuration itself";
    let template = "is not read: it is a template, and templates are not rendered: write the values";
    for (kind, content, says) in [
        ("text/x-shellscript", "#!/bin/sh", script),
        ("text/x-shellscript-per-boot", "#!/bin/sh", script),
        ("text/part-handler", "#part-handler", script),
        ("text/cloud-boothook", "#cloud-boothook", script),
        ("text/upstart-job", "x", script),
        ("text/plain", "#!/bin/sh\nreboot", script),
        ("text/x-include-url", "http://10.0.0.1/", include),
        ("text/x-include-once-url", "http://10.0.0.1/", include),
        ("text/plain", "#include\nhttp://10.0.0.1/", include),
        ("text/jinja2", "## template: jinja\n#cloud-config", template),
        ("text/plain", "## template: jinja\n#cloud-config", template),
        (
            "text/cloud-config-archive",
            "- type: foo",
            "is not read: archives and patches of cloud-config are not read: use #cloud-config",
        ),
        ("application/node.eks.aws", "kind: NodeConfig", "is not read: it is not for this program"),
        ("image/png", "x", "is not read: it is not for this program"),
        ("text/plain", "hello", "begins `hello`, which is neither #cloud-config nor #etcd-bootstrapper"),
    ] {
        let text = message(&[(&format!("Content-Type: {kind}"), content)]);
        let found = found(text.as_bytes());
        assert!(!found.is_ours(), "{kind}");
        assert_eq!(found.notes, [format!("part 1 ({kind}) {says}")]);
    }
}

#[test]
fn a_part_that_is_no_text_is_passed_over_unless_it_begins_like_ours() {
    let binary = |begins: &[u8]| STANDARD.encode([begins, &[0, 159, 146, 150, 255]].concat());
    let encoded = "Content-Transfer-Encoding: base64";
    let beside = |kind: &str, begins: &[u8]| {
        let (other, ours) = (format!("Content-Type: {kind}\n{encoded}"), format!("#etcd-bootstrapper\n{GOOD}"));
        message(&[(&other, &binary(begins)), ("Content-Type: text/x-etcd-bootstrapper", &ours)])
    };
    for kind in ["application/octet-stream", "text/plain", "application/zip"] {
        let found = found(beside(kind, b"PK\x03\x04").as_bytes());
        assert!(found.is_ours(), "{kind}");
        let says = "is not read: it is no text, and does not begin like anything for this program";
        assert_eq!(found.notes, [format!("part 1 ({kind}) {says}")]);
    }
    for begins in [&b"#etcd-bootstrapper\n"[..], b"#cloud-config\n", b"\xff\xfe#\0c\0l\0o\0u\0d\0-\0c\0o\0n\0f\0i\0g\0"]
    {
        let said = verdict("f", beside("application/octet-stream", begins).as_bytes()).join("\n");
        assert!(said.starts_with("65 f"), "{said}");
    }
}

#[test]
fn a_message_without_end_is_bounded() {
    let nested = (0..200).fold(String::new(), |inner, i| {
        format!("Content-Type: multipart/mixed; boundary=b{i}\n\n--b{i}\n{inner}\n--b{i}--\n")
    });
    let many = message(&vec![("X: 1", "a"); 101]);
    let too_many = "more than 100 parts: is it the right file?";
    // Each part holds ninety others, packed so that they take no room.
    let packed = (0..3).fold("nothing".to_owned(), |inner, _| {
        let packed = base64(&gzip(inner.as_bytes()));
        message(&vec![
            ("Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64", packed.as_str());
            90
        ])
    });
    let hollow = message(&vec![("Content-Type: multipart/mixed; boundary=x", ""); 9000]);
    for (text, says) in [
        (nested, too_many),
        (many, too_many),
        (hollow, too_many),
        (packed, "more than 200 parts or 16 MiB together: is it the right file?"),
        (message(&vec![("", ""); 9000]), too_many),
        (
            format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n{}", "\n--b\n".repeat(100_000)),
            too_many,
        ),
    ] {
        let begun = std::time::Instant::now();
        let said = verdict("f", text.as_bytes()).join("\n");
        assert!(said.starts_with("65 f") && said.contains(says), "{said}");
        assert!(begun.elapsed() < super::bad::FAST, "{says}");
    }
}

#[test]
fn many_small_texts_that_unpack_to_much_are_bounded_together() {
    let packed = |text: &str| base64(&gzip(text.as_bytes())).replace('\n', "");
    let fragments = |content: &str| {
        let entry = |i: usize| {
            format!(
                "- {{path: /etc/etcd-bootstrapper/config.d/{i}.yaml, encoding: gz+b64, content: {}}}\n",
                packed(content)
            )
        };
        format!("#cloud-config\nwrite_files:\n{}", (0..60).map(entry).collect::<String>())
    };
    let many = "1,".repeat(20_000);
    let part = format!("#cloud-config\netcd_bootstrapper: [{many}]\n");
    let part = ("Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64", base64(&gzip(part.as_bytes())));
    let parts: Vec<(&str, &str)> = vec![(part.0, part.1.as_str()); 60];
    let much = "more than 50000 values or 4 MiB of text: is it the right file?";
    for (case, bytes) in [
        ("fragments of values", fragments(&format!("peers: [{many}]\n"))),
        ("fragments of text", fragments(&format!("mode: {}\n", "x".repeat(900_000)))),
        ("parts of a message", message(&parts)),
        ("a key behind an alias", {
            let aliases: String = (0..90).map(|i| format!("k{i}: *a\n")).collect();
            format!("#cloud-config\na: &a {{? {} : 1}}\n{aliases}", "k".repeat(900_000))
        }),
    ] {
        let fault = user_data::read(&gzip(bytes.as_bytes()), "f").map(drop).expect_err(case).to_string();
        assert!(fault.contains(much), "{case}: {fault}");
    }
}

fn systemd(entries: &str) -> String {
    format!("{{\"systemd.credentials\": [{entries}], \"something else\": {{}}}}")
}

#[test]
fn credentials_of_systemd_s_user_data_are_our_document_and_our_values() {
    let document = serde_json::to_string(GOOD).unwrap();
    let text = format!(r#"{{"name": "etcd-bootstrapper.config", "text": {document}}}"#);
    let data = format!(r#"{{"name": "etcd-bootstrapper.config", "data": "{}"}}"#, STANDARD.encode(GOOD));
    let key = r#"{"name": "etcd-bootstrapper.ca-key", "text": "KEY"}, {"name": "someone.else", "encrypted": "x"}"#;
    for (case, text) in [
        ("text", systemd(&text)),
        ("data", systemd(&data)),
        ("behind its header", format!("#systemd-userdata\n{}", systemd(&text))),
        ("with values", systemd(&format!("{text}, {key}"))),
        ("a value twice", systemd(&format!("{text}, {key}, {key}"))),
        ("in a MIME message", message(&[("Content-Type: application/json", &systemd(&text))])),
    ] {
        assert_eq!(verdict("f", text.as_bytes()), [VALID], "{case}");
    }
    let found = found(systemd(key).as_bytes());
    let handed: Vec<_> =
        found.handed.iter().map(|h| (h.name.as_str(), h.value.reveal(), h.place.to_string())).collect();
    assert_eq!(handed, [("etcd-bootstrapper.ca-key", "KEY", "f:1:26".to_owned())]);
}

#[test]
fn a_credential_for_us_that_cannot_be_used_is_a_fault() {
    let ours = |rest: &str| systemd(&format!(r#"{{"name": "etcd-bootstrapper.ca-key", {rest}}}"#));
    let key = |value: &str| format!(r#"{{"name": "etcd-bootstrapper.ca-key", "text": "{value}"}}"#);
    let one = "etcd-bootstrapper.ca-key must have one of `text`, `data` (base64) and no other of them";
    for (text, expected) in [
        (ours(r#""text": "a", "data": "YQ==""#), format!("65 f:1:26: systemd.credentials[0]: {one}")),
        (ours(r#""txt": "CANARY""#), format!("65 f:1:26: systemd.credentials[0]: {one}")),
        (
            ours(r#""data": "CANARY%""#),
            "65 f:1:71: systemd.credentials[0].data: this is not base64, or cut short: encode it with `base64`".into(),
        ),
        (ours(r#""data": "/w==""#), "65 f:1:26: systemd.credentials[0]: etcd-bootstrapper.ca-key is not a text: write it as UTF-8".into()),
        (ours(r#""text": ["CANARY"]"#), "65 f:1:71: systemd.credentials[0].text: expected a text, found a list".into()),
        (
            ours(r#""encrypted": "CANARY""#),
            "65 f:1:76: systemd.credentials[0].encrypted: etcd-bootstrapper.ca-key is encrypted, and only systemd of the \
             machine that it was encrypted on can read it: give it as `text`, or as a system credential of the machine \
             (SMBIOS, fw_cfg, the ESP)"
                .into(),
        ),
        (
            systemd(r#"{"name": "etcd-bootstrapper.config", "text": "version: 1\nmode: CANARY"}"#),
            "65 f systemd.credentials[0] etcd-bootstrapper.config:2:7: mode: `CANARY` is not one of `auto`, `init`, \
             `join`, `restore`"
                .into(),
        ),
        (
            systemd(&[key("CANARY"), key("CANARY2")].join(", ")),
            "78 f:1:82: etcd-bootstrapper.ca-key: differs from f:1:26, and neither counts more: make them the same, or \
             remove one"
                .into(),
        ),
        ("#systemd-userdata\n[]".into(), "65 f:2:1: expected a JSON object with `systemd.credentials`, found a list".into()),
        (
            systemd(r#"{"name": "someone.else", "text": "CANARY"}"#),
            "65 f:1:1: this user-data is JSON without the key `etcd_bootstrapper` or `systemd.credentials`".into(),
        ),
    ] {
        assert_eq!(verdict("f", text.as_bytes()), [expected], "{text}");
    }
}

#[test]
fn a_fault_in_write_files_is_told_with_the_line_of_the_file_that_a_person_has() {
    for (before, expected) in [
        ("    content: |\n", "65 f:5:13"),
        ("    content: |\n\n\n", "65 f:7:13"),
        ("    content: |2\n", "65 f:5:13"),
        ("    content: |+ # whole\n      # a comment\n", "65 f:6:13"),
        ("    content: |\n      \n      # a comment\n", "65 f:7:13"),
    ] {
        let text = format!(
            "#cloud-config\nwrite_files:\n  - path: /etc/etcd-bootstrapper/config.yaml\n{before}      mode: found\n"
        );
        let said = verdict("f", text.as_bytes());
        assert!(said[0].starts_with(&format!("{expected}: mode: ")), "{before:?}: {said:?}");
    }
}
