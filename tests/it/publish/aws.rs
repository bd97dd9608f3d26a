//! The image in AWS, by the command that people run, against moto. moto keeps the snapshot's bytes and drops most of what
//! `RegisterImage` says, so that is read from moto's own record of what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::{BLOCK, Published, packer_sh, repository, said};
use crate::support::moto::{Moto, REGION, python};

fn publish(disk: &Published, moto: &Moto, more: &[&str]) -> Output {
    let mut command = packer_sh();
    command.arg("aws");
    let variables = [
        format!("image={}", disk.raw.display()),
        "version=0.1.0".to_owned(),
        format!("region={REGION}"),
        format!("endpoint={}", moto.endpoint),
        format!("python={}", python().display()),
    ];
    for variable in variables.iter().map(String::as_str).chain(more.iter().copied()) {
        command.args(["-var", variable]);
    }
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").output().expect("packer.sh runs")
}

/// Headers and form of every request of a kind. Blocks are sent at once, and moto's lines of those may be torn.
fn sent(
    record: &Path,
    kind: impl Fn(&Value, &BTreeMap<String, String>) -> bool,
) -> Vec<(Value, BTreeMap<String, String>)> {
    let text = std::fs::read_to_string(record).expect("a record");
    let parsed = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).map(|request| {
        let body = BASE64_STANDARD.decode(request["body"].as_str().unwrap_or_default()).unwrap_or_default();
        let query = format!("http://form/?{}", String::from_utf8_lossy(&body));
        let form = reqwest::Url::parse(&query).map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default();
        (request, form)
    });
    parsed.filter(|(request, form)| kind(request, form)).collect()
}

fn action(record: &Path, name: &str) -> Vec<BTreeMap<String, String>> {
    let is = |_: &Value, form: &BTreeMap<String, String>| form.get("Action").is_some_and(|action| action == name);
    sent(record, is).into_iter().map(|(_, form)| form).collect()
}

/// The actions of the policy that packer/aws says is enough.
fn allowed() -> BTreeSet<String> {
    let text = std::fs::read(repository().join("packer/aws/policy.json")).expect("a policy");
    let policy: Value = serde_json::from_slice(&text).expect("JSON");
    let actions =
        policy["Statement"].as_array().expect("statements").iter().map(|statement| statement["Action"].clone());
    let flat = actions.flat_map(|action| action.as_array().cloned().unwrap_or_else(|| vec![action.clone()]));
    flat.map(|action| action.as_str().expect("an action").to_owned()).collect()
}

#[test]
fn the_disk_becomes_an_image_that_boots_by_uefi_has_a_tpm_and_asks_for_imdsv2() {
    let disk = Published::new();
    let record = disk.directory.join("record");
    let moto = Moto::recording(&record);
    let output = publish(&disk, &moto, &[]);
    assert!(output.status.success(), "{}", said(&output));

    let [image] = action(&record, "RegisterImage").try_into().expect("one image");
    let field = |name: &str| image.get(name).map_or("", String::as_str);
    assert_eq!(field("BootMode"), "uefi");
    assert_eq!(field("TpmSupport"), "v2.0");
    assert_eq!(field("ImdsSupport"), "v2.0");
    assert_eq!(field("EnaSupport"), "true");
    assert_eq!(field("Architecture"), "x86_64");
    assert_eq!(field("VirtualizationType"), "hvm");
    assert_eq!(field("RootDeviceName"), "/dev/xvda");
    assert_eq!(field("BlockDeviceMapping.1.DeviceName"), "/dev/xvda");
    assert_eq!(field("BlockDeviceMapping.1.Ebs.VolumeType"), "gp3");
    assert_eq!(field("BlockDeviceMapping.1.Ebs.DeleteOnTermination"), "true");

    // What lies there is the disk: the blocks that came, and zeros for those that did not.
    let snapshot = field("BlockDeviceMapping.1.Ebs.SnapshotId").to_owned();
    let list: Value = serde_json::from_slice(&moto.get("ebs", &format!("/snapshots/{snapshot}/blocks"))).expect("JSON");
    assert_eq!(list["VolumeSize"], 1);
    let indexes: Vec<usize> = list["Blocks"]
        .as_array()
        .expect("blocks")
        .iter()
        .filter_map(|b| b["BlockIndex"].as_u64())
        .map(|i| i as usize)
        .collect();
    let mut sorted = indexes.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1, 7, 39, 40], "holes are not sent");
    let mut there = vec![0; 41 * BLOCK];
    for index in indexes {
        let block = moto.get("ebs", &format!("/snapshots/{snapshot}/blocks/{index}?blockToken=any"));
        there[index * BLOCK..][..BLOCK].copy_from_slice(&block);
    }
    assert!(there.starts_with(&disk.bytes) && there[disk.bytes.len()..].iter().all(|byte| *byte == 0), "other bytes");

    let is_completion =
        |request: &Value, _: &BTreeMap<_, _>| request["url"].as_str().unwrap_or_default().contains("/completion/");
    let [(completion, _)] = sent(&record, is_completion).try_into().expect("one completion");
    let header = |name: &str| {
        let headers = completion["headers"].as_object().expect("headers");
        headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    assert_eq!(header("x-amz-ChangedBlocksCount"), "5");
    let mut sums = Vec::new();
    for index in sorted {
        sums.extend_from_slice(ring::digest::digest(&ring::digest::SHA256, &there[index * BLOCK..][..BLOCK]).as_ref());
    }
    let sum = ring::digest::digest(&ring::digest::SHA256, &sums);
    assert_eq!(header("x-amz-Checksum"), BASE64_STANDARD.encode(sum));
    assert_eq!(header("x-amz-Checksum-Aggregation-Method"), "LINEAR");

    // The policy is what was asked, and nothing else.
    let requests = sent(&record, |_, _| true).into_iter();
    let asked = requests.filter_map(|(request, form)| {
        match (form.get("Action"), request["url"].as_str().unwrap_or_default()) {
            (Some(action), _) => Some(format!("ec2:{action}")),
            (None, url) if url.contains("/completion/") => Some("ebs:CompleteSnapshot".to_owned()),
            (None, url) if url.ends_with("/snapshots") => Some("ebs:StartSnapshot".to_owned()),
            (None, _) => None,
        }
    });
    // Their lines may all be torn; the blocks have come.
    let asked: BTreeSet<String> = asked.chain(["ebs:PutSnapshotBlock".to_owned()]).collect();
    assert_eq!(asked, allowed());

    // What moto does keep: the name, and the tags.
    let listed = moto.form("ec2", "Action=DescribeImages&Version=2016-11-15&Owner.1=self");
    assert!(listed.contains("<name>etcd-bootstrapper_0.1.0</name>"), "{listed}");
    assert!(listed.contains(&format!("<value>{}</value>", disk.sha256())), "{listed}");
}

#[test]
fn the_same_disk_is_registered_once_and_another_not_under_its_name() {
    let mut disk = Published::new();
    let record = disk.directory.join("record");
    let moto = Moto::recording(&record);
    let first = publish(&disk, &moto, &["tpm=false"]);
    assert!(first.status.success(), "{}", said(&first));
    assert_eq!(action(&record, "RegisterImage")[0].get("TpmSupport"), None);
    let again = publish(&disk, &moto, &["tpm=false"]);
    assert!(
        again.status.success() && said(&again).contains("registered before from the same disk"),
        "{}",
        said(&again)
    );

    // What it was registered with stays, whatever a second run asks for.
    for (asked, expected) in [
        (&[][..], "already, without a TPM: give -var tpm=false"),
        (
            &["tpm=false", "kms_key=arn:aws:kms:eu-west-1:1:key/k"],
            "is encrypted by no key, not by arn:aws:kms:eu-west-1:1:key/k",
        ),
    ] {
        let other = publish(&disk, &moto, asked);
        assert!(!other.status.success() && said(&other).contains(expected), "{}", said(&other));
    }

    // Another name of the same disk has the snapshot that is there.
    let renamed = publish(&disk, &moto, &["name=etcd"]);
    assert!(renamed.status.success(), "{}", said(&renamed));
    let images = action(&record, "RegisterImage");
    let snapshots: Vec<_> = images.iter().map(|image| &image["BlockDeviceMapping.1.Ebs.SnapshotId"]).collect();
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");
    assert_eq!(snapshots[0], snapshots[1]);

    disk.bytes[9] ^= 1;
    disk.write();
    let other = publish(&disk, &moto, &[]);
    assert!(!other.status.success(), "{}", said(&other));
    assert!(
        said(&other).contains("already, of another disk: give this one another version or name"),
        "{}",
        said(&other)
    );
    assert_eq!(action(&record, "RegisterImage").len(), 2);
}
