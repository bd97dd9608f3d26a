//! `config explain` shows where each value is from, and nothing that is secret.

use super::super::Sources;
use super::{ETC, GOOD, Host};

#[test]
fn explain_shows_no_key_that_a_group_is_asked_with() {
    let key = "{access_key_id: CANARY, secret_access_key: CANARY, session_token: CANARY}";
    let alone = GOOD.lines().filter(|line| !line.starts_with("peers:") && !line.starts_with("  - {name"));
    let alone: String = alone.map(|line| format!("{line}\n")).collect();
    for group in ["aws_asg: {region: eu-west-1", "aws_tags: {region: eu-west-1, tags: {a: b}"] {
        let host = Host::new().with(ETC, format!("{alone}discovery: {{{group}, credentials: {key}}}}}\n"));
        let lines = Sources::new(&host.paths()).explain().unwrap().unwrap();
        assert!(lines.iter().any(|l| l.path.ends_with(".session_token")), "{group}");
        assert!(lines.iter().all(|l| !l.value.contains("CANARY")), "{group}");
    }
}

#[test]
fn explain_shows_no_secret() {
    let inline = "|\n      -----BEGIN PRIVATE KEY-----\n      CANARY\n      -----END PRIVATE KEY-----";
    let s3 = "{access_key_id: CANARY, secret_access_key: CANARY, session_token: CANARY}";
    let text = GOOD.replace("{credential: etcd-ca-key}", inline).replace(
        "mode: auto",
        &format!(
            "restore: {{url: [\"https://user:CANARY@example.com/CANARY?sig=CANARY\", \"s3://bucket/a.db\"], age_identity: AGE-SECRET-KEY-1CANARY, \
             proxy: \"http://user:CANARY@10.0.0.1:3128\", credentials: {s3}, region: eu-west-1, \
             sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}}\n\
             store: {{url: \"s3://bucket/prod\", region: eu-west-1, proxy: \"http://user:CANARY@10.0.0.1:3128\", \
             credentials: {s3}}}\nbackup: {{keep: {{daily: 8}}}}"
        ),
    );
    let host = Host::new().with(ETC, text);
    let lines = Sources::new(&host.paths()).explain().unwrap().unwrap();
    let shown = |path: &str| {
        let line = lines.iter().find(|l| l.path == path).unwrap_or_else(|| panic!("{path}"));
        (line.value.as_str(), host.rootless(&line.from))
    };
    let at = |line: usize| format!("{ETC}:{line}");
    let default = "default".to_owned();
    for (path, value, from) in [
        ("restore.url[0]", "https://example.com/(secret)", at(6)),
        ("restore.age_identity", "(secret, 22 bytes)", at(6)),
        ("restore.proxy", "(secret, 32 bytes)", at(6)),
        ("restore.credentials.session_token", "(secret, 6 bytes)", at(6)),
        ("store.proxy", "(secret, 32 bytes)", at(7)),
        ("store.credentials.access_key_id", "(secret, 6 bytes)", at(7)),
        ("tls.ca.key", "(PEM, 61 bytes)", at(17)),
        ("store.on_total_loss", "wait", default.clone()),
        ("backup.keep.daily", "8", at(8)),
        ("backup.keep.weekly", "4", default.clone()),
        ("tls.extra_sans", "[]", default),
    ] {
        assert_eq!(shown(path), (value, from), "{path}");
    }
    assert!(lines.iter().all(|l| !l.value.contains("CANARY")));
    let mut paths: Vec<&str> = lines.iter().map(|l| l.path.as_str()).collect();
    paths.sort_unstable();
    let count = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), count, "each value has one line");
}

#[test]
fn explain_shows_where_a_secret_is_kept_and_nothing_of_its_url() {
    let text = GOOD.replace(
        "{credential: etcd-ca-key}",
        "{url: \"https://keys.example/CANARY?sig=CANARY\", sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}",
    );
    let keys =
        "{access_key_id: {url: \"https://keys.example/CANARY\"}, secret_access_key: {aws_secret: etcd/s3, field: key}}";
    let text = format!("{text}store: {{url: \"s3://bucket/prod\", region: eu-west-1, credentials: {keys}}}\n");
    let host = Host::new().with(ETC, text);
    let lines = Sources::new(&host.paths()).explain().unwrap().unwrap();
    for (path, value) in [
        ("tls.ca.key.url", "https://keys.example/(secret)"),
        ("store.credentials.access_key_id.url", "https://keys.example/(secret)"),
        ("store.credentials.secret_access_key.aws_secret", "etcd/s3"),
        ("store.credentials.secret_access_key.field", "key"),
    ] {
        let line = lines.iter().find(|l| l.path == path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(line.value, value, "{path}");
    }
    assert!(lines.iter().all(|l| !l.value.contains("CANARY")));
}
