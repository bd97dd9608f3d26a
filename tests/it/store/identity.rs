//! Stores that are asked as the instance itself: what each provider's metadata service demands and hands out is from its
//! public documentation, and the bucket lets nobody in who has not got that.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::scratch::until;
use crate::world::World;

/// A request's line and headers, in lower case but for what stands behind a colon.
struct Asked(Vec<String>);

impl Asked {
    fn read(stream: &TcpStream) -> Option<Asked> {
        let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let mut head: Vec<String> = lines.collect();
        for line in head.iter_mut().skip(1) {
            let (name, value) = line.split_once(':')?;
            *line = format!("{}: {}", name.to_lowercase(), value.trim());
        }
        (!head.is_empty()).then_some(Asked(head))
    }

    fn is(&self, line: &str) -> bool {
        self.0[0].starts_with(line)
    }

    fn has(&self, header: &str) -> bool {
        self.0[1..].iter().any(|line| line.starts_with(header))
    }
}

/// A status and a body.
type Answer = (u16, String);

/// The metadata services and credential endpoints of all clouds, in one.
fn identity(asked: &Asked) -> Answer {
    let keys = |token: &str| {
        format!(
            "{{\"Code\": \"Success\", \"LastUpdated\": \"2026-11-21T03:00:00Z\", \"Type\": \"AWS-HMAC\", \
             \"RoleArn\": \"arn\", \"AccessKeyId\": \"AKIDROLE\", \"SecretAccessKey\": \"secret\", \
             \"Token\": \"{token}\", \"Expiration\": \"2099-01-01T00:00:00Z\"}}"
        )
    };
    let role = "GET /latest/meta-data/iam/security-credentials/";
    let session = asked.has("x-aws-ec2-metadata-token: of-imds");
    if asked.is("PUT /latest/api/token ") && asked.has("x-aws-ec2-metadata-token-ttl-seconds: ") {
        (200, "of-imds".into())
    } else if asked.is(role) && !session {
        (401, String::new())
    } else if asked.is(&format!("{role} ")) {
        (200, "etcd".into())
    } else if asked.is(&format!("{role}etcd ")) {
        (200, keys("of-ec2"))
    } else if asked.is("GET /v2/credentials/of-the-task ") {
        (200, keys("of-ecs"))
    } else if asked.is("GET /v1/credentials ") && asked.has("authorization: of-the-pod") {
        (200, keys("of-eks"))
    } else if asked.is("GET /computeMetadata/v1/instance/service-accounts/default/token")
        && asked.has("metadata-flavor: Google")
    {
        (200, r#"{"access_token": "of-gce", "expires_in": 3600, "token_type": "Bearer"}"#.into())
    } else if asked.is("GET /metadata/identity/oauth2/token?") && asked.has("metadata: true") {
        (200, r#"{"access_token": "of-azure", "expires_on": "4102444800", "token_type": "Bearer"}"#.into())
    } else {
        (404, String::new())
    }
}

/// An empty bucket of every provider's, which nobody may write; notes whom it let in.
fn bucket(asked: &Asked, entered: &Mutex<BTreeSet<&'static str>>) -> Answer {
    let signed = asked.has("authorization: AWS4-HMAC-SHA256 Credential=AKIDROLE/");
    let of = |token: &str| signed && asked.has(&format!("x-amz-security-token: {token}"));
    let bearer = |token: &str| asked.has(&format!("authorization: Bearer {token}"));
    let who = ["of-ec2", "of-ecs", "of-eks"].into_iter().find(|token| of(token));
    let who = who.or_else(|| ["of-gce", "of-azure"].into_iter().find(|token| bearer(token)));
    let Some(who) = who.filter(|_| asked.is("GET ")) else {
        return (403, "<Error><Code>AccessDenied</Code><Message>who is that</Message></Error>".into());
    };
    entered.lock().expect("no test has panicked here").insert(who);
    match who {
        "of-azure" => (200, "<EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>".into()),
        _ => (200, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".into()),
    }
}

/// Serves until the test ends.
fn serve(listener: TcpListener, answer: impl Fn(&Asked) -> Answer + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let Some(asked) = Asked::read(&stream) else { continue };
            let (status, body) = answer(&asked);
            let _the_other_end_may_be_gone = write!(
                stream,
                "HTTP/1.1 {status} said\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: \
                 close\r\n\r\n{body}",
                body.len()
            );
        }
    });
}

/// A host at whose link-local addresses the services answer, and whom its bucket has let in.
fn instance(services: &[&'static str]) -> (World, Arc<Mutex<BTreeSet<&'static str>>>) {
    let world = World::new(1);
    let host = &world.hosts[0];
    host.resolves("169.254.169.254 metadata.google.internal\n");
    for address in services {
        host.has(address, true);
        let at: &'static str = address;
        serve(host.inside(async move || TcpListener::bind((at, 80)).expect("an address")), identity);
    }
    let entered = Arc::new(Mutex::default());
    let noted = entered.clone();
    let listener = host.inside(async || TcpListener::bind("127.0.0.1:9000").expect("a port"));
    serve(listener, move |asked| bucket(asked, &noted));
    (world, entered)
}

/// Runs `run` with this store until it is so.
fn runs_until(world: &World, store: &str, variables: &[(&str, &str)], so: impl Fn(&str) -> bool) {
    let endpoint = "endpoint: \"http://127.0.0.1:9000\", allow_http: true";
    let host = &world.hosts[0];
    host.configure(&format!("{}store: {{{store}, {endpoint}}}\n", world.config()));
    let log = world.dir.join("run.log");
    let said = File::create(&log).expect("a log");
    let mut run = host.program(&["run"]);
    let mut run = run.envs(variables.iter().copied()).stderr(said).spawn().expect("run runs");
    until(&format!("{store} {variables:?}"), || so(&std::fs::read_to_string(&log).expect("a log")).then_some(()));
    run.kill().and_then(|()| run.wait()).expect("it ends");
}

#[test]
fn a_store_is_asked_as_the_instance_that_this_host_is() {
    let (world, entered) = instance(&["169.254.169.254", "169.254.170.2", "169.254.170.23"]);
    let token = world.dir.join("token");
    std::fs::write(&token, "of-the-pod").expect("a token");
    let token = token.to_str().expect("a path");
    let pod = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token),
    ];
    let s3 = "url: \"s3://bucket/prod\"";
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, &str, Variables<'_>); 5] = [
        ("of-ec2", s3, &[]),
        ("of-ecs", s3, &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/of-the-task")]),
        ("of-eks", s3, &pod),
        ("of-gce", "url: \"gs://bucket/prod\"", &[]),
        ("of-azure", "url: \"az://container/prod\", credentials: {account: ours}", &[]),
    ];
    for (who, store, variables) in cases {
        runs_until(&world, store, variables, |_| entered.lock().expect("nobody has panicked").contains(who));
    }
}

#[test]
fn an_instance_without_an_identity_is_told_what_to_give_it() {
    let (world, _) = instance(&[]);
    let why = "this instance's own identity is not known, as 169.254.169.254 says";
    runs_until(&world, "url: \"s3://bucket/prod\"", &[], |said| {
        said.contains(why) && said.contains("or write `store.credentials`")
    });
}
