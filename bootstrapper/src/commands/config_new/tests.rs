//! What `config new` makes, and what it says to arguments that it cannot follow.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use plan::spec::{Set, Timestamp};

use super::*;
use crate::sys::{fs, random};
use crate::tls::certificate::Certificate;
use crate::tls::{CaMaterial, load};

const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let path = std::env::temp_dir().join(format!("etcd-bootstrapper-test-{}", random::hex16().expect("random")));
        fs::create_dir(&path, 0o700, None).expect("a scratch directory");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the temporary directory harms no other test.
        let _ = fs::remove(&self.0);
    }
}

fn with(out: &Path, rest: &str) -> Result<()> {
    let out = format!("--out={}", out.display());
    run(lexopt::Parser::from_args(rest.split_whitespace().map(String::from).chain([out])))
}

fn arguments(rest: &str) -> Result<Arguments> {
    match arguments::parse(lexopt::Parser::from_args(rest.split_whitespace()))? {
        Parsed::Make(arguments) => Ok(*arguments),
        Parsed::Help => panic!("help"),
    }
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(dir).expect("the directory");
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).expect("a file"))
    };
    entries.map(|entry| read(entry.expect("an entry").path())).collect()
}

fn certificate(pem: &str) -> Certificate {
    let der = crate::tls::pem::certificates(pem).expect("PEM").remove(0);
    Certificate::read(der).unwrap_or_else(|why| panic!("{why}"))
}

const THREE: &str = "--name prod --size 3 --peer etcd-1=10.0.0.11 --peer etcd-2=10.0.0.12 --peer etcd-3=10.0.0.13";

#[test]
fn one_command_makes_everything_and_every_file_is_private() {
    let scratch = Scratch::new();
    let out = scratch.0.join("prod");
    with(&out, THREE).expect("made");
    let made = files(&out);
    let names = [
        "admin.crt",
        "admin.key",
        "apiserver-etcd-client.crt",
        "apiserver-etcd-client.key",
        "ca.crt",
        "ca.key",
        "config.yaml",
        "user-data",
    ];
    assert_eq!(made.keys().collect::<Vec<_>>(), names);
    let mode = |path: &Path| path.metadata().expect("metadata").permissions().mode() & 0o7777;
    assert_eq!(mode(&out), 0o700);
    for name in names {
        assert_eq!(mode(&out.join(name)), 0o600, "{name}");
    }
    assert_eq!(std::fs::read_dir(&scratch.0).expect("scratch").count(), 1, "nothing else is left behind");
}

#[test]
fn the_spec_means_what_the_arguments_said_and_issues_leaves() {
    let scratch = Scratch::new();
    let out = scratch.0.join("prod");
    with(&out, &format!("{THREE} --found-days 2 --restore-url https://x.example/a?s=%20'\"#: --restore-sha256 {SHA}"))
        .expect("made");
    let made = files(&out);
    let document = crate::metadata::document::parse(&made["config.yaml"], "config.yaml").expect("it parses");
    let (spec, host) = document.check().expect("it is good");
    assert_eq!((spec.cluster.as_str(), spec.size, spec.epoch), ("prod", 3, 1));
    let Set::Static(peers) = &spec.set else { panic!("a list") };
    let peers: Vec<String> = peers.iter().map(|p| format!("{}={}", p.name, p.peer_url)).collect();
    assert_eq!(
        peers,
        ["etcd-1=https://10.0.0.11:2380", "etcd-2=https://10.0.0.12:2380", "etcd-3=https://10.0.0.13:2380"]
    );
    let Timestamp(until) = spec.found_until.expect("an end");
    let now = clock::now().0;
    assert!((now + 2 * DAY - 60..=now + 2 * DAY).contains(&until.0), "{until:?}");
    assert!(host.allow_inline_secrets);
    assert_eq!(
        host.restore.as_ref().expect("a wish").url.as_ref().expect("URLs").0[0].reveal(),
        "https://x.example/a?s=%20'\"#:"
    );
    assert_eq!(spec.restore.expect("a sha256").as_str(), SHA);
    let ca = load(&host.tls, &crate::paths::Paths::under(&scratch.0), Some(Seconds(now))).expect("a good CA");
    assert!((now + 3650 * DAY - 60..=now + 3650 * DAY).contains(&ca.not_after().0));
}

#[test]
fn user_data_is_the_cloud_config_around_that_spec() {
    let scratch = Scratch::new();
    let out = scratch.0.join("prod");
    with(&out, THREE).expect("made");
    let made = files(&out);
    let (head, body) = made["user-data"].split_once("    content: |\n").expect("a content");
    assert_eq!(
        head,
        "#cloud-config\n\
         # Gives every member of the etcd cluster prod the same spec; made by `etcd-bootstrapper config new`.\n\
         write_files:\n  - path: /etc/etcd-bootstrapper/config.yaml\n    permissions: \"0600\"\n"
    );
    let content: String = body.lines().map(|l| format!("{}\n", l.strip_prefix("      ").expect("indented"))).collect();
    assert_eq!(content, made["config.yaml"]);
}

#[test]
fn clients_are_who_they_should_be_and_the_ca_issued_them() {
    let scratch = Scratch::new();
    let out = scratch.0.join("prod");
    with(&out, &format!("{THREE} --days 30")).expect("made");
    let made = files(&out);
    let ca = certificate(&made["ca.crt"]);
    assert_eq!((ca.subject.as_str(), ca.ca), ("CN=prod etcd CA", true));
    for (file, subject) in [("admin", "O=etcd-admins, CN=root"), ("apiserver-etcd-client", "CN=apiserver-etcd-client")]
    {
        let leaf = certificate(&made[&format!("{file}.crt")]);
        assert_eq!(leaf.subject, subject);
        assert_eq!((leaf.client, leaf.server, leaf.ca, leaf.not_after), (true, false, false, ca.not_after));
        assert!(leaf.sans.is_empty(), "etcd holds clients to every name they have");
        let key = plan::spec::Secret::new(made[&format!("{file}.key")].clone());
        let mismatch = CaMaterial::checked(&made["ca.crt"], "cert", &key, "key", None).err().expect("not the CA's key");
        assert!(mismatch.to_string().contains("does not belong"), "{mismatch}");
        assert_eq!(crate::tls::verify::issued_by(&leaf, &ca), Ok(()), "{file}");
    }
}

#[test]
fn without_secrets_the_key_is_a_credential() {
    let scratch = Scratch::new();
    let out = scratch.0.join("prod");
    with(&out, &format!("{THREE} --secrets none")).expect("made");
    let made = files(&out);
    for file in ["user-data", "config.yaml"] {
        assert!(!made[file].contains("PRIVATE KEY"), "{file}");
        assert!(made[file].contains("key: {credential: etcd-bootstrapper.ca-key}"), "{file}");
        assert!(!made[file].contains("allow_inline_secrets"), "{file}");
    }
    let parsed = arguments(&format!("{THREE} --secrets none --out {}", out.join("again").display())).expect("good");
    let report = report::text(&parsed, &write::make(&parsed, clock::now()).expect("made"));
    assert!(report.contains("etcd-bootstrapper.ca-key"), "{report}");
}

#[test]
fn each_form_of_the_ca_key_is_written_checked_and_told_with_how_the_key_comes_there() {
    let scratch = Scratch::new();
    let cases = [
        ("file=/etc/etcd-bootstrapper/ca.key", "{file: /etc/etcd-bootstrapper/ca.key}", "install -m 0600 ca.key /etc/"),
        (
            "credential=etcd-bootstrapper.ca",
            "{credential: etcd-bootstrapper.ca}",
            "/etc/credstore/etcd-bootstrapper.ca,",
        ),
        ("url=https://keys.example/ca?s=1,2", "{url: \"https://keys.example/ca?s=1,2\"}", "where the URL leads"),
        (
            "aws_secret=etcd/ca,region=eu-west-1",
            "{aws_secret: etcd/ca, region: \"eu-west-1\"}",
            "aws secretsmanager create-secret --region eu-west-1 --name etcd/ca --secret-string file://",
        ),
        (
            "aws_parameter=/etcd/ca",
            "{aws_parameter: /etcd/ca}",
            "aws ssm put-parameter --type SecureString --name /etcd/ca",
        ),
        (
            "gcp_secret=projects/p-1/secrets/ca",
            "{gcp_secret: projects/p-1/secrets/ca}",
            "gcloud secrets create ca --project=p-1 --data-file=",
        ),
        (
            "azure_secret=https://v.vault.azure.net/secrets/ca",
            "{azure_secret: \"https://v.vault.azure.net/secrets/ca\"}",
            "az keyvault secret set --vault-name v --name ca --file ",
        ),
    ];
    for (i, (form, written, told)) in cases.into_iter().enumerate() {
        let out = scratch.0.join(format!("{i}"));
        let parsed = arguments(&format!("{THREE} --secrets {form} --out {}", out.display())).expect("good");
        let made = write::make(&parsed, clock::now()).expect("made");
        let files = files(&out);
        for file in ["user-data", "config.yaml"] {
            assert!(files[file].contains(&format!("key: {written}\n")), "{form}: {}", files[file]);
            assert!(!files[file].contains("PRIVATE KEY") && !files[file].contains("allow_inline_secrets"), "{form}");
        }
        assert_eq!(made.files[1].secret, form.starts_with("url="), "{form}");
        let report = report::text(&parsed, &made);
        assert!(report.contains(told) && !report.contains("s=1,2"), "{form}: {report}");
        let json = serde_json::to_value(report::Report::of(&parsed, &made)).expect("JSON");
        assert_eq!(json["ca_key"], form.split('=').next().expect("a form"));
    }
    for (form, why) in [
        ("url=http://keys.example/ca", "tls.ca.key.url: it is http"),
        ("azure_secret=ca", "tls.ca.key.azure_secret: "),
        ("aws_secret=", "--secrets is inline, none or one of "),
        ("aws_secret=a,region=x", "tls.ca.key.region: "),
    ] {
        let error = with(&scratch.0.join("bad"), &format!("{THREE} --secrets {form}")).expect_err(form);
        assert!(error.to_string().contains(why), "{form}: {error:#}");
        assert_eq!(Exit::of(&error), Exit::Usage, "{form}");
    }
}

#[test]
fn the_report_names_the_secrets_and_kubeadms_stanza() {
    let scratch = Scratch::new();
    let out = scratch.0.join("prod");
    let parsed = arguments(&format!(
        "--name prod --peer a=10.0.0.11 --peer b=fd00::12 --peer c=c.example.com --out {}",
        out.display()
    ))
    .expect("good");
    let made = write::make(&parsed, clock::now()).expect("made");
    let text = report::text(&parsed, &made);
    for (file, secret) in [
        ("user-data", true),
        ("config.yaml", true),
        ("ca.crt", false),
        ("ca.key", true),
        ("admin.crt", false),
        ("admin.key", true),
    ] {
        let line = text.lines().find(|l| l.trim_start().starts_with(file)).expect(file);
        assert_eq!(line.contains("SECRET"), secret, "{line}");
    }
    let stanza = "     etcd:\n       external:\n         endpoints:\n         - https://10.0.0.11:2379\n         - https://[fd00::12]:2379\n         - https://c.example.com:2379\n         caFile: /etc/kubernetes/pki/etcd/ca.crt\n         certFile: /etc/kubernetes/pki/apiserver-etcd-client.crt\n         keyFile: /etc/kubernetes/pki/apiserver-etcd-client.key\n";
    assert!(text.contains(stanza), "{text}");
    assert!(!text.contains("PRIVATE KEY"));
    let json = serde_json::to_value(report::Report::of(&parsed, &made)).expect("JSON");
    assert_eq!(
        json["endpoints"],
        serde_json::json!(["https://10.0.0.11:2379", "https://[fd00::12]:2379", "https://c.example.com:2379"])
    );
    assert_eq!(
        json["files"][3],
        serde_json::json!({"name": "ca.key", "what": "its key: whoever has it can become anybody", "secret": true})
    );
}

#[test]
fn a_peer_is_written_in_whatever_way_is_at_hand() {
    for (place, url) in [
        ("https://10.0.0.11:2380", "https://10.0.0.11:2380"),
        ("10.0.0.11", "https://10.0.0.11:2380"),
        ("10.0.0.11:12380", "https://10.0.0.11:12380"),
        ("fd00::11", "https://[fd00::11]:2380"),
        ("[fd00::11]", "https://[fd00::11]:2380"),
        ("[fd00::11]:12380", "https://[fd00::11]:12380"),
        ("Etcd-1.Example.com", "https://etcd-1.example.com:2380"),
        ("etcd-1.example.com:12380", "https://etcd-1.example.com:12380"),
    ] {
        let parsed =
            arguments(&format!("--name prod --peer etcd-1={place}")).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert_eq!(parsed.peers[0].peer_url.to_string(), url);
        assert_eq!((parsed.size, parsed.out), (1, PathBuf::from("prod")));
    }
}

#[test]
fn arguments_that_cannot_be_followed_end_with_64_and_the_remedy_and_nothing_is_written() {
    let scratch = Scratch::new();
    let out = scratch.0.join("prod");
    let peer = "--name prod --peer a=10.0.0.1";
    for (given, expected) in [
        ("", "--name is missing: give the cluster's name, as in --name prod"),
        ("--name prod", "--peer is missing: give every member, as in --peer etcd-1=10.0.0.11"),
        ("--name Prod", "--name: \"Prod\" is not a cluster name: 1 to 63 of a-z, 0-9 and -"),
        (
            "--name prod --peer 10.0.0.1",
            "--peer 10.0.0.1: write the member's name before it, as in --peer etcd-1=10.0.0.1",
        ),
        (
            "--name prod --peer a=http://10.0.0.1:2380",
            "--peer: \"http://10.0.0.1:2380\" is http: members speak mutual TLS, write https, as in https://10.0.0.11:2380 or https://[fd00::11]:2380",
        ),
        (
            "--name prod --peer a=0.0.0.0",
            "--peer: \"https://0.0.0.0:2380\" has the address that means every address: name the one that others reach, as in https://10.0.0.11:2380 or https://[fd00::11]:2380",
        ),
        ("--name prod --peer =10.0.0.1", "--peer: \"\" is not a member name: 1 to 64 of A-Z, a-z, 0-9, '.', '_' and -"),
        (
            &format!("{peer} --size 3"),
            "peers: cluster.size is 3 and peers has 1 entry: list every member, this host included, as {name: …, peer_url: …}",
        ),
        (&format!("{peer} --size 8"), "--size: \"8\" is not a whole number from 1 to 7"),
        (&format!("{peer} --peer b=10.0.0.2"), "cluster.size: 2 voters survive no more failures than 1: write 1 or 3"),
        (
            &format!("{peer} --peer b=10.0.0.1 --peer a=10.0.0.3"),
            "peers[1].peer_url: https://10.0.0.1:2380 is already the peer URL of peers[0]: give each member its own\npeers[2].name: `a` is already the name of peers[0]: give each member its own",
        ),
        (&format!("{peer} --name other"), "--name is given twice"),
        (&format!("{peer} --days 0"), "--days: \"0\" is not a whole number from 1 to 36500"),
        (&format!("{peer} --found-days soon"), "--found-days: \"soon\" is not a whole number from 1 to 36500"),
        (
            &format!("{peer} --secrets some"),
            "--secrets is inline, none or one of file=…, credential=…, url=…, aws_secret=…, aws_parameter=…, gcp_secret=…, azure_secret=…",
        ),
        (
            &format!("{peer} --restore-url https://x/y"),
            "--restore-sha256 is missing: a snapshot is restored only by its sha256; `sha256sum FILE` prints it",
        ),
        (&format!("{peer} --restore-sha256 {SHA}"), "--restore-url is missing: say where the snapshot is"),
        (
            &format!("{peer} --restore-url ftp://x/y --restore-sha256 {SHA}"),
            "restore.url: write an https://, file://, volume://, s3://, gs:// or az:// URL",
        ),
        (&format!("{peer} --force"), "there is no option --force"),
        (&format!("{peer} prod"), "unexpected argument \"prod\""),
        (&format!("{peer} --out elsewhere"), "--out is given twice"),
    ] {
        let error = with(&out, given).expect_err(given);
        assert_eq!(Exit::of(&error), Exit::Usage, "{given}");
        let help = "(etcd-bootstrapper config new --help shows all options)";
        assert_eq!(error.to_string(), format!("{expected}\n{help}"), "{given}");
        assert_eq!(std::fs::read_dir(&scratch.0).expect("scratch").count(), 0, "{given}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let scratch = Scratch::new();
    let out = scratch.0.join("prod");
    with(&out, THREE).expect("made");
    let before = files(&out);
    let error = with(&out, THREE).expect_err("it is there");
    assert_eq!(Exit::of(&error), Exit::Usage);
    assert!(
        error.to_string().contains("is there already and nothing is ever overwritten: name another with --out"),
        "{error}"
    );
    assert_eq!(files(&out), before);
    let error = with(&out.join("ca.crt"), THREE).expect_err("a file is in the way");
    assert!(error.to_string().contains("is there already"), "{error}");
    let empty = scratch.0.join("empty");
    fs::create_dir(&empty, 0o755, None).expect("a directory");
    with(&empty, THREE).expect("an empty directory is as good as none");
    assert_eq!(files(&empty).len(), before.len());
}
