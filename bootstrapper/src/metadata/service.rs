//! Asking a platform's metadata service: plain HTTP to an address of the link, without proxy or redirect, again and again
//! until it answers or the time is over.
//!
//! A connection is made by hand, since what matters here is below HTTP: which interface it leaves by, the scope of an
//! address, the port it comes from, and the kernel's own reason when it fails.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use nix::net::if_::if_nametoindex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::answer::{self, Answer, Patience, Trouble};
use super::varlink;
use crate::exit::Exit;
use crate::sys::near::{self, Way};
use crate::sys::net;
use crate::sys::netlink::Watch;

/// A service of the link answers a connection at once, or is not there.
const CONNECT: Duration = Duration::from_secs(1);

/// One request, its body included, however slowly it comes.
const RESPONSE: Duration = Duration::from_secs(5);

/// How long one way may take before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(150);

/// The longest time without a look while no route leads there; the kernel tells of one at once.
const NO_ROUTE: Duration = Duration::from_secs(5);

/// The network may change many times in a moment.
const SETTLE: Duration = Duration::from_millis(20);

/// Most bytes of a token.
pub const TOKEN: usize = 4 << 10;
/// Most bytes of user-data; the most that any provider hands out is 256 KiB.
pub const USER_DATA: usize = 1 << 20;
/// Most bytes of a value or a small document.
pub const SMALL: usize = 64 << 10;
/// Most bytes of a document that holds everything: what every other byte begins a value of takes the most memory, and half
/// as much again while it grows.
pub const WHOLE: usize = 2 << 20;
const _: () = assert!(WHOLE / 2 * size_of::<serde_json::Value>() * 3 / 2 <= 48 << 20);

/// Where a service answers, port 80.
#[derive(Clone, Copy, Debug)]
pub enum Door {
    /// By any route.
    At(IpAddr),
    /// On the link of an interface, whichever that is.
    OnLink(Ipv6Addr),
}

/// A request.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// GET, or PUT for a token.
    pub method: &'static Method,
    /// Path and query.
    pub path: &'a str,
    /// What the protocol wants; a value may be a token.
    pub headers: &'a [(&'static str, &'a str)],
    /// Most bytes of the body.
    pub most: usize,
    /// Whether it must come from a port below 1024.
    pub privileged: bool,
    /// How long it is tried at most, where that is less than the service has for all.
    pub within: Option<Duration>,
}

impl<'a> Ask<'a> {
    /// A GET.
    pub fn get(path: &'a str, headers: &'a [(&'static str, &'a str)], most: usize) -> Ask<'a> {
        Ask { method: &Method::GET, path, headers, most, privileged: false, within: None }
    }
}

/// A metadata service, for as long as somebody asks it.
pub struct Service<'a> {
    name: &'static str,
    doors: &'static [Door],
    /// Statuses that are tried again here, beside those that are everywhere.
    passing: &'static [u16],
    deadline: Instant,
    within: Duration,
    network: Watch,
    line: RefCell<Option<Line>>,
    /// systemd's own service, and the path that its keys are below, once the kernel has said that only it may ask.
    locked: Cell<bool>,
    systemd: (PathBuf, &'static str),
    unanswered: Cell<bool>,
    say: RefCell<&'a mut dyn FnMut(&str)>,
    /// What is answered, where nobody is asked.
    #[cfg(any(test, feature = "fuzzing"))]
    scripted: Option<RefCell<Script>>,
}

/// Answers that are given in their order.
#[cfg(any(test, feature = "fuzzing"))]
pub type Script = VecDeque<(StatusCode, Vec<u8>)>;

/// A connection.
struct Line {
    way: Way,
    sender: SendRequest<String>,
}

/// What is known of a service before it is asked.
pub struct Known {
    /// Whose it is, as a person would call it.
    pub name: &'static str,
    /// Where it answers, the most likely first.
    pub doors: &'static [Door],
    /// Statuses that pass at this service.
    pub passing: &'static [u16],
    /// The path that systemd-imdsd's keys are below.
    pub below: &'static str,
}

impl<'a> Service<'a> {
    /// A service that has this long to answer everything; `say` hears what is waited for.
    ///
    /// # Errors
    /// When the kernel does not tell of changes of the network.
    pub fn new(known: &Known, within: Duration, socket: PathBuf, say: &'a mut dyn FnMut(&str)) -> Result<Service<'a>> {
        Ok(Service {
            name: known.name,
            doors: known.doors,
            passing: known.passing,
            deadline: Instant::now() + within,
            within,
            // Made before the first look, so that no route comes unheard.
            network: Watch::network()?,
            line: RefCell::new(None),
            locked: Cell::new(false),
            systemd: (socket, known.below),
            unanswered: Cell::new(false),
            say: RefCell::new(say),
            #[cfg(any(test, feature = "fuzzing"))]
            scripted: None,
        })
    }

    /// A service that nobody asks: these are its answers, and 404 after them.
    ///
    /// # Errors
    /// As [`Service::new`].
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn scripted(known: &Known, answers: Script, say: &'a mut dyn FnMut(&str)) -> Result<Service<'a>> {
        let service = Service::new(known, Duration::from_secs(1), PathBuf::new(), say)?;
        Ok(Service { scripted: Some(RefCell::new(answers)), ..service })
    }

    /// Whether systemd asks for us, which has a token of its own.
    pub fn is_systemd_s(&self) -> bool {
        self.locked.get()
    }

    /// Whether the last connection was taken and no answer came: the answers may not find the way.
    pub fn was_unanswered(&self) -> bool {
        self.unanswered.get()
    }

    /// Asks until there is an answer that stays: any status but a redirect and those that pass.
    ///
    /// # Errors
    /// 75 when the time is over, 69 for a redirect, 65 for more bytes than there may be, 77 when the kernel forbids to ask.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<Answer> {
        #[cfg(any(test, feature = "fuzzing"))]
        if let Some(answers) = &self.scripted {
            let (status, bytes) = answers.borrow_mut().pop_front().unwrap_or((StatusCode::NOT_FOUND, Vec::new()));
            anyhow::ensure!(bytes.len() <= ask.most, "{} bytes are more than {}", bytes.len(), ask.most);
            // Without it Compute Engine's answer is not its own.
            let headers = HeaderMap::from_iter([(HeaderName::from_static("metadata-flavor"), "Google".try_into()?)]);
            let answer = Answer { asked: ask.path.to_owned(), status, headers, bytes };
            return answer.stays(self.name, self.passing).map_err(Trouble::into_error);
        }
        let mut patience = Patience::default();
        let mut before: Option<Trouble> = None;
        let start = Instant::now();
        let deadline = ask.within.map_or(self.deadline, |within| self.deadline.min(start + within));
        loop {
            if self.locked.get() {
                return varlink::get(&self.systemd.0, self.systemd.1, self.name, ask, deadline).await;
            }
            let tried = timeout_at(deadline, self.once(ask)).await;
            // What a whole try ended in says more than that the time was over in the midst of the next one.
            let tried = tried.unwrap_or_else(|_| {
                let nothing = || Trouble::Unanswered { why: "nothing whole came until then".into() };
                Err(before.take().unwrap_or_else(nothing))
            });
            let trouble = match tried.and_then(|answer| answer.stays(self.name, self.passing)) {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            before = self.pause(trouble, ask, deadline, &mut patience).await?;
        }
    }

    /// Waits as long as the trouble takes; gives it back where it was one of a whole try.
    async fn pause(
        &self,
        trouble: Trouble,
        ask: &Ask<'_>,
        deadline: Instant,
        patience: &mut Patience,
    ) -> Result<Option<Trouble>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = match &trouble {
            Trouble::Locked => {
                self.locked.set(true);
                return Ok(None);
            }
            Trouble::Final(_) => return Err(trouble.into_error()),
            Trouble::Broken { .. } if !left.is_zero() && patience.first_break() => return Ok(Some(trouble)),
            Trouble::NoRoute { .. } => NO_ROUTE,
            Trouble::Broken { .. } | Trouble::Silent { .. } | Trouble::Unanswered { .. } => {
                patience.for_a_connection()?
            }
            Trouble::Busy { status, after, .. } => patience.for_an_answer(*status, *after)?,
        };
        self.unanswered.set(matches!(trouble, Trouble::Unanswered { .. }));
        let why = trouble.to_string();
        if left.is_zero() {
            return Err(Exit::TryAgain.because(format!(
                "{} has not answered {} {} within {} s; the last try: {why}; expected: an answer; check that the service \
                 is enabled for this instance and that a route leads to {}",
                self.name,
                ask.method,
                ask.path,
                ask.within.unwrap_or(self.within).as_secs(),
                self.places()
            )));
        }
        let text =
            format!("waiting up to {} s for {}: {why}", (left + Duration::from_millis(999)).as_secs(), self.name);
        (self.say.borrow_mut())(&text);
        if let Trouble::Busy { .. } = trouble {
            sleep(wait.min(left)).await;
        } else if self.network.changed(wait.min(left)).await? {
            sleep(SETTLE.min(left)).await;
        }
        Ok(Some(trouble))
    }

    /// Where it answers, for a person.
    fn places(&self) -> String {
        let place = |door: &Door| match door {
            Door::At(ip) => ip.to_string(),
            Door::OnLink(ip) => format!("{ip} on the link"),
        };
        self.doors.iter().map(place).collect::<Vec<_>>().join(" or ")
    }

    /// One request on the connection that there is, or a race for one.
    async fn once(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        let kept = self.line.borrow_mut().take();
        let Some(mut line) = kept else { return self.race(ask).await };
        if line.sender.is_closed() || line.way.privileged != ask.privileged {
            let way = Way { privileged: ask.privileged, ..line.way };
            return match attempt(way, ask).await {
                Ok(opened) => Ok(self.keep(opened)),
                Err(trouble) => Err(trouble),
            };
        }
        let answer = exchange(&mut line, ask).await?;
        Ok(self.keep((line, answer)))
    }

    fn keep(&self, (line, answer): (Line, Answer)) -> Answer {
        *self.line.borrow_mut() = Some(line);
        answer
    }

    /// Tries every way, each a moment after the one before; the first success wins, a refusal only when there is none.
    async fn race(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        let mut waiting = self.ways(ask.privileged);
        let mut running = FuturesUnordered::new();
        let (mut refused, mut worst) = (None, None);
        loop {
            if running.is_empty() {
                match waiting.pop_front() {
                    Some(way) => running.push(attempt(way, ask)),
                    None => break,
                }
            }
            tokio::select! {
                Some(outcome) = running.next() => match outcome {
                    Ok(opened) if opened.1.status.is_success() => return Ok(self.keep(opened)),
                    Ok(opened) => refused = refused.or(Some(opened)),
                    Err(trouble) => worst = Some(Trouble::worse(worst, trouble)),
                },
                () = sleep(STAGGER), if !waiting.is_empty() => {
                    running.extend(waiting.pop_front().map(|way| attempt(way, ask)));
                }
            }
        }
        match (refused, worst) {
            (Some(opened), _) => Ok(self.keep(opened)),
            (None, Some(trouble)) => Err(trouble),
            (None, None) => Err(Trouble::NoRoute { why: "no interface of this host is up".into() }),
        }
    }

    /// Each door by the kernel's choice of a route, and where there are several interfaces by each of them.
    fn ways(&self, privileged: bool) -> VecDeque<Way> {
        let mut addresses = net::addresses().unwrap_or_default();
        addresses.retain(|a| a.up);
        let mut interfaces: Vec<&str> =
            addresses.iter().filter(|a| !a.loopback).map(|a| a.interface.as_str()).collect();
        interfaces.dedup();
        let way = |address, interface| Way { address, interface, privileged };
        let (mut ways, mut further) = (VecDeque::new(), Vec::new());
        for door in self.doors {
            match *door {
                Door::At(ip) => {
                    ways.push_back(way(SocketAddr::new(ip, 80), None));
                    for interface in interfaces.iter().filter(|_| interfaces.len() > 1) {
                        further.push(way(SocketAddr::new(ip, 80), Some((*interface).to_owned())));
                    }
                }
                Door::OnLink(ip) => {
                    let link = |a: &&net::Local| matches!(a.ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
                    for local in addresses.iter().filter(link) {
                        let Ok(index) = if_nametoindex(local.interface.as_str()) else { continue };
                        ways.push_back(way(SocketAddrV6::new(ip, 80, 0, index).into(), None));
                    }
                }
            }
        }
        ways.extend(further);
        ways
    }
}

async fn attempt(way: Way, ask: &Ask<'_>) -> Result<(Line, Answer), Trouble> {
    let place = place(&way);
    let stream = match timeout(CONNECT, near::connect(&way)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Trouble::of(&error, &place)),
        Err(_) => return Err(Trouble::silent(format!("{place}: no connection within {} s", CONNECT.as_secs()))),
    };
    let broken = |error: hyper::Error| Trouble::Broken { why: format!("{place}: {error}") };
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Its errors come to who waits for the answer as well.
    tokio::spawn(async move { drop(connection.await) });
    let mut line = Line { way, sender };
    let answer = exchange(&mut line, ask).await?;
    Ok((line, answer))
}

/// For a person: the address, and the interface where it was chosen.
fn place(way: &Way) -> String {
    match &way.interface {
        Some(interface) => format!("{} through {interface}", way.address.ip()),
        None => way.address.ip().to_string(),
    }
}

async fn exchange(line: &mut Line, ask: &Ask<'_>) -> Result<Answer, Trouble> {
    let place = place(&line.way);
    match timeout(RESPONSE, exchanged(line, ask, &place)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Trouble::Unanswered { why: format!("{place}: no whole answer within {} s", RESPONSE.as_secs()) }),
    }
}

async fn exchanged(line: &mut Line, ask: &Ask<'_>, place: &str) -> Result<Answer, Trouble> {
    let broken = |error: hyper::Error| Trouble::Broken { why: format!("{place}: {}", answer::reason(&error)) };
    let host = match line.way.address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    let url = format!("http://{host}{}", ask.path);
    let mut request = Request::builder().method(ask.method).uri(ask.path).header(HOST, host);
    request = request.header(USER_AGENT, concat!("etcd-bootstrapper/", env!("CARGO_PKG_VERSION")));
    for (name, value) in ask.headers {
        request = request.header(*name, *value);
    }
    let request = request.body(String::new());
    let request = request.map_err(|error| {
        Trouble::Final(Exit::BadInput.because(format!("{} {url} cannot be asked for: {error}", ask.method)))
    })?;
    line.sender.ready().await.map_err(broken)?;
    let response = line.sender.send_request(request).await.map_err(broken)?;
    let (head, body) = response.into_parts();
    let too_long = || {
        let why = format!("{} {url} sends more than {} bytes: is this the platform's service?", ask.method, ask.most);
        Trouble::Final(Exit::BadInput.because(why))
    };
    if length(&head.headers, &CONTENT_LENGTH).is_some_and(|length| length > ask.most as u64) {
        return Err(too_long());
    }
    let bytes = read(body, ask.most).await.map_err(broken)?.ok_or_else(too_long)?;
    Ok(Answer { asked: format!("{} {url}", ask.method), status: head.status, headers: head.headers, bytes })
}

fn length(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The body; `None` when it is longer.
async fn read(mut body: Incoming, most: usize) -> Result<Option<Vec<u8>>, hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|waker| Pin::new(&mut body).poll_frame(waker)).await {
        if let Some(data) = frame?.data_ref() {
            if bytes.len() + data.len() > most {
                return Ok(None);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(Some(bytes))
}

/// Statuses that pass at every service: the machine is being started or moved, or it was asked too often.
pub fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}
