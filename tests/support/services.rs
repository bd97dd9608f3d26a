//! The services of the platforms as their documentation has them, and machines that they launched.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::wire::{Asked, Reply, Service, service};

/// A fixed user-data of ours, in every fake.
pub const USER_DATA: &str =
    "#cloud-config\nwrite_files:\n- path: /etc/etcd-bootstrapper/config.yaml\n  content: |\n    CANARY\n";

/// The instance's firmware, as its platform writes it.
pub const EC2: &[(&str, &str)] =
    &[("sys_vendor", "Amazon EC2\n"), ("bios_vendor", "Amazon EC2\n"), ("board_asset_tag", "i-0123456789abcdef0\n")];
pub const GCE: &[(&str, &str)] = &[("product_name", "Google Compute Engine\n")];
pub const AZURE: &[(&str, &str)] = &[
    ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n"),
    ("product_uuid", "2D1C3A8F-AA11-BB22-8899-0123456789AB\n"),
];
pub const OPENSTACK: &[(&str, &str)] =
    &[("product_name", "OpenStack Nova\n"), ("product_uuid", "83679162-1378-4288-a2d4-70e13ec132aa\n")];
pub const DIGITALOCEAN: &[(&str, &str)] = &[("sys_vendor", "DigitalOcean\n"), ("product_serial", "2756294\n")];
pub const HETZNER: &[(&str, &str)] = &[("sys_vendor", "Hetzner\n"), ("product_serial", "42\n")];
pub const VULTR: &[(&str, &str)] = &[("sys_vendor", "Vultr\n"), ("product_serial", "42506325\n")];
pub const ORACLE: &[(&str, &str)] = &[("chassis_asset_tag", "OracleCloud.com\n")];
pub const AKAMAI: &[(&str, &str)] = &[("sys_vendor", "Akamai\n")];
pub const SCALEWAY: &[(&str, &str)] = &[("sys_vendor", "Scaleway\n")];

/// Where EC2 has the keys of an instance's role.
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// Versions of EC2's service that cloud-init tries.
const DATES: [&str; 4] = ["2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23"];
/// What an instance's directory has.
const CRAWLED: &str = "instance-id\nlocal-hostname\nlocal-ipv4\nnetwork/\nplacement/";

/// What may be said of an EC2 instance.
#[derive(Clone, Default)]
pub struct Ec2 {
    pub user_data: Option<Vec<u8>>,
    pub tags: Vec<(&'static str, String)>,
    /// Its ID, if it is another than all others'.
    pub id: Option<String>,
    /// The MAC and the address of its card, for whoever makes its network.
    pub card: Option<(String, String)>,
    /// Requests that a token is good for.
    pub uses: Option<usize>,
    /// The role whose keys it hands out.
    pub role: Option<&'static str>,
    /// All of it, for who walks through it; an object is a directory.
    pub tree: Option<Value>,
    /// Other answers, by the path, before anything else is looked at.
    pub other: Option<fn(&Asked) -> Option<Reply>>,
}

impl Ec2 {
    pub fn with(user_data: &str) -> Ec2 {
        Ec2 { user_data: Some(user_data.into()), ..Ec2::default() }
    }

    /// IMDSv2 alone; by Amazon's page "Use the Instance Metadata Service to access instance metadata".
    pub fn serve(self) -> Service {
        // Tokens, and how often each was used.
        let tokens: Mutex<Vec<usize>> = Mutex::default();
        service(move |asked| {
            if let Some(reply) = self.other.and_then(|other| other(asked)) {
                return reply;
            }
            if asked.method == "PUT" {
                let ttl = asked.header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|ttl| ttl.parse().ok());
                return match ttl {
                    _ if asked.path != "/latest/api/token" => Reply::new(403, ""),
                    _ if asked.header("x-forwarded-for").is_some() => Reply::new(403, ""),
                    Some(1..=21600u32) => {
                        let mut tokens = tokens.lock().expect("tokens");
                        tokens.push(0);
                        Reply::new(200, format!("AQAAA-token-{}==", tokens.len()))
                    }
                    Some(_) | None => Reply::new(400, ""),
                };
            }
            let token = asked.header("x-aws-ec2-metadata-token").unwrap_or_default();
            let number = token.strip_prefix("AQAAA-token-").and_then(|t| t.strip_suffix("=="));
            let number = number.and_then(|number| number.parse::<usize>().ok());
            let mut tokens = tokens.lock().expect("tokens");
            let Some(used) = number.and_then(|number| tokens.get_mut(number - 1)) else { return Reply::new(401, "") };
            *used += 1;
            if self.uses.is_some_and(|uses| *used > uses) {
                return Reply::new(401, "");
            }
            self.get(&asked.path)
        })
    }

    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or("i-0123456789abcdef0")
    }

    fn get(&self, path: &str) -> Reply {
        // By one of its dates the service is the same, though younger dates have more.
        let path = match path[1..].split_once('/') {
            Some((date, rest)) if DATES.contains(&date) => &format!("/latest/{rest}"),
            Some(_) | None => path,
        };
        if let Some(reply) = self.tree.as_ref().and_then(|tree| walked(tree, path)) {
            return reply;
        }
        let tags = "/latest/meta-data/tags/instance";
        if let Some(reply) = self.card.as_ref().and_then(|card| self.crawled(path.strip_prefix("/latest/")?, card)) {
            return reply;
        }
        match path {
            "/latest/dynamic/instance-identity/document" => Reply::new(
                200,
                json!({"instanceId": self.id(), "region": "eu-west-1", "availabilityZone": "eu-west-1a",
                    "privateIp": "10.0.0.5", "accountId": "123456789012", "pendingTime": "2026-11-21T10:00:00Z",
                    "architecture": "x86_64", "kernelId": null})
                .to_string(),
            ),
            "/latest/user-data" => match &self.user_data {
                Some(text) => Reply::new(200, text.clone()).with("Content-Type", "application/octet-stream"),
                None => Reply::new(404, "<?xml version=\"1.0\"?><html><title>404 - Not Found</title></html>"),
            },
            "/latest/meta-data/local-hostname" => {
                Reply::new(200, "ip-10-0-0-5.eu-west-1.compute.internal. other.example")
            }
            "/latest/meta-data/ipv6" => Reply::new(200, "2a05:d018::5"),
            _ if path.starts_with(ROLES) => self.role(&path[ROLES.len()..]),
            _ if self.tags.is_empty() => Reply::new(404, ""),
            _ if path == tags => {
                let keys: Vec<&str> = self.tags.iter().map(|(key, _)| *key).collect();
                Reply::new(200, keys.join("\n"))
            }
            _ => {
                let key = path.strip_prefix(tags).and_then(|key| key.strip_prefix('/'));
                let found = self.tags.iter().find(|(name, _)| Some(*name) == key);
                found.map_or_else(|| Reply::new(404, ""), |(_, value)| Reply::new(200, value.clone()))
            }
        }
    }

    /// What cloud-init asks beside what we ask: directories, as lists of what is in them, and the card.
    fn crawled(&self, path: &str, (mac, address): &(String, String)) -> Option<Reply> {
        let card = format!("meta-data/network/interfaces/macs/{mac}/");
        let text = match path.strip_prefix(&card) {
            Some("") => "device-number\nlocal-ipv4s\nmac\nsubnet-ipv4-cidr-block\nvpc-id".to_owned(),
            Some("device-number") => "0".into(),
            Some("local-ipv4s") => address.clone(),
            Some("mac") => mac.clone(),
            Some("subnet-ipv4-cidr-block") => "10.77.0.0/24".into(),
            Some("vpc-id") => "vpc-0123456789abcdef0".into(),
            Some(_) => return None,
            None => match path {
                "meta-data/" if self.tags.is_empty() => CRAWLED.to_owned(),
                "meta-data/" => format!("{CRAWLED}\ntags/"),
                "meta-data/instance-id" => self.id().into(),
                "meta-data/local-ipv4" => address.clone(),
                "meta-data/network/" => "interfaces/".into(),
                "meta-data/network/interfaces/" => "macs/".into(),
                "meta-data/network/interfaces/macs/" => format!("{mac}/"),
                "meta-data/placement/" => "availability-zone".into(),
                "meta-data/placement/availability-zone" => "eu-west-1a".into(),
                "meta-data/tags/" if !self.tags.is_empty() => "instance/".into(),
                "meta-data/tags/instance/" => return Some(self.get("/latest/meta-data/tags/instance")),
                "dynamic/instance-identity" | "dynamic/instance-identity/" => "document".into(),
                _ => return None,
            },
        };
        Some(Reply::new(200, text))
    }

    /// By Amazon's page "Retrieve security credentials from instance metadata".
    fn role(&self, asked: &str) -> Reply {
        match self.role {
            Some(role) if asked.is_empty() => Reply::new(200, role),
            Some(role) if asked == role => Reply::new(
                200,
                json!({"Code": "Success", "LastUpdated": "2026-11-21T03:00:00Z", "Type": "AWS-HMAC",
                    "AccessKeyId": "AKIDROLE", "SecretAccessKey": "CANARY", "Token": "CANARY",
                    "Expiration": "2099-01-01T00:00:00Z"})
                .to_string(),
            ),
            Some(_) | None => Reply::new(404, ""),
        }
    }
}

/// What is at this path of any version, by Amazon's page "Access instance metadata"; nothing, where the tree ends before.
fn walked(tree: &Value, path: &str) -> Option<Reply> {
    let (_version, below) = path.strip_prefix('/')?.split_once('/')?;
    let at = below.split('/').filter(|name| !name.is_empty()).try_fold(tree, |at, name| at.get(name))?;
    Some(match at {
        Value::Object(entries) => {
            let line = |(name, entry): (&String, &Value)| format!("{name}{}", if entry.is_object() { "/" } else { "" });
            Reply::new(200, entries.iter().map(line).collect::<Vec<_>>().join("\n"))
        }
        other => Reply::new(200, other.as_str().unwrap_or_default()),
    })
}

/// By Google's page "View and query VM metadata".
pub fn gce(user_data: &str) -> Service {
    let user_data = user_data.to_owned();
    service(move |asked| {
        let flavor = |reply: Reply| reply.with("Metadata-Flavor", "Google").with("Server", "Metadata Server for VM");
        if asked.header("x-forwarded-for").is_some() || asked.header("metadata-flavor") != Some("Google") {
            return flavor(Reply::new(403, "Missing Metadata-Flavor:Google header"));
        }
        // Not by json!: no double holds this number.
        let id = "18446744073709551615";
        let attributes = json!({"user-data": user_data, "etcd-bootstrapper": "mode: join\n",
            "created-by": "projects/123/zones/europe-west1-b/instanceGroupManagers/etcd"});
        let (hostname, zone) = ("etcd-a1.europe-west1-b.c.p.internal", "projects/123/zones/europe-west1-b");
        // cloud-init asks for one after the other.
        let text = match asked.path.strip_prefix("/computeMetadata/v1/") {
            Some("instance/?recursive=true&alt=json") => None,
            Some("instance/id") => Some(id.to_owned()),
            Some("instance/zone") => Some(zone.to_owned()),
            Some("instance/hostname") => Some(hostname.to_owned()),
            Some("instance/attributes/?recursive=True") => Some(attributes.to_string()),
            Some("project/attributes/?recursive=True") => Some("{}".to_owned()),
            Some(_) | None => return flavor(Reply::new(404, "")),
        };
        if let Some(text) = text {
            return flavor(Reply::new(200, text));
        }
        let interfaces =
            json!([{"ip": "10.132.0.2", "ipv6": "2600:1900::/96", "ipv6s": ["2600:1900::1"], "mac": "42:01"}]);
        flavor(Reply::new(
            200,
            format!(
                r#"{{"id":{id},"name":"etcd-a1","hostname":"{hostname}","zone":"{zone}","tags":["etcd"],"attributes":{attributes},"networkInterfaces":{interfaces}}}"#
            ),
        ))
    })
}

/// By Microsoft's page "Azure Instance Metadata Service".
pub fn azure(user_data: &str, newest: &'static str) -> Service {
    let user_data = user_data.to_owned();
    service(move |asked| {
        let query = asked.path.split_once("api-version=").map(|(_, rest)| rest.split('&').next().unwrap_or_default());
        if asked.header("metadata") != Some("true") || asked.header("x-forwarded-for").is_some() {
            return Reply::new(400, r#"{"error":"Bad request. Required metadata header not specified"}"#);
        }
        let Some(version) = query.filter(|version| *version <= newest) else {
            return Reply::new(
                400,
                r#"{"error":"Bad request. api-version is invalid or was not specified in the request."}"#,
            );
        };
        if !asked.path.starts_with("/metadata/instance?") {
            return Reply::new(404, "");
        }
        let user_data = if version < "2021-01-01" { String::new() } else { base64(&user_data) };
        let address = |ip: &str| json!({"ipAddress": [{"privateIpAddress": ip, "publicIpAddress": ""}]});
        Reply::new(
            200,
            json!({"compute": {"vmId": "8f3a1c2d-11aa-22bb-8899-0123456789ab", "name": "etcd_0", "location": "westeurope",
                "zone": "2", "osProfile": {"computerName": "etcd000000"}, "userData": user_data, "customData": "",
                "vmScaleSetName": "etcd", "resourceGroupName": "rg", "subscriptionId": "00000000-1111",
                "tagsList": [{"name": "etcd-bootstrapper:mode", "value": "join"}, {"name": "team", "value": "infra"}]},
                "network": {"interface": [{"macAddress": "000D3A", "ipv4": address("10.1.0.4"), "ipv6": address("fd00::4")}]}})
            .to_string(),
        )
    })
}

/// By OpenStack Nova's page "Metadata".
pub fn openstack(user_data: &'static str) -> Service {
    service(move |asked| match asked.path.as_str() {
        "/openstack/latest/meta_data.json" => Reply::new(
            200,
            json!({"uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "name": "etcd-1", "hostname": "etcd-1.novalocal",
                "availability_zone": "nova", "launch_index": 0, "project_id": "p", "random_seed": "CANARY",
                "meta": {"etcd-bootstrapper:cluster.size": "3", "admin_pass": "CANARY"}})
            .to_string(),
        ),
        "/openstack/latest/user_data" if !user_data.is_empty() => Reply::new(200, user_data),
        "/openstack/latest/network_data.json" => Reply::new(
            200,
            json!({"networks": [{"type": "ipv4", "ip_address": "192.168.0.7"}, {"type": "ipv4_dhcp"}]}).to_string(),
        ),
        "/openstack/latest/vendor_data.json" => Reply::new(200, "{}"),
        _ => Reply::new(404, ""),
    })
}

/// By DigitalOcean's page "Metadata API".
pub fn digitalocean(user_data: &'static str) -> Service {
    service(move |asked| {
        match asked.path.as_str() {
        "/metadata/v1.json" => Reply::new(
            200,
            json!({"droplet_id": 2756294, "hostname": "etcd-1", "region": "nyc3", "tags": ["etcd"], "user_data": user_data,
                "interfaces": {"private": [{"ipv4": {"ip_address": "10.132.255.113"}, "type": "private"}],
                    "public": [{"ipv4": {"ip_address": "104.131.20.105"}, "ipv6": {"ip_address": "2604:A880:0800:0010:0000:0000:017D:2001"}}]}})
            .to_string(),
        ),
        _ => Reply::new(404, ""),
    }
    })
}

/// By Hetzner's page "Server Metadata"; 204 is how it says that there is no user-data.
pub fn hetzner(user_data: &'static str) -> Service {
    service(move |asked| match asked.path.as_str() {
        "/hetzner/v1/metadata" => Reply::new(
            200,
            "availability-zone: fsn1-dc14\nhostname: etcd-1\ninstance-id: 42\nlocal-ipv4: ''\npublic-ipv4: 116.203.0.1\n\
             public-keys: []\nregion: eu-central\nvendor_data: |\n  Content-Type: multipart/mixed\n  MIME-Version: 1.0\n",
        ),
        "/hetzner/v1/metadata/private-networks" => Reply::new(
            200,
            "- ip: 10.0.0.2\n  alias_ips: []\n  interface_num: 1\n  mac_address: 86:00:00\n  network_id: 1234\n",
        ),
        "/hetzner/v1/userdata" if user_data.is_empty() => Reply::new(204, ""),
        "/hetzner/v1/userdata" => Reply::new(200, user_data),
        _ => Reply::new(404, ""),
    })
}

/// As cloud-init asks Vultr: without the token there is no user-data in the document.
pub fn vultr(user_data: &'static str) -> Service {
    service(move |asked| {
        let mut document = json!({"instanceid": "42506325", "instance-v2-id": "c2c38f6c-2cdb-4a27-9ed8-1b6d2d9f2a7e",
            "hostname": "etcd-1", "region": {"regioncode": "EWR"}, "tags": ["etcd"],
            "interfaces": [{"network-type": "public", "ipv4": {"address": "108.61.89.242"}, "ipv6": {"address": "2001:19f0::1"}},
                {"network-type": "private", "ipv4": {"address": "10.1.112.3"}}]});
        if asked.header("metadata-token") == Some("cloudinit") {
            document["user-data"] = user_data.into();
        }
        if asked.path == "/v1.json" { Reply::new(200, document.to_string()) } else { Reply::new(404, "") }
    })
}

/// By Oracle's page "Getting Instance Metadata": without the header the second version answers nobody.
pub fn oracle(user_data: &'static str) -> Service {
    service(move |asked| {
        if asked.header("authorization") != Some("Bearer Oracle") || asked.header("x-forwarded-for").is_some() {
            return Reply::new(404, "");
        }
        match asked.path.as_str() {
            "/opc/v2/instance/" => Reply::new(
                200,
                json!({"id": "ocid1.instance.oc1.phx.abc", "displayName": "etcd 1", "hostname": "etcd-1",
                    "availabilityDomain": "EMIr:PHX-AD-1", "faultDomain": "FAULT-DOMAIN-3", "region": "phx",
                    "canonicalRegionName": "us-phoenix-1", "freeformTags": {"etcd-bootstrapper:mode": "join"},
                    "definedTags": {"ops": {"team": "infra"}}, "metadata": {"user_data": base64(user_data)}})
                .to_string(),
            ),
            "/opc/v2/vnics/" => Reply::new(
                200,
                json!([{"privateIp": "10.0.3.6", "ipv6Addresses": ["2603::6"], "macAddr": "00:00"}]).to_string(),
            ),
            _ => Reply::new(404, ""),
        }
    })
}

/// By Akamai's page "Metadata service API".
pub fn akamai(user_data: &'static str) -> Service {
    service(move |asked| {
        if asked.method == "PUT" {
            let expiry = asked.header("metadata-token-expiry-seconds").and_then(|expiry| expiry.parse::<u32>().ok());
            return match (asked.path.as_str(), expiry) {
                ("/v1/token", Some(1..=86400)) => Reply::new(200, "b249b8ba\n"),
                _ => Reply::new(400, ""),
            };
        }
        if asked.header("metadata-token") != Some("b249b8ba") {
            return Reply::new(401, "");
        }
        let json = asked.header("accept") == Some("application/json");
        match asked.path.as_str() {
            "/v1/instance" if json => Reply::new(
                200,
                json!({"id": 12345, "label": "etcd-1", "region": "us-iad", "tags": ["etcd"]}).to_string(),
            ),
            "/v1/network" if json => Reply::new(
                200,
                json!({"ipv4": {"private": ["192.168.139.188/17"], "public": ["172.233.0.1/32"], "shared": []},
                    "ipv6": {"slaac": "2600:3c05::1/128", "ranges": []}})
                .to_string(),
            ),
            "/v1/instance" | "/v1/network" => Reply::new(200, "id: 12345\n"),
            "/v1/user-data" if user_data.is_empty() => Reply::new(404, ""),
            "/v1/user-data" => Reply::new(200, base64(user_data)),
            _ => Reply::new(404, ""),
        }
    })
}

/// By Scaleway's page "Use user-data": only root of the machine is told, which is who has a port below 1024.
pub fn scaleway(user_data: &'static str) -> Service {
    service(move |asked| {
        match asked.path.as_str() {
        "/conf?format=json" => Reply::new(
            200,
            json!({"id": "9fe7a4a8-1c5b-4a2b-8f8d-0123456789ab", "name": "etcd-1", "hostname": "etcd-1", "tags": ["etcd"],
                "location": {"zone_id": "fr-par-1"}, "private_ip": "10.194.3.9", "ipv6": {"address": "2001:bc8::1"}})
            .to_string(),
        ),
        "/user_data/cloud-init" if asked.from.port() >= 1024 => Reply::new(403, ""),
        "/user_data/cloud-init" if !user_data.is_empty() => Reply::new(200, user_data),
        _ => Reply::new(404, ""),
    }
    })
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
