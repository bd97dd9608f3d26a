//! A bucket on loopback that is atomic: it speaks as much of S3 and of Google's dialect of it as a store of ours needs,
//! and fails as it is told. Emulators of Google's know no preconditions, and those of S3 are not atomic.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::digest;
use tokio::net::TcpListener;

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered with this status and this body, and not carried out.
    Refused(u16, &'static str),
    /// It is carried out, and the connection is cut before the answer.
    CutAfter,
    /// It is carried out, and answered with this status.
    DoneBut(u16),
    /// Before it is carried out, another host writes this object.
    AfterAnother(Vec<u8>),
}

/// Faults in the order in which requests of a method come; a `None` goes well.
type Planned = BTreeMap<&'static str, Vec<Option<Fault>>>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, (Bytes, u64)>,
    /// Parts of what is not whole yet, by key and number.
    parts: BTreeMap<(String, u32), Bytes>,
    generation: u64,
    planned: Planned,
    /// A server that takes the headers of a condition for nothing.
    unconditional: bool,
    /// There is no such bucket.
    missing: bool,
    /// The same fault for each request of this method from here on.
    always: BTreeMap<&'static str, Fault>,
}

/// A bucket called `bucket`.
#[derive(Clone)]
pub struct Bucket {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Bucket {
    /// Serves until this process ends.
    pub async fn serve() -> Bucket {
        Bucket::of(std::net::TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// Serves on a socket of some host's network until this process ends.
    pub fn of(listener: std::net::TcpListener) -> Bucket {
        let bucket = Bucket { state: Arc::default(), address: listener.local_addr().expect("an address") };
        let serving = bucket.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("a socket");
                serving.accept(TcpListener::from_std(listener).expect("a socket")).await
            })
        });
        bucket
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let bucket = self.clone();
            let service = service_fn(move |request| bucket.clone().answer(request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    /// Where it answers.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests of this method go wrong like this, one after another.
    pub fn plan(&self, method: &'static str, faults: Vec<Option<Fault>>) {
        self.state().planned.insert(method, faults);
    }

    /// All requests of this method go wrong like this.
    pub fn always(&self, method: &'static str, fault: Fault) {
        self.state().always.insert(method, fault);
    }

    pub fn takes_conditions_for_nothing(&self) {
        self.state().unconditional = true;
    }

    pub fn is_missing(&self) {
        self.state().missing = true;
    }

    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.state().write(key, bytes.into());
    }

    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.state().objects.get(key).map(|(bytes, _)| bytes.clone())
    }

    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no test has panicked here")
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Broken> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        let key = parts.uri.path().trim_start_matches('/').strip_prefix("bucket").unwrap_or_default();
        // Google's dialect escapes whatever is not a letter or a digit.
        let key =
            key.trim_start_matches('/').replace("%2F", "/").replace("%2E", ".").replace("%2D", "-").replace("%5F", "_");
        let mut state = self.state();
        let method = parts.method.as_str();
        let planned = state.planned.iter_mut().find(|(of, left)| **of == method && !left.is_empty());
        let fault = planned.and_then(|(_, left)| left.remove(0));
        let fault = fault.or_else(|| state.always.iter().find(|(of, _)| **of == method).map(|(_, f)| f.clone()));
        let header = |name: &str| parts.headers.get(name).map(|v| v.to_str().expect("text").to_owned());
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let act = |state: &mut State| state.act(&parts.method, &key, &query, &header, body.clone());
        Ok(match fault {
            None => act(&mut state),
            Some(Fault::Refused(status, body)) => said(status, body),
            Some(Fault::CutAfter) => {
                act(&mut state);
                return Err(Broken);
            }
            Some(Fault::DoneBut(status)) => {
                act(&mut state);
                said(status, "<Error><Code>InternalError</Code><Message>try again</Message></Error>")
            }
            Some(Fault::AfterAnother(bytes)) => {
                state.write(&key, bytes.into());
                act(&mut state)
            }
        })
    }
}

impl State {
    fn write(&mut self, key: &str, bytes: Bytes) {
        self.generation += 1;
        self.objects.insert(key.to_owned(), (bytes, self.generation));
    }

    fn act(
        &mut self,
        method: &Method,
        key: &str,
        query: &str,
        header: &dyn Fn(&str) -> Option<String>,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        if self.missing {
            return said(404, "<Error><Code>NoSuchBucket</Code><Message>The bucket does not exist</Message></Error>");
        }
        if *method == Method::GET && query.contains("list-type=2") {
            return self.list(query);
        }
        let now = self.objects.get(key).cloned();
        let query_of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        if let Some(part) = query_of("partNumber") {
            let tag = found(Bytes::new(), 0).with_tag_of(&body);
            self.parts.insert((key.to_owned(), part.parse().expect("a number")), body);
            return tag;
        }
        match *method {
            Method::POST if query.starts_with("uploads") => {
                said(200, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
            }
            Method::POST => {
                let whole: Vec<u8> = self.parts_of(key).into_iter().flatten().collect();
                self.write(key, whole.into());
                said(200, "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>")
            }
            Method::DELETE if query_of("uploadId").is_some() => {
                self.parts_of(key);
                said(204, "")
            }
            Method::GET | Method::HEAD => match now {
                Some((bytes, generation)) => found(bytes, generation),
                None => said(404, "<Error><Code>NoSuchKey</Code><Message>The key does not exist</Message></Error>"),
            },
            Method::DELETE => {
                self.objects.remove(key);
                said(204, "")
            }
            Method::PUT if !self.unconditional && !holds(now.as_ref(), header) => {
                said(412, "<Error><Code>PreconditionFailed</Code><Message>It does not hold</Message></Error>")
            }
            Method::PUT => {
                self.write(key, body.clone());
                found(Bytes::new(), self.generation).with_tag_of(&body)
            }
            _ => said(405, ""),
        }
    }

    /// Takes them away, in their order.
    fn parts_of(&mut self, key: &str) -> Vec<Bytes> {
        let (theirs, others) = std::mem::take(&mut self.parts).into_iter().partition(|((of, _), _)| of == key);
        self.parts = others;
        let theirs: BTreeMap<(String, u32), Bytes> = theirs;
        theirs.into_values().collect()
    }

    fn list(&self, query: &str) -> Response<Full<Bytes>> {
        let prefix = query.split('&').find_map(|p| p.strip_prefix("prefix=")).unwrap_or_default().replace("%2F", "/");
        let delimited = query.contains("delimiter=");
        let (mut objects, mut below) = (String::new(), Vec::new());
        for (key, (bytes, _)) in self.objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            match key[prefix.len()..].split_once('/').filter(|_| delimited) {
                Some((directory, _)) => below.push(format!("{prefix}{directory}/")),
                None => {
                    let (size, tag) = (bytes.len(), etag(bytes));
                    objects += &format!(
                        "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>{tag}</ETag>\
                         <LastModified>2026-11-21T03:00:00.000Z</LastModified></Contents>"
                    );
                }
            }
        }
        below.dedup();
        let below: String =
            below.iter().map(|p| format!("<CommonPrefixes><Prefix>{p}</Prefix></CommonPrefixes>")).collect();
        said(200, &format!("<ListBucketResult><IsTruncated>false</IsTruncated>{objects}{below}</ListBucketResult>"))
    }
}

/// Whether the condition of a write holds: S3's by ETag, Google's by generation.
fn holds(now: Option<&(Bytes, u64)>, header: &dyn Fn(&str) -> Option<String>) -> bool {
    let absent = header("if-none-match").is_none_or(|_| now.is_none());
    let same = header("if-match").is_none_or(|tag| now.is_some_and(|(bytes, _)| etag(bytes) == tag));
    let generation = header("x-goog-if-generation-match");
    let generation = generation.is_none_or(|g| g == now.map_or(0, |(_, generation)| *generation).to_string());
    absent && same && generation
}

fn etag(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    format!("\"{}\"", hash.as_ref()[..16].iter().map(|b| format!("{b:02x}")).collect::<String>())
}

fn found(bytes: Bytes, generation: u64) -> Response<Full<Bytes>> {
    let mut response = said(200, "").with_tag_of(&bytes);
    response.headers_mut().insert("x-goog-generation", generation.into());
    *response.body_mut() = Full::new(bytes);
    response
}

trait WithTag {
    fn with_tag_of(self, bytes: &[u8]) -> Self;
}

impl WithTag for Response<Full<Bytes>> {
    fn with_tag_of(mut self, bytes: &[u8]) -> Self {
        self.headers_mut().insert("etag", etag(bytes).parse().expect("a header"));
        self
    }
}

fn said(status: u16, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    let date = "Sat, 21 Nov 2026 03:00:00 GMT".parse().expect("a header");
    response.headers_mut().insert("last-modified", date);
    response
}

/// Cuts the connection: hyper answers nothing after an error of the service.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut as it was told to")
    }
}

impl std::error::Error for Broken {}
