//! Each cloud that keeps secrets, by a server that demands what its reference says, and what is made of each refusal.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plan::source::{KeptSecret, Source};
use plan::store::Credentials;
use serde_json::json;

use super::super::{Keepers, Trouble};
use super::fake::{Answer, Asked, Fake};
use crate::exit::Exit;
use crate::paths::Paths;

/// In no error, whatever is answered.
const CANARY: &str = "CANARY-of-a-key";
const FLAVOR: &str = "Metadata-Flavor: Google\r\n";
const VAULT: &str = "https://etcd.vault.azure.net/secrets/ca-key";

fn kept(fake: &Fake, entry: &str) -> KeptSecret {
    let mut entry: serde_json::Value = serde_json::from_str(entry).unwrap();
    entry["endpoint"] = fake.endpoint.clone().into();
    entry["allow_http"] = true.into();
    match serde_json::from_value(entry).unwrap() {
        Source::Kept(kept) => *kept,
        Source::File { .. } | Source::Credential { .. } | Source::Url(_) | Source::Inline(_) => panic!("no keeper"),
    }
}

async fn read(fake: &Fake, entry: &str) -> Result<String, Trouble> {
    let keys: Credentials = serde_json::from_value(json!({
        "access_key_id": "AKID", "secret_access_key": "secret", "session_token": "of-the-role"
    }))
    .unwrap();
    let keepers = Keepers::at(&Paths::under("/nonexistent"), Some("eu-north-1"), keys, &fake.endpoint);
    keepers.read(&kept(fake, entry)).await.map(|secret| secret.reveal().to_owned())
}

/// What every one of them answers who has this text under each name.
fn answer(asked: &Asked, text: &str) -> Answer {
    let line = asked.line.strip_suffix(" HTTP/1.1").unwrap();
    match line {
        "POST /" => amazon(asked, text),
        _ if line.starts_with("GET /computeMetadata/v1/") => match line.rsplit('/').next().unwrap() {
            _ if asked.header("metadata-flavor") != "Google" => (403, "", String::new()),
            "project-id" => (200, FLAVOR, "prod-1".into()),
            "token" => (200, FLAVOR, r#"{"access_token": "of-gce"}"#.into()),
            _ => (404, FLAVOR, String::new()),
        },
        _ if line.starts_with("GET /metadata/identity/") => match line {
            _ if asked.header("metadata") != "true" => (400, "", String::new()),
            "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net" => {
                (200, "", r#"{"access_token": "of-azure"}"#.into())
            }
            _ => (400, "", r#"{"error": "invalid_resource"}"#.into()),
        },
        "GET /v1/projects/prod-1/secrets/ca-key/versions/latest:access"
        | "GET /v1/projects/p/secrets/ca-key/versions/7:access" => match asked.header("authorization") {
            "Bearer of-gce" => (200, "", json!({"payload": {"data": STANDARD.encode(text)}}).to_string()),
            _ => (401, "", String::new()),
        },
        "GET /secrets/ca-key?api-version=7.4" | "GET /secrets/ca-key/0a?api-version=7.4" => {
            match asked.header("authorization") {
                "Bearer of-azure" => (200, "", json!({"value": text}).to_string()),
                _ => (401, "WWW-Authenticate: Bearer\r\n", String::new()),
            }
        }
        _ => (404, "", r#"{"error": {"message": "no such thing"}}"#.into()),
    }
}

fn amazon(asked: &Asked, text: &str) -> Answer {
    let (target, authorization) = (asked.header("x-amz-target"), asked.header("authorization"));
    let service = if target.starts_with("secretsmanager.") { "secretsmanager" } else { "ssm" };
    let signed = authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/")
        && authorization.contains(&format!("/{service}/aws4_request"))
        && authorization.contains(
            "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-amz-target",
        )
        && asked.header("x-amz-security-token") == "of-the-role";
    if !signed || asked.header("content-type") != "application/x-amz-json-1.1" {
        return (400, "", r#"{"__type": "IncompleteSignatureException", "message": "because"}"#.into());
    }
    let region = authorization.split('/').nth(2).unwrap().to_owned();
    let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    match (target, body["SecretId"].as_str(), body["Name"].as_str()) {
        ("secretsmanager.GetSecretValue", Some("etcd-ca"), None) if region == "eu-north-1" => {
            (200, "", json!({"Name": "etcd-ca", "SecretString": text}).to_string())
        }
        ("secretsmanager.GetSecretValue", Some("etcd-bytes"), None) if region == "us-east-1" => {
            (200, "", json!({"SecretBinary": STANDARD.encode(text)}).to_string())
        }
        ("secretsmanager.GetSecretValue", Some("arn:aws:secretsmanager:eu-west-1:1:secret:etcd-ca-AbCdEf"), None)
            if region == "eu-west-1" =>
        {
            (200, "", json!({"SecretString": text}).to_string())
        }
        ("AmazonSSM.GetParameter", None, Some("/etcd/ca-key")) if body["WithDecryption"] == true => {
            (200, "", json!({"Parameter": {"Type": "SecureString", "Value": text}}).to_string())
        }
        _ => (400, "", r#"{"__type": "com.amazonaws#ResourceNotFoundException", "Message": "because"}"#.into()),
    }
}

#[tokio::test]
async fn each_keeper_is_asked_as_its_reference_says() {
    let fake = Fake::of(|_, asked| answer(asked, CANARY)).await;
    for entry in [
        r#"{"aws_secret": "etcd-ca"}"#,
        r#"{"aws_secret": "etcd-bytes", "region": "us-east-1"}"#,
        r#"{"aws_secret": "arn:aws:secretsmanager:eu-west-1:1:secret:etcd-ca-AbCdEf"}"#,
        r#"{"aws_parameter": "/etcd/ca-key"}"#,
        r#"{"gcp_secret": "ca-key"}"#,
        r#"{"gcp_secret": "projects/p/secrets/ca-key/versions/7"}"#,
        &format!("{{\"azure_secret\": \"{VAULT}\"}}"),
        &format!("{{\"azure_secret\": \"{VAULT}/0a\"}}"),
    ] {
        let found = read(&fake, entry).await;
        assert_eq!(found.map_err(|trouble| trouble.text).as_deref(), Ok(CANARY), "{entry}");
    }
}

#[tokio::test]
async fn one_value_of_a_json_object_is_taken_by_its_key() {
    let fake = Fake::of(|_, asked| answer(asked, r#"{"ca.key": "CANARY-of-a-key", "n": 1}"#)).await;
    let entry = |field: &str| format!("{{\"aws_parameter\": \"/etcd/ca-key\", \"field\": \"{field}\"}}");
    assert_eq!(read(&fake, &entry("ca.key")).await.map_err(|trouble| trouble.text).as_deref(), Ok(CANARY));
    for (text, field, why) in [
        (r#"{"ca.key": "CANARY-of-a-key", "n": 1}"#, "n", "its `n` is no text"),
        (r#"{"ca.key": "CANARY-of-a-key"}"#, "key", "it has no `key`"),
        (CANARY, "key", "it is no JSON object"),
    ] {
        let fake = Fake::of(move |_, asked| answer(asked, text)).await;
        let trouble = read(&fake, &entry(field)).await.expect_err(why);
        assert_eq!(trouble.exit, Exit::BadInput);
        assert!(trouble.text.contains(why) && !trouble.text.contains("CANARY"), "{}", trouble.text);
    }
}

#[tokio::test]
async fn a_refusal_says_what_is_missing_and_nothing_of_a_secret() {
    type Change = fn(&Asked, Answer) -> Answer;
    const AWS: &str = r#"{"aws_secret": "etcd-ca"}"#;
    const GCP: &str = r#"{"gcp_secret": "ca-key"}"#;
    const AZURE: &str = r#"{"azure_secret": "https://etcd.vault.azure.net/secrets/ca-key"}"#;
    fn aws(status: u16, code: &str) -> Answer {
        (status, "Retry-After: 7\r\n", format!("{{\"__type\": \"{code}\", \"message\": \"because\"}}"))
    }
    fn last(asked: &Asked, all: Answer, answer: Answer) -> Answer {
        if asked.line.contains("etadata/") { all } else { answer }
    }
    let cases: [(&str, Change, Exit, &str); 21] = [
        (
            AWS,
            |_, _| aws(400, "AccessDeniedException"),
            Exit::Permission,
            "allow secretsmanager:GetSecretValue to the role",
        ),
        (AWS, |_, _| (403, "", "<html>".into()), Exit::Permission, "HTTP 403; allow secretsmanager:GetSecretValue"),
        (AWS, |_, _| aws(400, "ResourceNotFoundException"), Exit::Unavailable, "there is none: look at its name"),
        (AWS, |_, _| aws(400, "ThrottlingException"), Exit::TryAgain, "asked again later"),
        (AWS, |_, _| aws(503, ""), Exit::TryAgain, "HTTP 503; it is asked again later"),
        (AWS, |_, _| aws(400, "ExpiredTokenException"), Exit::Permission, "or have ended"),
        (AWS, |_, _| aws(400, "InvalidSignatureException"), Exit::TryAgain, "a wrong clock does that"),
        (AWS, |_, _| (200, "", r#"{"SecretString": ["CANARY"]}"#.into()), Exit::Unavailable, "is no such answer"),
        (AWS, |_, _| (200, "", "{}".into()), Exit::BadInput, "bytes that are no text"),
        (AWS, |_, _| (200, "", r#"{"SecretBinary": "/w=="}"#.into()), Exit::BadInput, "bytes that are no text"),
        (AWS, |_, _| (302, "Location: http://127.0.0.1:1/\r\n", "CANARY".into()), Exit::Unavailable, "HTTP 302"),
        (
            GCP,
            |a, all| last(a, all, (403, "", r#"{"error": {"message": "no"}}"#.into())),
            Exit::Permission,
            "(no); allow secretmanager.versions.access",
        ),
        (
            GCP,
            |a, all| last(a, all, (404, "", String::new())),
            Exit::Unavailable,
            "there is no projects/prod-1/secrets/ca-key/versions/latest",
        ),
        (GCP, |a, all| last(a, all, (429, "Retry-After: 7\r\n", String::new())), Exit::TryAgain, "asked again later"),
        (GCP, |a, all| last(a, all, (401, "", String::new())), Exit::TryAgain, "the token is not taken"),
        (
            GCP,
            |a, (status, _, body)| (status, if a.line.contains("project-id") { "" } else { FLAVOR }, body),
            Exit::Unavailable,
            "lacks the header that proves it",
        ),
        (
            GCP,
            |a, all| if a.line.contains("token") { (404, FLAVOR, String::new()) } else { all },
            Exit::Unavailable,
            "give the machine a service account",
        ),
        (
            AZURE,
            |a, all| last(a, all, (403, "", r#"{"error": {"code": "Forbidden", "message": "not allowed"}}"#.into())),
            Exit::Permission,
            "(not allowed); allow Microsoft.KeyVault/vaults/secrets/getSecret/action",
        ),
        (
            AZURE,
            |a, all| last(a, all, (404, "", String::new())),
            Exit::Unavailable,
            "there is no https://etcd.vault.azure.net/secrets/ca-key",
        ),
        (AZURE, |a, all| last(a, all, (429, "Retry-After: 7\r\n", String::new())), Exit::TryAgain, "asked again later"),
        (
            AZURE,
            |a, all| last(a, all, (200, "", r#"{"value": {"x": "CANARY"}}"#.into())),
            Exit::Unavailable,
            "is no such answer",
        ),
    ];
    for (entry, change, exit, why) in cases {
        let fake = Fake::of(move |_, asked| change(asked, answer(asked, CANARY))).await;
        let trouble = read(&fake, entry).await.map(drop).expect_err(why);
        assert!(trouble.text.contains(why) && trouble.exit == exit, "{why}: {trouble:?}");
        assert!(!trouble.text.contains("CANARY"), "{}", trouble.text);
        if ["HTTP 429", "HTTP 503"].iter().any(|busy| trouble.text.contains(busy)) {
            assert_eq!(trouble.after, Some(Duration::from_secs(7)), "{}", trouble.text);
        }
    }
}

#[tokio::test]
async fn a_region_that_nobody_tells_is_asked_of_the_person() {
    let fake = Fake::of(|_, asked| answer(asked, CANARY)).await;
    let keepers = Keepers::at(&Paths::under("/nonexistent"), None, Credentials::Auto, &fake.endpoint);
    let trouble = keepers.read(&kept(&fake, r#"{"aws_secret": "etcd-ca"}"#)).await.map(drop).expect_err("no region");
    assert!(trouble.exit == Exit::BadInput && trouble.text.contains("write `region`"), "{trouble:?}");
    assert!(fake.asked().is_empty());
}
