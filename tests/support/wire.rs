//! An HTTP server that answers as it is told, and notes what it was asked: what fakes of metadata services are made of.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub from: SocketAddr,
    /// Counted over all connections, from 0.
    pub number: usize,
    pub connection: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Whole,
    /// After a pause.
    Late(Duration),
    /// Its header, one byte a second.
    Drip,
    /// The body again and again, in chunks without an end.
    Endless,
    /// Not at all: the connection is reset.
    Reset,
    /// Not at all: the connection stays.
    Never,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub how: How,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into(), how: How::Whole }
    }
    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }
    pub fn how(mut self, how: How) -> Reply {
        self.how = how;
        self
    }
}

/// What a service answers.
pub type Service = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A service from what it answers.
pub fn service(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Service {
    Arc::new(answer)
}

/// What was asked of a service that listens.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Asked>>>);

impl Log {
    pub fn all(&self) -> Vec<Asked> {
        self.0.lock().expect("the log").clone()
    }
    pub fn paths(&self) -> Vec<String> {
        self.all().into_iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }
}

/// Answers whoever comes to this listener, for as long as the process lives.
pub fn accept(listener: TcpListener, service: Service) -> Log {
    let log = Log::default();
    let seen = log.clone();
    std::thread::spawn(move || {
        let connections = AtomicUsize::new(0);
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let connection = connections.fetch_add(1, Ordering::Relaxed);
            let (service, seen) = (service.clone(), seen.clone());
            std::thread::spawn(move || {
                // A client that goes away is no fault of the service's.
                let _gone = serve(stream, connection, &service, &seen);
            });
        }
    });
    log
}

fn serve(stream: TcpStream, connection: usize, service: &Service, log: &Log) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let from = stream.peer_addr()?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length: u64 = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        let asked = {
            let mut log = log.0.lock().expect("the log");
            let asked = Asked { method, path, headers, from, number: log.len(), connection };
            log.push(asked.clone());
            asked
        };
        let reply = service(&asked);
        send(&mut out, &reply)?;
        if reply.how == How::Reset {
            return Ok(());
        }
    }
}

fn send(out: &mut TcpStream, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Told\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let own = |name: &str| reply.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    match reply.how {
        How::Endless => head += "Transfer-Encoding: chunked\r\n\r\n",
        _ if own("content-length") || reply.status == 204 => head += "\r\n",
        _ => head += &format!("Content-Length: {}\r\n\r\n", reply.body.len()),
    }
    match reply.how {
        How::Whole => out.write_all(&[head.as_bytes(), &reply.body].concat()),
        How::Late(pause) => {
            std::thread::sleep(pause);
            out.write_all(&[head.as_bytes(), &reply.body].concat())
        }
        How::Drip => head.bytes().try_for_each(|byte| {
            std::thread::sleep(Duration::from_secs(1));
            out.write_all(&[byte])
        }),
        How::Endless => {
            out.write_all(head.as_bytes())?;
            loop {
                out.write_all(format!("{:x}\r\n", reply.body.len()).as_bytes())?;
                out.write_all(&reply.body)?;
                out.write_all(b"\r\n")?;
            }
        }
        How::Reset => {
            let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            nix::sys::socket::setsockopt(out, nix::sys::socket::sockopt::Linger, &linger)?;
            Ok(())
        }
        How::Never => {
            let mut nothing = [0];
            out.read_exact(&mut nothing)
        }
    }
}
