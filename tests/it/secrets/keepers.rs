//! The CA's key with each cloud that keeps secrets: founded by it, and started again without.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::metadata::fake::{Asked, Log, Reply, Service, accept, dress, ip, listen, patience, service};
use crate::metadata::services::{self as s, Ec2};
use crate::support::moto::Moto;
use crate::world::{Host, World};

const LINK: &str = "169.254.169.254";

/// Where Google's and Microsoft's keepers are on a host.
const ENDPOINT: &str = "endpoint: \"http://127.0.0.1:9001\", allow_http: true";

/// A host whose configuration has this for the CA's key.
fn configured(world: &World, key: &str) {
    let config = world.config();
    let credential = "{credential: etcd-bootstrapper.ca-key}";
    assert!(config.contains(credential), "{config}");
    world.hosts[0].configure(&config.replace(credential, key));
}

/// A role's keys, beside what every instance is told.
fn role(asked: &Asked) -> Option<Reply> {
    match asked.path.strip_prefix("/latest/meta-data/iam/security-credentials/")? {
        "" => Some(Reply::new(200, "etcd")),
        _ => Some(Reply::new(
            200,
            r#"{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "AKID", "SecretAccessKey": "CANARY-of-the-role",
                "Token": "CANARY-of-the-session", "LastUpdated": "2026-11-21T03:00:00Z", "Expiration": "2099-01-01T00:00:00Z"}"#,
        )),
    }
}

fn google(asked: &Asked) -> Reply {
    let token = "/computeMetadata/v1/instance/service-accounts/default/token";
    match asked.path.as_str() {
        _ if asked.header("metadata-flavor") != Some("Google") => Reply::new(403, ""),
        "/computeMetadata/v1/project/project-id" => Reply::new(200, "prod-1").with("Metadata-Flavor", "Google"),
        path if path == token => {
            Reply::new(200, r#"{"access_token": "CANARY-of-gce"}"#).with("Metadata-Flavor", "Google")
        }
        _ => s::gce("")(asked),
    }
}

fn azure(asked: &Asked) -> Reply {
    let token = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";
    match asked.path.as_str() {
        path if path == token && asked.header("metadata") == Some("true") => {
            Reply::new(200, r#"{"access_token": "CANARY-of-azure"}"#)
        }
        _ => s::azure("", "2021-08-01")(asked),
    }
}

/// Secret Manager and Key Vault with this key.
fn keeps(key: String) -> Service {
    service(move |asked| {
        let bearer = |token: &str| asked.header("authorization") == Some(&format!("Bearer {token}"));
        match asked.path.as_str() {
            "/v1/projects/prod-1/secrets/etcd-ca-key/versions/latest:access" if bearer("CANARY-of-gce") => {
                Reply::new(200, json!({"payload": {"data": STANDARD.encode(&key)}}).to_string())
            }
            "/secrets/etcd-ca-key?api-version=7.4" if bearer("CANARY-of-azure") => {
                Reply::new(200, json!({"value": key}).to_string())
            }
            _ => Reply::new(403, r#"{"error": {"message": "who is that"}}"#),
        }
    })
}

fn serve(host: &Host, service: Service) -> Log {
    host.inside(async move || {
        ip(&format!("addr add {LINK}/32 dev lo"));
        listen(LINK, service)
    })
}

/// Every file below a directory with its mode.
pub fn files(below: &Path, found: &mut Vec<(std::path::PathBuf, u32)>) {
    for entry in fs::read_dir(below).expect("a directory") {
        let path = entry.expect("an entry").path();
        let meta = path.symlink_metadata().expect("metadata");
        if meta.is_dir() {
            files(&path, found);
        } else if meta.is_file() {
            found.push((path, meta.permissions().mode() & 0o777));
        }
    }
}

/// Where a text of this key, or any canary, can be seen by others than root, or was said.
fn seen(host: &Host, key: &str) -> Vec<String> {
    let line = key.lines().nth(1).expect("a key of lines");
    let has = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.contains(line) || text.contains("CANARY")
    };
    let mut seen = Vec::new();
    if has(host.said().as_bytes()) {
        seen.push("its log".to_owned());
    }
    let mut all = Vec::new();
    files(&host.root, &mut all);
    for (path, mode) in all {
        let in_run = path.starts_with(host.root.join("run"));
        let at_rest = path.ends_with("bootstrapper/pki/ca.key") && mode == 0o600;
        if !at_rest
            && (in_run || !path.ends_with("etcd-bootstrapper/config.yaml"))
            && has(&fs::read(&path).expect("a file"))
        {
            seen.push(format!("{} {mode:o}", path.display()));
        }
    }
    for process in fs::read_dir("/proc").expect("/proc") {
        let process = process.expect("a process").path();
        for what in ["cmdline", "environ"] {
            if fs::read(process.join(what)).is_ok_and(|bytes| has(&bytes)) {
                seen.push(process.join(what).display().to_string());
            }
        }
    }
    seen
}

#[test]
fn each_cloud_gives_the_ca_s_key_to_its_own_machine_once_and_a_reboot_does_without() {
    let mut world = World::with(1, &["--secrets", "none"]);
    let key = fs::read_to_string(world.dir.join("prod/ca.key")).expect("the CA's key");
    let moto = Moto::on(&world.hosts[0]);
    let secret = json!({"Name": "etcd/ca", "SecretString": json!({"ca.key": key}).to_string()}).to_string();
    moto.operate(&world.hosts[0], "secretsmanager", "secretsmanager.CreateSecret", &secret);
    let parameter = json!({"Name": "/etcd/ca-key", "Type": "SecureString", "Value": key}).to_string();
    moto.operate(&world.hosts[0], "ssm", "AmazonSSM.PutParameter", &parameter);
    let keepers = world.hosts[0].inside({
        let service = keeps(key.clone());
        async move || accept(TcpListener::bind("127.0.0.1:9001").expect("a port"), service)
    });
    let ec2 = || Ec2 { other: Some(role), ..Ec2::default() }.serve();
    let aws = format!("endpoint: \"{}\", allow_http: true", moto.endpoint);
    /// Firmware, metadata service, and `tls.ca.key`.
    type Form = (&'static [(&'static str, &'static str)], Service, String);
    let forms: [Form; 4] = [
        (s::EC2, ec2(), format!("{{aws_secret: etcd/ca, field: ca.key, {aws}}}")),
        (s::EC2, ec2(), format!("{{aws_parameter: /etcd/ca-key, {aws}}}")),
        (s::GCE, service(google), format!("{{gcp_secret: etcd-ca-key, {ENDPOINT}}}")),
        (
            s::AZURE,
            service(azure),
            format!("{{azure_secret: \"https://prod.vault.azure.net/secrets/etcd-ca-key\", {ENDPOINT}}}"),
        ),
    ];
    // Each in its turn is who answers.
    let now: Arc<Mutex<Service>> = Arc::new(Mutex::new(ec2()));
    let turn = now.clone();
    let log = serve(&world.hosts[0], service(move |asked| (turn.lock().expect("whose turn it is").clone())(asked)));
    world.hosts[0].inside(async || ip(&format!("addr del {LINK}/32 dev lo")));
    for (firmware, service, form) in forms {
        *now.lock().expect("whose turn it is") = service;
        configured(&world, &form);
        let host = &mut world.hosts[0];
        host.wipe();
        let _undressed = fs::remove_dir_all(host.root.join("sys"));
        dress(&host.root, firmware);
        host.inside(async || ip(&format!("addr add {LINK}/32 dev lo")));
        host.boot();
        host.settle();
        assert_eq!(seen(host, &key), [""; 0], "{form}");

        host.inside(async || ip(&format!("addr del {LINK}/32 dev lo")));
        host.kill();
    }
    // A reboot: neither who vouches nor who keeps is there any more, and nobody is asked.
    let host = &mut world.hosts[0];
    let (vouched, kept) = (log.all().len(), keepers.all().len());
    host.boot();
    host.settle();
    assert!(!host.said_by("run").contains("waiting"), "{}", host.said_by("run"));
    assert_eq!((log.all().len(), keepers.all().len()), (vouched, kept));
    assert_eq!(seen(host, &key), [""; 0]);
}

#[test]
fn a_key_that_is_not_given_is_waited_for_and_then_told_with_who_must_do_what() {
    let mut world = World::with(1, &["--secrets", "none"]);
    dress(&world.hosts[0].root, s::GCE);
    patience(&world.hosts[0].root, "1s");
    serve(&world.hosts[0], service(google));
    world.hosts[0].inside(async || {
        accept(
            TcpListener::bind("127.0.0.1:9001").expect("a port"),
            service(|asked| match asked.path.split('/').nth(5).unwrap_or_default() {
                "denied" => Reply::new(403, r#"{"error": {"message": "no"}}"#),
                "busy" => Reply::new(503, ""),
                "bytes" => Reply::new(200, r#"{"payload": {"data": "/w=="}}"#),
                "another" => Reply::new(200, json!({"payload": {"data": STANDARD.encode("CANARY")}}).to_string()),
                _ => Reply::new(404, ""),
            }),
        )
    });
    let aws = "{aws_secret: etcd-ca, region: eu-west-1}".to_owned();
    let gcp = |name: &str| format!("{{gcp_secret: {name}, {ENDPOINT}}}");
    for (form, code, waits, why) in [
        (gcp("denied"), 77, true, "allow secretmanager.versions.access to the identity of this machine"),
        (gcp("busy"), 75, true, "HTTP 503; it is asked again later"),
        (gcp("gone"), 69, true, "there is no projects/prod-1/secrets/gone/versions/latest"),
        (gcp("bytes"), 65, false, "bytes that are no text"),
        (gcp("another"), 65, false, "tls.ca.key: "),
        (aws, 65, false, "`aws_secret` is asked for as a machine of ec2, and by its firmware this is one of gce"),
    ] {
        configured(&world, &form);
        let host = &mut world.hosts[0];
        host.wipe();
        host.boot();
        assert_eq!(host.run_ends(), code, "{form}: {}", host.said());
        let said = host.said_by("run");
        assert!(said.contains(why) && !said.contains("CANARY"), "{form}: {said}");
        assert_eq!(said.contains("waiting up to 1 s for tls.ca.key: "), waits, "{form}: {said}");
    }
}
