//! What of a value's place cannot be meant.

use std::net::IpAddr;

use crate::source::{Keeper, KeptSecret, Source};
use crate::store::check_endpoint;

/// Which key of a source cannot be meant, and why; no URL and no text is quoted.
pub(crate) fn misplaced(source: &Source) -> Option<(&'static str, String)> {
    match source {
        Source::File { file } if !file.starts_with('/') => {
            Some(("file", format!("{file:?} is not an absolute path: begin it with /")))
        }
        Source::Credential { credential }
            if credential.is_empty() || credential.starts_with('.') || credential.contains('/') =>
        {
            let why = format!("{credential:?} is not the name of a credential: it has no / and no leading dot");
            Some(("credential", why))
        }
        Source::Url(remote) => bad_url(remote.url.reveal()).map(|why| ("url", why.to_owned())),
        Source::Kept(kept) => misnamed(kept),
        Source::File { .. } | Source::Credential { .. } | Source::Inline(_) => None,
    }
}

fn bad_url(url: &str) -> Option<&'static str> {
    const FORM: &str = "write https://HOST/PATH, or file:///PATH for a file of this host";
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some("it has a blank or a line break in it: remove it");
    }
    if let Some(path) = url.strip_prefix("file://") {
        return (!path.starts_with('/') || path.len() == 1).then_some(FORM);
    }
    let Some(rest) = url.strip_prefix("https://") else {
        let clear = url.starts_with("http://");
        let why = "it is http, over which anybody on the way can read a secret and answer in its place: use https";
        return Some(if clear { why } else { FORM });
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("it has a user or a password in it, which is not supported: use a presigned URL");
    }
    if authority.is_empty() || rest.contains('#') {
        return Some(FORM);
    }
    is_of_the_link(host(authority))
        .then_some("its host is of this machine's own link, where no secret is kept: name another one")
}

/// Of `host:port`, as it stands in a URL.
fn host(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Whether an `https` URL leads to an address of the link alone.
pub(crate) fn leads_to_the_link(url: &str) -> bool {
    let rest = url.split_once("://").filter(|(scheme, _)| scheme.eq_ignore_ascii_case("https")).map(|(_, rest)| rest);
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    is_of_the_link(host(authority.rsplit('@').next().unwrap_or_default()))
}

/// Whether an address is of the link alone, as those of metadata services are.
pub fn is_of_the_link(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => {
            v6.to_ipv4_mapped().is_some_and(|v4| v4.is_link_local())
                || v6.segments()[0] & 0xffc0 == 0xfe80
                || v6.segments()[..2] == [0xfd00, 0x0ec2]
        }
        Err(_) => false,
    }
}

/// Resource and region of an ARN.
pub(crate) fn arn(name: &str) -> Option<(&str, &str)> {
    let mut parts = name.splitn(6, ':');
    let (scheme, _, _, region, _, resource) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (scheme == "arn").then_some((resource, region))
}

fn misnamed(kept: &KeptSecret) -> Option<(&'static str, String)> {
    let key = kept.keeper.key();
    let bad = |form: &str| Some((key, format!("{:?} is not the name of one: write {form}", kept.name)));
    let made_of = |text: &str, further: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || further.contains(c))
    };
    let wrong = match kept.keeper {
        Keeper::AwsSecret if !made_of(&kept.name, "/_+=.@-:!") => bad("the secret's name or its ARN"),
        Keeper::AwsParameter if !made_of(&kept.name, "/_.-:") => bad("the parameter's name or its ARN"),
        Keeper::GcpSecret if !is_of_google(&kept.name) => {
            bad("SECRET, projects/PROJECT/secrets/SECRET or the same with /versions/VERSION behind it")
        }
        Keeper::AzureSecret if azure(&kept.name).is_none() => {
            bad("its identifier, https://VAULT.vault.azure.net/secrets/NAME")
        }
        Keeper::AwsSecret | Keeper::AwsParameter | Keeper::GcpSecret | Keeper::AzureSecret => None,
    };
    if wrong.is_some() {
        return wrong;
    }
    let of_aws = |region: &&String| {
        (4..=32).contains(&region.len())
            && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if kept.region.as_ref().filter(|region| !of_aws(region)).is_some() {
        return Some(("region", "it is no region such as eu-west-1: correct it".into()));
    }
    if let (Some(region), Some((_, of_arn))) = (&kept.region, arn(&kept.name))
        && region != of_arn
    {
        return Some(("region", format!("the ARN is of {of_arn}: remove one of both")));
    }
    let mut why = None;
    match &kept.endpoint {
        Some(endpoint) => check_endpoint(endpoint, kept.allow_http, &mut |text| why = Some(("endpoint", text))),
        None if kept.allow_http => {
            why = Some(("allow_http", "there is no `endpoint` to which it applies: remove it".into()));
        }
        None => {}
    }
    let field = kept.field.as_ref().filter(|field| field.is_empty() || field.chars().any(char::is_control));
    why.or_else(|| field.map(|_| ("field", "it is the key of a value in JSON: write one".into())))
}

fn is_of_google(name: &str) -> bool {
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c));
    let parts: Vec<&str> = name.split('/').collect();
    let (secret, version) = match parts.as_slice() {
        [rest @ .., "versions", version] => (rest, plain(version)),
        rest => (rest, true),
    };
    let secret = match secret {
        [secret] => plain(secret) && parts.len() == 1,
        ["projects", project, "secrets", secret] => plain(project) && plain(secret),
        ["projects", project, "locations", location, "secrets", secret] => {
            plain(project) && plain(location) && plain(secret)
        }
        _ => false,
    };
    secret && version
}

/// Clouds of Microsoft, by the ends of their vaults' names (learn.microsoft.com, "Azure Key Vault keys, secrets, and
/// certificates overview").
const VAULTS: [&str; 3] = ["vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net"];

/// The vault's host, for whom a token must be, and the path of a secret's identifier.
pub fn azure(identifier: &str) -> Option<(&str, String, &str)> {
    let rest = identifier.strip_prefix("https://")?;
    let at = rest.find('/')?;
    let (host, path) = rest.split_at(at);
    let (vault, cloud) = host.split_once('.')?;
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let of = VAULTS.into_iter().find(|of| cloud == *of).filter(|_| plain(vault))?;
    let mut parts = path.strip_prefix("/secrets/")?.split('/');
    let named = plain(parts.next()?) && parts.next().is_none_or(plain) && parts.next().is_none();
    named.then(|| (host, format!("https://{of}"), path))
}
