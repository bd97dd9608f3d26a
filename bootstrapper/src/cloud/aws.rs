//! The query APIs of AWS: signed requests, and refusals by what they mean to whoever runs the fleet.

use std::time::Duration;

use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::HttpRequest;
use plan::discovery::Amazon;
use reqwest::header::HeaderValue;
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::{Trouble, http};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::secrets::Near;
use crate::store;

/// What allows the actions below.
const POLICY: &str = "docs/policies/aws.json";

/// How many pages an answer may have; a group of members has one.
const PAGES: usize = 50;

/// Everything that is ever asked of AWS; the policy in docs/policies allows exactly this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Which group an instance is in.
    DescribeAutoScalingInstances,
    /// Whom a group has.
    DescribeAutoScalingGroups,
    /// Addresses and states of instances.
    DescribeInstances,
    /// Which hooks a group has.
    DescribeLifecycleHooks,
    /// A launch is still at work.
    RecordLifecycleActionHeartbeat,
    /// A launch is over.
    CompleteLifecycleAction,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 6] = [
        Action::DescribeAutoScalingInstances,
        Action::DescribeAutoScalingGroups,
        Action::DescribeInstances,
        Action::DescribeLifecycleHooks,
        Action::RecordLifecycleActionHeartbeat,
        Action::CompleteLifecycleAction,
    ];

    /// As an IAM policy names it.
    pub fn permission(self) -> String {
        format!("{}:{}", self.service(), self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Action::DescribeAutoScalingInstances => "DescribeAutoScalingInstances",
            Action::DescribeAutoScalingGroups => "DescribeAutoScalingGroups",
            Action::DescribeInstances => "DescribeInstances",
            Action::DescribeLifecycleHooks => "DescribeLifecycleHooks",
            Action::RecordLifecycleActionHeartbeat => "RecordLifecycleActionHeartbeat",
            Action::CompleteLifecycleAction => "CompleteLifecycleAction",
        }
    }

    fn service(self) -> &'static str {
        match self {
            Action::DescribeAutoScalingInstances
            | Action::DescribeAutoScalingGroups
            | Action::DescribeLifecycleHooks
            | Action::RecordLifecycleActionHeartbeat
            | Action::CompleteLifecycleAction => "autoscaling",
            Action::DescribeInstances => "ec2",
        }
    }

    /// Version of the API that its service is asked in.
    fn version(self) -> &'static str {
        match self.service() {
            "ec2" => "2016-11-15",
            _ => "2011-01-01",
        }
    }
}

/// An operation of an API that speaks JSON.
pub(super) struct Target {
    /// As its endpoint and its signatures name it.
    pub service: &'static str,
    /// Such as `secretsmanager.GetSecretValue`.
    pub operation: &'static str,
    /// As an IAM policy names it.
    pub permission: &'static str,
    /// What allows it.
    pub policy: &'static str,
}

/// One region, as this instance or as whom the spec says.
pub(super) struct Aws {
    entry: Amazon,
    paths: Paths,
    opened: OnceCell<Opened>,
    #[cfg(any(test, feature = "fuzzing"))]
    scripted: Option<http::Script>,
}

struct Opened {
    client: reqwest::Client,
    credentials: AwsCredentialProvider,
}

/// A page, and what to ask the next one with.
pub(super) trait Page {
    fn token(&self) -> Option<&str>;
}

impl Aws {
    pub(super) fn of(entry: Amazon, paths: &Paths) -> Aws {
        Aws {
            entry,
            paths: paths.clone(),
            opened: OnceCell::new(),
            #[cfg(any(test, feature = "fuzzing"))]
            scripted: None,
        }
    }

    /// One that nobody asks: these are its answers.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn scripted(self, answers: http::Script) -> Aws {
        Aws { scripted: Some(answers), ..self }
    }

    pub(super) fn region(&self) -> &str {
        &self.entry.region
    }

    /// All pages of an answer.
    ///
    /// # Errors
    /// When any of them is missing.
    pub(super) async fn pages<P: Page + DeserializeOwned>(
        &self,
        action: Action,
        about: &str,
        parameters: &[(String, String)],
    ) -> Result<Vec<P>, Trouble> {
        let mut pages: Vec<P> = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut with = parameters.to_vec();
            with.extend(token.clone().map(|token| ("NextToken".to_owned(), token)));
            let page: P = self.ask(action, about, &with).await?;
            let next = page.token().filter(|token| !token.is_empty()).map(str::to_owned);
            pages.push(page);
            match next {
                None => return Ok(pages),
                Some(_) if next == token || pages.len() == PAGES => {
                    let text = format!("{} about {about} does not come to an end of its pages", action.permission());
                    return Err(Trouble::new(Exit::Unavailable, text));
                }
                Some(_) => token = next,
            }
        }
    }

    /// One answer to one request.
    ///
    /// # Errors
    /// Whatever is no answer, in words.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        action: Action,
        about: &str,
        parameters: &[(String, String)],
    ) -> Result<T, Trouble> {
        let place = format!("{} about {about} in {}", action.permission(), self.entry.region);
        #[cfg(any(test, feature = "fuzzing"))]
        if let Some(answers) = &self.scripted {
            let (status, body) = answers.next();
            return understood(action, &place, &Said { status, after: None, date: None }, &body);
        }
        let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let response = self.send(action.service(), POLICY, &place, form(action, parameters), &headers).await?;
        let said = Said::of(&response);
        let body = http::body(response).await.map_err(|why| unavailable(&place, &why))?;
        understood(action, &place, &said, &body)
    }

    /// What an API says that speaks JSON (docs.aws.amazon.com, "AWS JSON 1.1 protocol" of Smithy); no text of the answer is
    /// in any error.
    ///
    /// # Errors
    /// Whatever is no answer, in words.
    pub(super) async fn json(&self, target: &Target, about: &str, body: String) -> Result<String, Trouble> {
        let place = format!("{} about {about} in {}", target.permission, self.entry.region);
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.operation)];
        let response = self.send(target.service, target.policy, &place, body, &headers).await?;
        let said = Said::of(&response);
        let body = http::body(response).await.map_err(|why| unavailable(&place, &why))?;
        if said.status == 200 { Ok(body) } else { Err(refused_in_json(target, &place, &said, &body)) }
    }

    async fn send(
        &self,
        service: &'static str,
        policy: &str,
        place: &str,
        body: String,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Response, Trouble> {
        let opened = self.opened(place).await?;
        let credential = opened.credentials.get_credential().await.map_err(|error| {
            let text = format!(
                "{place}: as whom to ask is not known: {error}; give the instance a profile with the policy of {policy}, or \
                 write `credentials` where the configuration has them"
            );
            Trouble::new(Exit::Permission, text)
        })?;
        let url = self.url(service).map_err(|why| unavailable(place, &why))?;
        let mut request = HttpRequest::new(body.clone().into());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.as_str().parse().map_err(|e| unavailable(place, &format!("cannot be asked: {e}")))?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        AwsAuthorizer::new(&credential, service, &self.entry.region)
            .try_authorize(&mut request, None)
            .map_err(|error| unavailable(place, &format!("cannot be signed: {error}")))?;
        let request = opened.client.post(url).headers(request.headers().clone()).body(body);
        request.timeout(http::SILENCE).send().await.map_err(|error| unavailable(place, &http::why(error)))
    }

    async fn opened(&self, place: &str) -> Result<&Opened, Trouble> {
        let open = || async {
            let clear = self.entry.endpoint.as_ref().is_some_and(|e| e.starts_with("http://"));
            let client = http::client(&self.paths, clear)?;
            let mut near = Near::once(&self.paths);
            let credentials = near.credentials(&self.entry.credentials, "discovery").await?;
            let credentials = store::amazon(&self.entry.region, &credentials, &self.paths)?;
            anyhow::Ok(Opened { client, credentials })
        };
        self.opened
            .get_or_try_init(open)
            .await
            .map_err(|error| Trouble::new(Exit::of(&error), format!("{place}: {error:#}")))
    }

    fn url(&self, service: &str) -> Result<Url, String> {
        let region = &self.entry.region;
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let usual = || format!("https://{service}.{region}.{domain}/");
        let text = self.entry.endpoint.as_ref().map_or_else(usual, |endpoint| format!("{endpoint}/"));
        Url::parse(&text).map_err(|error| format!("{text} is no URL: {error}"))
    }
}

fn form(action: Action, parameters: &[(String, String)]) -> String {
    let mut text = format!("Action={}&Version={}", action.name(), action.version());
    for (name, value) in parameters {
        text += &format!("&{}={}", http::encoded(name), http::encoded(value));
    }
    text
}

/// What a response says beside its body.
struct Said {
    status: u16,
    after: Option<Duration>,
    date: Option<String>,
}

impl Said {
    fn of(response: &Response) -> Said {
        Said {
            status: response.status().as_u16(),
            after: http::retry_after(response),
            date: response.headers().get("date").and_then(|d| d.to_str().ok()).map(str::to_owned),
        }
    }
}

/// EC2 has `Errors`, Auto Scaling has `Error`.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Error")]
    error: Option<Fault>,
    #[serde(rename = "Errors")]
    errors: Option<Faults>,
}

#[derive(Deserialize)]
struct Faults {
    #[serde(rename = "Error")]
    error: Fault,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

fn understood<T: DeserializeOwned>(action: Action, place: &str, said: &Said, body: &str) -> Result<T, Trouble> {
    if !(200..300).contains(&said.status) {
        return Err(refused(action, place, said, body));
    }
    quick_xml::de::from_str(body)
        .map_err(|error| unavailable(place, &format!("answered what is no such answer: {error}")))
}

fn unavailable(place: &str, why: &str) -> Trouble {
    Trouble::new(Exit::Unavailable, format!("{place}: {why}"))
}

/// A refusal of the query APIs.
fn refused(action: Action, place: &str, said: &Said, body: &str) -> Trouble {
    let fault = quick_xml::de::from_str::<Refusal>(body).ok();
    let fault = fault.and_then(|refusal| refusal.error.or(refusal.errors.map(|errors| errors.error)));
    let fault = fault.unwrap_or_else(|| Fault { code: String::new(), message: String::new() });
    let asked = Asked { place, permission: &action.permission(), policy: POLICY, look: "look at `discovery`" };
    meant(&asked, said, &fault)
}

/// The same of the APIs that speak JSON, whose codes may have a name space before a `#`.
fn refused_in_json(target: &Target, place: &str, said: &Said, body: &str) -> Trouble {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Refusal {
        #[serde(rename = "__type")]
        kind: String,
        #[serde(alias = "Message")]
        message: String,
    }
    let Refusal { kind, message } = serde_json::from_str(body).unwrap_or_default();
    let code = kind.rsplit('#').next().unwrap_or_default().to_owned();
    let look = "look at its name and its region";
    let asked = Asked { place, permission: target.permission, policy: target.policy, look };
    meant(&asked, said, &Fault { code, message })
}

/// What was asked, as far as a refusal needs to say it.
struct Asked<'a> {
    place: &'a str,
    permission: &'a str,
    policy: &'static str,
    look: &'static str,
}

/// What a refusal means, by its code (docs.aws.amazon.com, "Common Errors" of each API).
fn meant(asked: &Asked<'_>, said: &Said, Fault { code, message }: &Fault) -> Trouble {
    let (place, status) = (asked.place, said.status);
    let answer = if code.is_empty() { format!("HTTP {status}") } else { format!("{code}: {}", http::short(message)) };
    let trouble =
        |exit, what: &str| Trouble { exit, text: format!("{place} was answered {answer}; {what}"), after: said.after };
    let allow = || format!("allow {} to the role of this instance: {}", asked.permission, asked.policy);
    match code.as_str() {
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" | "OptInRequired" => {
            trouble(Exit::Permission, &allow())
        }
        "RequestExpired" | "SignatureDoesNotMatch" | "InvalidSignatureException" | "RequestTimeTooSkewed" => {
            let theirs = said.date.as_ref().map_or_else(String::new, |date| format!(", and it is {date} there"));
            let what = format!(
                "a wrong clock does that: this host's must be right to 5 minutes{theirs}; else the secret key is wrong"
            );
            trouble(Exit::TryAgain, &what)
        }
        "AuthFailure"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidAccessKeyId"
        | "ExpiredTokenException" => trouble(
            Exit::Permission,
            "the keys are not known there, or have ended: look at the instance profile or `credentials`",
        ),
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "ServiceUnavailable"
        | "Unavailable"
        | "InternalError"
        | "InternalFailure" => trouble(Exit::TryAgain, "it is asked again later"),
        "ResourceNotFoundException" | "ParameterNotFound" | "ParameterVersionNotFound" => {
            trouble(Exit::Unavailable, &format!("there is none: {}", asked.look))
        }
        _ if matches!(status, 401 | 403) => trouble(Exit::Permission, &allow()),
        _ if status == 429 || status >= 500 => trouble(Exit::TryAgain, "it is asked again later"),
        _ => trouble(Exit::Unavailable, &format!("it is asked again; {}", asked.look)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_what_it_means() {
        let ec2 = |code: &str| {
            format!("<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>")
        };
        let asg = |code: &str| {
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"
            )
        };
        for (status, body, exit, why) in [
            (403, ec2("UnauthorizedOperation"), Exit::Permission, "allow ec2:DescribeInstances to the role"),
            (403, asg("AccessDenied"), Exit::Permission, "AccessDenied: m; allow ec2:DescribeInstances"),
            (403, String::new(), Exit::Permission, "HTTP 403; allow ec2:DescribeInstances"),
            (401, ec2("AuthFailure"), Exit::Permission, "the keys are not known there"),
            (400, asg("Throttling"), Exit::TryAgain, "asked again later"),
            (503, ec2("RequestLimitExceeded"), Exit::TryAgain, "asked again later"),
            (503, "<html>".into(), Exit::TryAgain, "HTTP 503; it is asked again later"),
            (
                400,
                ec2("RequestExpired"),
                Exit::TryAgain,
                "a wrong clock does that: this host's must be right to 5 minutes, and it is Sat",
            ),
            (403, asg("SignatureDoesNotMatch"), Exit::TryAgain, "a wrong clock does that"),
            (
                400,
                asg("ValidationError"),
                Exit::Unavailable,
                "ValidationError: m; it is asked again; look at `discovery`",
            ),
        ] {
            let said = Said { status, after: None, date: Some("Sat, 21 Nov 2026 18:00:00 GMT".into()) };
            let trouble = refused(Action::DescribeInstances, "x", &said, &body);
            assert!(trouble.text.contains(why) && trouble.exit == exit, "{why}: {trouble:?}");
        }
    }
}
