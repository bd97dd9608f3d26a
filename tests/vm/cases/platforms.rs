//! (n) One machine on each platform: its firmware, its metadata service or volume, and a cluster of its own.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::canary::{self, PASSWORD};
use crate::cluster::Cluster;
use crate::disk;
use crate::dressed::{self, Dressed};
use crate::link::of_this_machine;
use crate::process::until;
use crate::services;
use crate::set::{SETTLE, Set};
use crate::suite::{AGREE, Suite};
use crate::wire::Service;
use crate::world::{AZURE, Seat};

/// A volume's files by their names.
type Files = Vec<(&'static str, String)>;

/// How a platform makes a machine.
struct Platform {
    name: &'static str,
    source: &'static str,
    /// What the firmware says.
    firmware: &'static [(&'static str, &'static str)],
    instance: &'static str,
    hostname: &'static str,
    carrier: &'static str,
    beside: Option<&'static str>,
    /// The machine's place.
    seat: Seat,
    /// Its metadata service, given the user-data.
    service: Option<fn(&str, Seat) -> Service>,
    /// The files of its volume, given the user-data.
    files: Option<fn(String, Seat) -> Files>,
}

/// EC2's are the machines of `group`, NoCloud's those of all other cases; `found` looks at one of them in the same way.
static PLATFORMS: [Platform; 3] = [
    Platform {
        name: "gce",
        source: "dmi",
        firmware: services::GCE,
        instance: "18446744073709551615",
        hostname: "etcd-a1.europe-west1-b.c.p.internal",
        carrier: "user-data of gce 18446744073709551615",
        beside: Some("the attribute etcd-bootstrapper of gce 18446744073709551615"),
        seat: Seat(1),
        service: Some(gce),
        files: None,
    },
    Platform {
        name: "azure",
        source: "dmi",
        firmware: services::AZURE,
        instance: "8f3a1c2d-11aa-22bb-8899-0123456789ab",
        hostname: "etcd000000",
        carrier: "user-data of azure 8f3a1c2d-11aa-22bb-8899-0123456789ab",
        beside: Some("tag etcd-bootstrapper:replace_after of azure 8f3a1c2d-11aa-22bb-8899-0123456789ab"),
        seat: AZURE,
        service: Some(azure),
        files: None,
    },
    Platform {
        name: "configdrive",
        source: "volume",
        firmware: services::OPENSTACK,
        instance: "83679162-1378-4288-a2d4-70e13ec132aa",
        hostname: "etcd-1.novalocal",
        carrier: "openstack/latest/user_data on the config-2 volume",
        beside: None,
        seat: Seat(3),
        service: None,
        files: Some(drive),
    },
];

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let link = suite.link()?;
    let (start, mut clusters, mut set) = (Instant::now(), Vec::new(), Set::default());
    for platform in &PLATFORMS {
        let seat = platform.seat;
        let name = suite.name(platform.name);
        let cluster = Cluster::of(&suite.yard.tools, &name, &[seat], &[])?;
        let user_data = canary::with_password(&cluster.user_data());
        if let Some(service) = platform.service {
            link.tell(seat, service(&user_data, seat));
        }
        let volume = platform.files.map(|files| volume(suite, &cluster, &files(user_data, seat))).transpose()?;
        let firmware = platform.firmware.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        set.add(suite.dressed(seat, firmware, volume)?);
        clusters.push((platform, seat, cluster));
    }
    for (platform, seat, cluster) in clusters {
        let machine = set.machine(seat)?;
        machine.wait_settled(start + SETTLE)?;
        println!("        {}: settled {:.1} s after power on", platform.name, start.elapsed().as_secs_f32());
        let etcdctl = &cluster.etcdctl;
        until("member that serves", AGREE, || etcdctl.members(seat)?.expect_voters(&[seat]))?;
        etcdctl.put(seat, "/vm/platform", platform.name)?;
        let value = etcdctl.get(seat, "/vm/platform")?;
        ensure!(value == platform.name, "{} reads {value:?} of what was written", machine.name());
        machine.expect_decision("found")?;
        let asked = !link.asked_by(seat).is_empty();
        ensure!(asked == platform.service.is_some(), "{} has asked a metadata service: {asked}", machine.name());
        dressed::look(suite.yard.images.flavour, machine, &platform.dressed(), &cluster)?;
        machine.check()?;
    }
    link.no_stranger()
}

impl Platform {
    fn dressed(&self) -> Dressed {
        Dressed {
            provider: self.name,
            source: self.source,
            instance: self.instance.into(),
            hostname: Some(self.hostname.into()),
            carrier: self.carrier.into(),
            beside: self.beside.map(str::to_owned),
        }
    }
}

/// With a key that is ours alone, and a script that nobody may run.
fn gce(user_data: &str, seat: Seat) -> Service {
    of_this_machine(services::gce(user_data), move |document: &mut Value| {
        // Cloud-init asks for the attributes alone.
        let attributes =
            if document.get("attributes").is_some() { &mut document["attributes"] } else { &mut *document };
        if attributes.get("user-data").is_some() {
            attributes["etcd-bootstrapper"] = "replace_after: 45s\n".into();
            attributes["startup-script"] = format!("#!/bin/sh\necho {PASSWORD} >/dev/console\n").into();
        }
        if let Some(card) = document.pointer_mut("/networkInterfaces/0/ip") {
            *card = seat.address().to_string().into();
        }
    })
}

/// With a tag of ours; the firmware has the same UUID with its bytes in the other order.
fn azure(user_data: &str, seat: Seat) -> Service {
    of_this_machine(services::azure(user_data, "2025-04-07"), move |document: &mut Value| {
        document["compute"]["customData"] = PASSWORD.into();
        document["compute"]["tagsList"] = json!([{"name": "etcd-bootstrapper:replace_after", "value": "45s"}]);
        let card = &mut document["network"]["interface"][0];
        card["ipv4"]["ipAddress"][0]["privateIpAddress"] = seat.address().to_string().into();
        card["macAddress"] = seat.mac().replace(':', "").to_uppercase().into();
    })
}

fn drive(user_data: String, seat: Seat) -> Files {
    let meta_data = json!({"uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "hostname": "etcd-1.novalocal", "name": "etcd-1",
        "admin_pass": PASSWORD, "random_seed": format!("{PASSWORD}AA"), "launch_index": 0});
    let network = json!({"services": [],
        "links": [{"id": "tap0", "vif_id": "0", "type": "ovs", "mtu": 1500, "ethernet_mac_address": seat.mac()}],
        "networks": [{"id": "network0", "link": "tap0", "type": "ipv4_dhcp", "network_id": "0"}]});
    vec![
        ("openstack/latest/user_data", user_data),
        ("openstack/latest/meta_data.json", meta_data.to_string()),
        ("openstack/latest/network_data.json", network.to_string()),
    ]
}

fn volume(suite: &Suite, cluster: &Cluster, files: &Files) -> Result<PathBuf> {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    disk::volume(&suite.yard.tools, &cluster.directory, "drive", "config-2", &files)
}
