//! `discovery:` of the document: who lists the members of a group that come and go.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::document::PeerEntry;
use crate::member::{MemberName, PeerUrl, is_name_or_address};
use crate::spec::Problem;
use crate::store::{Credentials, Provider, check_credentials, check_endpoint};

/// The port of etcd's peers, where nobody says another one.
pub const PEER_PORT: u16 = 2380;

/// `discovery:` — exactly one of these.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// Absolute path of an inventory that something else keeps up to date on this host.
    File(String),
    /// The SRV records of a domain.
    DnsSrv(DnsSrv),
    /// DNS names, each of one member.
    Dns(DnsNames),
    /// An Auto Scaling group of EC2.
    AwsAsg(AwsAsg),
    /// The EC2 instances with certain tags.
    AwsTags(AwsTags),
    /// A managed instance group of Compute Engine.
    GceMig(GceMig),
    /// A virtual machine scale set of Azure.
    AzureVmss(AzureVmss),
}

/// `discovery.dns_srv:`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsSrv {
    /// The domain below which `_etcd-server-ssl._tcp` is.
    pub domain: String,
    /// What is behind `_etcd-server-ssl-`, as etcd's `--discovery-srv-name` has it.
    #[serde(default)]
    pub name: Option<String>,
}

impl DnsSrv {
    /// The name of the SRV records of members that speak TLS, or of those that do not.
    pub fn record(&self, tls: bool) -> String {
        let service = if tls { "_etcd-server-ssl" } else { "_etcd-server" };
        let suffix = self.name.as_ref().map_or_else(String::new, |name| format!("-{name}"));
        format!("{service}{suffix}._tcp.{}", self.domain.trim_end_matches('.')).to_ascii_lowercase()
    }
}

/// `discovery.dns:`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsNames {
    /// One name per member; each listens on port 2380.
    pub names: Vec<String>,
}

impl DnsNames {
    /// The same members as a list; who they are is known before anybody is asked.
    pub fn peers(&self) -> Vec<PeerEntry> {
        self.names.iter().filter_map(|name| entry(name)).collect()
    }
}

fn entry(name: &str) -> Option<PeerEntry> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if name.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let peer_url: PeerUrl = format!("https://{name}:{PEER_PORT}").parse().ok()?;
    Some(PeerEntry { name: name.parse::<MemberName>().ok()?, peer_url })
}

/// Where AWS is asked, and as whom.
#[derive(Clone)]
pub struct Amazon {
    /// The region, such as `eu-west-1`.
    pub region: String,
    /// Who answers instead of AWS itself.
    pub endpoint: Option<String>,
    /// Whether an endpoint may be `http://`.
    pub allow_http: bool,
    /// As whom; the instance's own identity without it.
    pub credentials: Credentials,
}

/// `discovery.aws_asg:`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsAsg {
    /// Its name; `auto`, or nothing, is the one that this instance is in.
    #[serde(default)]
    pub name: Option<String>,
    /// The hook on launches that `finish` completes; `auto` is the group's only one.
    #[serde(default)]
    pub launch_hook: Option<String>,
    region: String,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    allow_http: bool,
    #[serde(default)]
    credentials: Credentials,
}

impl AwsAsg {
    /// Where it is asked for.
    pub fn amazon(&self) -> Amazon {
        let AwsAsg { region, endpoint, allow_http, credentials, .. } = self.clone();
        Amazon { region, endpoint, allow_http, credentials }
    }
}

/// `discovery.aws_tags:`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsTags {
    /// Tags that an instance must have, all of them.
    pub tags: BTreeMap<String, String>,
    region: String,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    allow_http: bool,
    #[serde(default)]
    credentials: Credentials,
}

impl AwsTags {
    /// Where they are asked for.
    pub fn amazon(&self) -> Amazon {
        let AwsTags { region, endpoint, allow_http, credentials, .. } = self.clone();
        Amazon { region, endpoint, allow_http, credentials }
    }
}

/// `discovery.gce_mig:`.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GceMig {
    /// `projects/P/zones/Z/instanceGroupManagers/N`, or of a region; `auto`, or nothing, is the one that made this instance.
    #[serde(default)]
    pub name: Option<String>,
    /// Who answers instead of Compute Engine itself.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Whether an endpoint may be `http://`.
    #[serde(default)]
    pub allow_http: bool,
}

/// `discovery.azure_vmss:`.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureVmss {
    /// Its resource ID; `auto`, or nothing, is the set that this machine is in.
    #[serde(default)]
    pub id: Option<String>,
    /// Who answers instead of Azure Resource Manager itself.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Whether an endpoint may be `http://`.
    #[serde(default)]
    pub allow_http: bool,
}

/// Everything that cannot be meant, in a cluster of this size.
pub(crate) fn check(discovery: &Discovery, size: u8) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |path: &str, message: String| {
        problems.push(Problem { path: format!("discovery.{path}"), message });
    };
    match discovery {
        Discovery::File(file) if !file.starts_with('/') => {
            add("file", format!("{file:?} is not an absolute path: begin it with /"));
        }
        Discovery::File(_) => {}
        Discovery::DnsSrv(srv) => {
            if !is_domain(&srv.domain) {
                add("dns_srv.domain", format!("{:?} is not a domain: write it as in example.com", srv.domain));
            }
            if let Some(name) = srv.name.as_ref().filter(|name| !is_label(name)) {
                let why = format!("{name:?} cannot stand behind `_etcd-server-ssl-`: write 1 to 40 of a-z, 0-9 and -");
                add("dns_srv.name", why);
            }
        }
        Discovery::Dns(names) => {
            for (i, name) in names.names.iter().enumerate().filter(|(_, name)| entry(name).is_none()) {
                let why = "is not a DNS name of at most 64 characters: write the whole name, as in etcd-1.example.com";
                add(&format!("dns.names[{i}]"), format!("{name:?} {why}"));
            }
            let distinct: BTreeSet<_> = names.peers().into_iter().map(|peer| peer.name).collect();
            if distinct.len() != usize::from(size) {
                let have = distinct.len();
                add(
                    "dns.names",
                    format!("cluster.size is {size} and there are {have} different names: list every member"),
                );
            }
        }
        Discovery::AwsAsg(asg) => {
            if let Some(name) = asg.name.as_ref().filter(|name| name.is_empty() || name.len() > 255) {
                add("aws_asg.name", format!("{name:?} is no name of a group: write `auto`, or 1 to 255 characters"));
            }
            if let Some(name) = asg.launch_hook.as_ref().filter(|name| name.is_empty() || name.len() > 255) {
                add(
                    "aws_asg.launch_hook",
                    format!("{name:?} is no name of a hook: write `auto`, or 1 to 255 characters"),
                );
            }
            check_amazon("aws_asg", &asg.amazon(), &mut add);
        }
        Discovery::AwsTags(tags) => {
            if tags.tags.is_empty() {
                add("aws_tags.tags", "without a tag every instance would be a member: write {KEY: VALUE}".into());
            }
            check_amazon("aws_tags", &tags.amazon(), &mut add);
        }
        Discovery::GceMig(GceMig { name, endpoint, allow_http }) => {
            let bad = |name: &&String| *name != "auto" && !is_path(name, "projects/", "/instanceGroupManagers/");
            if let Some(name) = name.as_ref().filter(bad) {
                let why =
                    "is no managed instance group: write `auto`, or projects/P/zones/Z/instanceGroupManagers/NAME";
                add("gce_mig.name", format!("{name:?} {why}"));
            }
            if let Some(endpoint) = endpoint {
                check_endpoint(endpoint, *allow_http, &mut |why| add("gce_mig.endpoint", why));
            }
        }
        Discovery::AzureVmss(AzureVmss { id, endpoint, allow_http }) => {
            let sets = "/providers/Microsoft.Compute/virtualMachineScaleSets/";
            let bad = |id: &&String| *id != "auto" && !is_path(id, "/subscriptions/", sets);
            if let Some(id) = id.as_ref().filter(bad) {
                let why = "is no scale set: write `auto`, or its resource ID, /subscriptions/S/resourceGroups/R";
                add("azure_vmss.id", format!("{id:?} {why}{sets}NAME"));
            }
            if let Some(endpoint) = endpoint {
                check_endpoint(endpoint, *allow_http, &mut |why| add("azure_vmss.endpoint", why));
            }
        }
    }
    problems
}

fn check_amazon(kind: &str, amazon: &Amazon, add: &mut dyn FnMut(&str, String)) {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(4..=32).contains(&amazon.region.len()) || !amazon.region.bytes().all(letters) {
        add(&format!("{kind}.region"), format!("{:?} is no region: write it as in eu-west-1", amazon.region));
    }
    if let Some(endpoint) = &amazon.endpoint {
        check_endpoint(endpoint, amazon.allow_http, &mut |why| add(&format!("{kind}.endpoint"), why));
    }
    check_credentials(Provider::S3, &amazon.credentials, &mut |key, why| {
        add(&format!("{kind}.credentials{key}"), why);
    });
}

/// Whether a text is a path of plain names that begins so, and has so much in it before its last name.
fn is_path(text: &str, begins: &str, inside: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b':' | b'(' | b')');
    let last = text.rsplit_once(inside).map_or("", |(_, last)| last);
    text.starts_with(begins)
        && text.bytes().all(plain)
        && !text.contains("..")
        && !last.is_empty()
        && !last.contains('/')
}

fn is_domain(text: &str) -> bool {
    let text = text.trim_end_matches('.');
    text.len() <= 200 && is_name_or_address(text) && text.parse::<std::net::IpAddr>().is_err()
}

fn is_label(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.ends_with('-')
}
