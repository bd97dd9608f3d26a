//! DNS as far as SRV records need it (RFC 1035, 2782, 7766): UDP, TCP where the answer is cut short, aliases followed.
//!
//! glibc's resolver is not asked: it cannot look for SRV, and tells no answer from none.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Trouble;
use crate::exit::Exit;
use crate::sys::random;

/// For an answer over UDP, and for the whole of one over TCP.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often each server is asked; a datagram may be lost.
const TURNS: usize = 2;

/// How many aliases are followed.
const ALIASES: usize = 8;

/// Who has no EDNS is sent no longer ones over UDP, bytes.
const DATAGRAM: usize = 4096;

/// An SRV record: a host in lower case without its last dot, its port, and for how many seconds it may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub target: String,
    pub port: u16,
    pub ttl: u32,
}

/// An answer that the servers vouch for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// These.
    Records(Vec<Record>),
    /// There are none.
    Nothing {
        /// By whose word.
        said: String,
    },
}

/// The SRV records of a name.
///
/// # Errors
/// When no server answers, or what it answers is none.
pub(super) async fn srv(servers: &[SocketAddr], name: &str) -> Result<Found, Trouble> {
    let mut at = name.to_owned();
    let mut passed = vec![at.clone()];
    loop {
        let (server, reply) = ask(servers, &at).await?;
        let step = match reply {
            Reply::Absent => return Ok(Found::Nothing { said: format!("NXDOMAIN, says {server}") }),
            Reply::Holds(answers) => follow(&answers, &at),
        };
        match step {
            Step::Records(records) => return Ok(Found::Records(records)),
            Step::Nothing => return Ok(Found::Nothing { said: format!("no SRV record, says {server}") }),
            Step::Alias(next) if passed.contains(&next) || passed.len() > ALIASES => {
                let why = format!(
                    "the CNAME records of {name} lead in a circle ({} -> {next}, says {server}): mend the zone",
                    passed.join(" -> ")
                );
                return Err(Trouble::new(Exit::BadInput, why));
            }
            Step::Alias(next) => {
                passed.push(next.clone());
                at = next;
            }
        }
    }
}

/// A server's answer to one question.
enum Reply {
    Absent,
    Holds(Vec<Answer>),
}

/// What one record of an answer says of its owner.
#[derive(Clone, Debug)]
enum Answer {
    Alias(String, String),
    Service(String, Record),
}

enum Step {
    Records(Vec<Record>),
    Alias(String),
    Nothing,
}

/// From a name to its records, along the aliases that the answer has itself.
fn follow(answers: &[Answer], name: &str) -> Step {
    let mut at = name.to_owned();
    let mut passed: Vec<String> = Vec::new();
    loop {
        let of = |answer: &Answer| match answer {
            Answer::Service(owner, record) if *owner == at => Some(record.clone()),
            Answer::Service(..) | Answer::Alias(..) => None,
        };
        let records: Vec<Record> = answers.iter().filter_map(of).collect();
        if !records.is_empty() {
            return Step::Records(records);
        }
        let alias = answers.iter().find_map(|answer| match answer {
            Answer::Alias(owner, target) if *owner == at => Some(target.clone()),
            Answer::Alias(..) | Answer::Service(..) => None,
        });
        passed.push(at.clone());
        match alias {
            // Back where we were: whoever asks sees that it is a circle.
            Some(next) if passed.contains(&next) => return Step::Alias(next),
            Some(next) => at = next,
            None if at == name => return Step::Nothing,
            None => return Step::Alias(at),
        }
    }
}

/// The first answer that one of the servers stands by.
async fn ask(servers: &[SocketAddr], name: &str) -> Result<(SocketAddr, Reply), Trouble> {
    let mut failed = Vec::new();
    for turn in 0..TURNS {
        for server in servers {
            match exchange(*server, name).await {
                Ok(reply) => return Ok((*server, reply)),
                Err(why) if turn + 1 == TURNS => failed.push(format!("{server} {why}")),
                Err(_) => {}
            }
        }
    }
    let why = format!("DNS does not say what {name} is: {}", failed.join("; "));
    Err(Trouble::new(Exit::TryAgain, why))
}

/// One question to one server.
///
/// # Errors
/// What it answered instead, to be put behind its address.
async fn exchange(server: SocketAddr, name: &str) -> Result<Reply, String> {
    let id = random::bytes::<2>().map(u16::from_be_bytes).map_err(|e| format!("is not asked: {e}"))?;
    let question = question(id, name)?;
    let late = |_| format!("has not answered within {} s", PATIENCE.as_secs());
    let failed = |error: io::Error| format!("cannot be asked: {error}");
    let whole = timeout(PATIENCE, udp(server, &question, id, name)).await.map_err(late)?.map_err(failed)?;
    if let Some(answer) = whole {
        let packet = Packet::parse(&answer).map_err(|e| format!("answered what is no DNS: {e}"))?;
        return read(&packet);
    }
    let answer = timeout(PATIENCE, tcp(server, &question)).await.map_err(late)?;
    let answer = answer.map_err(|error| format!("cuts its answer short over UDP, and over TCP it {error}"))?;
    let packet = Packet::parse(&answer).map_err(|e| format!("answered what is no DNS over TCP: {e}"))?;
    if !answers(&packet, id, name) || packet.has_flags(PacketFlag::TRUNCATION) {
        return Err("answered another question over TCP, or cut that answer short too".into());
    }
    read(&packet)
}

fn question(id: u16, name: &str) -> Result<Vec<u8>, String> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(|e| format!("is not asked: {name} is no name: {e}"))?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().map_err(|e| format!("is not asked: {e}"))
}

/// The first datagram of this server that answers this question, if it is whole; others are not looked at.
async fn udp(server: SocketAddr, question: &[u8], id: u16, name: &str) -> io::Result<Option<Vec<u8>>> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let datagram = &buffer[..length];
        match Packet::parse(datagram) {
            Ok(packet) if answers(&packet, id, name) => {
                return Ok((!packet.has_flags(PacketFlag::TRUNCATION)).then(|| datagram.to_vec()));
            }
            // One that was cut inside of a record is no whole message, and its header is what says so.
            Err(_) if is_cut(datagram, id) => return Ok(None),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Whether a header says that this is a response to that question, cut short (RFC 1035, section 4.1.1: QR, TC).
fn is_cut(datagram: &[u8], id: u16) -> bool {
    datagram.get(..2) == Some(&id.to_be_bytes()) && datagram.get(2).is_some_and(|flags| flags & 0x82 == 0x82)
}

async fn tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Whether a message answers this question and no other.
fn answers(packet: &Packet<'_>, id: u16, name: &str) -> bool {
    packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && packet.questions.first().is_some_and(|q| text(&q.qname) == name)
}

fn read(packet: &Packet<'_>) -> Result<Reply, String> {
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Ok(Reply::Absent),
        RCODE::ServerFailure => return Err("answers SERVFAIL: it cannot reach the zone's own servers".into()),
        RCODE::Refused => return Err("answers REFUSED: it does not serve this host".into()),
        other => return Err(format!("answers {other:?}")),
    }
    let answer = |record: &simple_dns::ResourceRecord<'_>| match &record.rdata {
        RData::CNAME(to) => Some(Answer::Alias(text(&record.name), text(&to.0))),
        RData::SRV(srv) => {
            let record_of = Record { target: text(&srv.target), port: srv.port, ttl: record.ttl };
            Some(Answer::Service(text(&record.name), record_of))
        }
        _ => None,
    };
    Ok(Reply::Holds(packet.answers.iter().filter_map(answer).collect()))
}

/// The records that a message of these bytes has for whoever asked for this name.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn records(message: &[u8], name: &str) -> Vec<Record> {
    let id = message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let packet = match Packet::parse(message) {
        Ok(packet) if answers(&packet, id, name) => packet,
        Ok(_) => return Vec::new(),
        Err(_) => {
            is_cut(message, id);
            return Vec::new();
        }
    };
    match read(&packet) {
        Ok(Reply::Holds(answers)) => match follow(&answers, name) {
            Step::Records(records) => records,
            Step::Alias(_) | Step::Nothing => Vec::new(),
        },
        Ok(Reply::Absent) | Err(_) => Vec::new(),
    }
}

fn text(name: &Name<'_>) -> String {
    name.to_string().trim_end_matches('.').to_ascii_lowercase()
}
