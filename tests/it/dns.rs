//! A member that finds itself in the SRV records of its domain.

use std::fs;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use simple_dns::rdata::{RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord};

use crate::world::World;

const RECORD: &str = "_etcd-server-ssl._tcp.example.com";

/// The target that the zone has now; none is NXDOMAIN.
type Zone = Arc<Mutex<Option<&'static str>>>;

/// A host whose configuration is this and whose name server has this zone.
fn host(config: &str) -> (World, Zone) {
    let world = World::new(1);
    let host = &world.hosts[0];
    let zone = Zone::default();
    let shown = zone.clone();
    let socket = host.inside(async || UdpSocket::bind("127.0.0.1:53").expect("a port"));
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let question = Packet::parse(&buffer[..length]).expect("a question");
            let name = question.questions[0].qname.clone();
            let mut answer = question.into_reply();
            answer.set_flags(PacketFlag::RESPONSE);
            match *shown.lock().expect("nobody has panicked") {
                Some(target) if name.to_string() == RECORD => {
                    let target = Name::new(target).expect("a name");
                    let data = RData::SRV(SRV { priority: 0, weight: 0, port: 2380, target });
                    answer.answers.push(ResourceRecord::new(name, CLASS::IN, 1, data));
                }
                Some(_) | None => *answer.rcode_mut() = RCODE::NameError,
            }
            let _gone = socket.send_to(&answer.build_bytes_vec().expect("an answer"), from);
        }
    });
    fs::write(host.root.join("etc/resolv.conf"), "nameserver 127.0.0.1\n").expect("resolv.conf");
    host.resolves(&format!("{} etcd-1.example.com\n192.0.2.9 etcd-9.example.com\n", host.address));
    let kept = world.config();
    let kept = kept.lines().filter(|line| !line.starts_with("peers:") && !line.starts_with("  - {name: "));
    let text: String = kept.map(|line| format!("{line}\n")).collect();
    let config = config.replace("ADDRESS", &host.address.to_string());
    host.configure(&format!("{text}discovery: {{dns_srv: {{domain: example.com}}}}\n{config}"));
    (world, zone)
}

#[test]
fn a_host_waits_for_its_srv_record_and_founds_by_it() {
    let (mut world, zone) = host("");
    world.hosts[0].boot();
    world.hosts[0]
        .wait_for("run", "there are no SRV records _etcd-server-ssl._tcp.example.com (NXDOMAIN, says 127.0.0.1:53)");
    *zone.lock().expect("nobody has panicked") = Some("etcd-1.example.com");
    world.hosts[0].settle();
    assert_eq!(world.members(0), (vec!["etcd-1.example.com".to_owned()], 0));
    // A settled member needs no DNS, and its certificates keep its address.
    *zone.lock().expect("nobody has panicked") = None;
    let names = world.hosts[0].root.join("var/lib/etcd/bootstrapper/pki/names.json");
    let before = fs::read_to_string(&names).expect("names");
    assert!(before.contains(&world.hosts[0].address), "{before}");
    world.hosts[0].kill();
    world.hosts[0].boot();
    world.hosts[0].settle();
    assert_eq!(fs::read_to_string(&names).expect("names"), before);
}

#[test]
fn a_member_that_has_a_name_and_only_an_ipv6_address_listens_there() {
    let (mut world, zone) = host("");
    let host = &mut world.hosts[0];
    host.has("fd77::11", true);
    host.resolves("fd77::11 etcd-1.example.com\n");
    *zone.lock().expect("nobody has panicked") = Some("etcd-1.example.com");
    host.boot();
    host.settle();
    let environment = host.environment();
    let listen = environment.iter().find(|(key, _)| key == "ETCD_LISTEN_PEER_URLS").expect("where to listen");
    assert_eq!(listen.1, "https://[::]:2380");
}

#[test]
fn a_target_that_cannot_be_meant_ends_the_wait() {
    let (mut world, zone) = host("member: {address: ADDRESS}\ntimeouts: {metadata: 1s}\n");
    // The only one that is there is not this host because it is the only one.
    *zone.lock().expect("nobody has panicked") = Some("etcd-9.example.com");
    world.hosts[0].boot();
    world.hosts[0].wait_for("run", "etcd-9.example.com (etcd-9.example.com)");
    *zone.lock().expect("nobody has panicked") = Some("");
    assert_eq!(world.hosts[0].run_ends(), 65, "{}", world.hosts[0].said_by("run"));
    assert!(world.hosts[0].said_by("run").contains("has the target `.`"));
}
