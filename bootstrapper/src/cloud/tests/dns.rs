//! DNS against a server of our own that answers by a script, over UDP and TCP on one port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use plan::discovery::DnsSrv;
use simple_dns::rdata::{CNAME, RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::super::srv::Srv;
use super::super::{Listing, Trouble};
use crate::exit::Exit;
use crate::paths::Paths;

const TLS: &str = "_etcd-server-ssl._tcp.example.com";
const PLAIN: &str = "_etcd-server._tcp.example.com";

/// What a zone has below a name.
#[derive(Clone, Copy)]
enum Has {
    Srv(&'static str, u16),
    Alias(&'static str),
    Code(RCODE),
    /// No answer.
    Silence,
    /// Over UDP an answer to another question, and the true one behind it.
    Forged(&'static str, u16),
}

type Zone = &'static [(&'static str, Has)];

/// A server that is asked on this address.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves this zone; whatever is not in it does not exist. A large answer goes over TCP only.
    async fn of(zone: Zone, datagram: usize) -> Server {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                let question = buffer[..length].to_vec();
                note(&noted, "udp", &question);
                if let Some(forged) = forged(zone, &question) {
                    udp.send_to(&forged, from).await.unwrap();
                }
                match answer(zone, &question) {
                    Some(answer) if answer.len() > datagram => {
                        let mut cut = Packet::parse(&question).unwrap().into_reply();
                        cut.set_flags(PacketFlag::RESPONSE | PacketFlag::TRUNCATION);
                        udp.send_to(&cut.build_bytes_vec().unwrap(), from).await.unwrap();
                    }
                    Some(answer) => drop(udp.send_to(&answer, from).await.unwrap()),
                    None => {}
                }
            }
        });
        let noted = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let mut question = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut question).await.unwrap();
                note(&noted, "tcp", &question);
                let answer = answer(zone, &question).unwrap();
                stream.write_u16(answer.len() as u16).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        Server { address, asked }
    }

    fn asked(&self, how: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(how)).count()
    }
}

fn note(asked: &Mutex<Vec<String>>, how: &str, question: &[u8]) {
    let question = Packet::parse(question).unwrap();
    asked.lock().unwrap().push(format!("{how} {}", question.questions[0].qname));
}

fn forged(zone: Zone, question: &[u8]) -> Option<Vec<u8>> {
    zone.iter().find(|(_, has)| matches!(has, Has::Forged(..)))?;
    let mut packet = Packet::parse(question).unwrap().into_reply();
    packet.set_id(packet.id().wrapping_add(1));
    packet.set_flags(PacketFlag::RESPONSE);
    Some(packet.build_bytes_vec().unwrap())
}

fn answer(zone: Zone, question: &[u8]) -> Option<Vec<u8>> {
    let question = Packet::parse(question).unwrap();
    let name = question.questions[0].qname.to_string();
    let mut packet = question.clone().into_reply();
    packet.set_flags(PacketFlag::RESPONSE);
    let own: Vec<&Has> = zone.iter().filter(|(owner, _)| *owner == name).map(|(_, has)| has).collect();
    if own.is_empty() {
        *packet.rcode_mut() = RCODE::NameError;
    }
    for has in own {
        let data = match has {
            Has::Srv(target, port) | Has::Forged(target, port) => {
                RData::SRV(SRV { priority: 0, weight: 0, port: *port, target: Name::new(target).unwrap() })
            }
            Has::Alias(to) => RData::CNAME(CNAME(Name::new(to).unwrap())),
            Has::Code(code) => {
                *packet.rcode_mut() = *code;
                continue;
            }
            Has::Silence => return None,
        };
        packet.answers.push(ResourceRecord::new(question.questions[0].qname.clone(), CLASS::IN, 30, data));
    }
    Some(packet.build_bytes_vec().unwrap())
}

async fn listed(servers: &[&Server]) -> Result<Listing, Trouble> {
    let entry = DnsSrv { domain: "Example.com.".into(), name: None };
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    Srv::of(entry, &Paths::under("/nonexistent")).of_servers(&addresses).await
}

fn names(listing: &Listing) -> Vec<String> {
    listing.instances.iter().map(|i| format!("{} {}", i.id, i.peer_url.as_ref().unwrap())).collect()
}

#[tokio::test]
async fn records_are_found_over_udp_and_tcp_behind_aliases_and_past_forgeries() {
    let three: Zone = &[
        (TLS, Has::Srv("Etcd-1.example.com", 2380)),
        (TLS, Has::Srv("etcd-2.example.com", 2380)),
        (PLAIN, Has::Srv("etcd-2.example.com", 2380)),
    ];
    let wanted =
        ["etcd-1.example.com https://etcd-1.example.com:2380", "etcd-2.example.com https://etcd-2.example.com:2380"];
    let aliased: Zone = &[
        (TLS, Has::Alias("a.example.net")),
        ("a.example.net", Has::Alias("b.example.net")),
        ("b.example.net", Has::Srv("etcd-1.example.com", 2380)),
        ("b.example.net", Has::Srv("etcd-2.example.com", 2380)),
    ];
    let forged: Zone = &[(TLS, Has::Forged("etcd-1.example.com", 2380)), (TLS, Has::Srv("etcd-2.example.com", 2380))];
    for (zone, datagram, tcp) in [(three, 512, 0), (three, 40, 2), (aliased, 512, 0), (forged, 512, 0)] {
        let server = Server::of(zone, datagram).await;
        assert_eq!(names(&listed(&[&server]).await.unwrap()), wanted);
        assert_eq!(server.asked("tcp"), tcp);
    }
}

#[tokio::test]
async fn what_is_not_a_whole_answer_is_no_group_and_says_what_to_do() {
    let cases: [(Zone, Exit, &str); 9] = [
        (&[], Exit::TryAgain, "there are no SRV records _etcd-server-ssl._tcp.example.com (NXDOMAIN, says 127.0.0.1"),
        (&[(TLS, Has::Code(RCODE::NoError))], Exit::TryAgain, "(no SRV record, says 127.0.0.1"),
        (&[(TLS, Has::Code(RCODE::ServerFailure))], Exit::TryAgain, "answers SERVFAIL"),
        (&[(TLS, Has::Code(RCODE::Refused))], Exit::TryAgain, "answers REFUSED: it does not serve this host"),
        (&[(TLS, Has::Alias(PLAIN)), (PLAIN, Has::Alias(TLS))], Exit::BadInput, "lead in a circle"),
        (&[(TLS, Has::Alias(TLS))], Exit::BadInput, "lead in a circle"),
        (&[(TLS, Has::Srv("etcd-1.example.com", 2380)), (TLS, Has::Srv("", 0))], Exit::BadInput, "has the target `.`"),
        (
            &[(PLAIN, Has::Srv("etcd-1.example.com", 2380))],
            Exit::BadInput,
            "publish their SRV records under the latter",
        ),
        (
            &[(TLS, Has::Srv("etcd-1.example.com", 2380)), (PLAIN, Has::Srv("etcd-2.example.com", 2380))],
            Exit::BadInput,
            "_etcd-server._tcp.example.com has etcd-2.example.com, and _etcd-server-ssl._tcp.example.com has not",
        ),
    ];
    for (zone, exit, why) in cases {
        let server = Server::of(zone, 512).await;
        let trouble = listed(&[&server]).await.expect_err(why);
        assert!(trouble.text.contains(why) && trouble.exit == exit, "{why}: {trouble:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_or_fails_is_passed_over() {
    let good = Server::of(&[(TLS, Has::Srv("etcd-1.example.com", 2380))], 512).await;
    let fails =
        Server::of(&[(TLS, Has::Code(RCODE::ServerFailure)), (PLAIN, Has::Code(RCODE::ServerFailure))], 512).await;
    let silent = Server::of(&[(TLS, Has::Silence), (PLAIN, Has::Silence)], 512).await;
    assert_eq!(listed(&[&fails, &silent, &good]).await.unwrap().instances.len(), 1);
    let trouble = listed(&[&silent]).await.expect_err("silence");
    assert!(trouble.text.contains("has not answered within 2 s"), "{trouble:?}");
    assert_eq!(silent.asked("udp"), 2 + 4, "once beside two others, twice alone, for two names");
}
