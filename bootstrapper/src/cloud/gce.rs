//! A managed instance group of Compute Engine (docs: instanceGroupManagers, instances, zoneOperations of the v1 API).
//!
//! The group's own list says nothing of whom it has deleted, and `TERMINATED` is what Compute Engine calls an instance that
//! is merely stopped. Gone is only whom a finished operation `delete` without an error names by its number: numbers are never
//! given twice, names are. Compute Engine keeps operations for two weeks or more.

use std::net::IpAddr;

use plan::discovery::{GceMig, PEER_PORT};
use plan::facts::Instance;
use plan::member::{MemberName, PeerUrl};
use plan::spec::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::rest::{Method, Rest};
use super::{FRESH, Listing, Trouble};
use crate::exit::Exit;
use crate::metadata::providers::Provider;
use crate::paths::Paths;

/// Who answers where the spec names nobody else.
const ENDPOINT: &str = "https://compute.googleapis.com";

/// The metadata service, by its address: its name needs a name server.
pub(super) const METADATA: &str = "http://169.254.169.254/computeMetadata/v1/instance";

/// What the metadata service wants to see, and shows itself.
pub(super) const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

/// Everything that is ever asked; the role in docs/policies allows exactly this.
pub const PERMISSIONS: [&str; 3] =
    ["compute.instanceGroupManagers.get", "compute.instances.get", "compute.zoneOperations.list"];

/// How many pages a list may have.
const PAGES: usize = 20;

/// A managed instance group.
pub struct Mig {
    rest: Rest,
    metadata: String,
    named: Option<String>,
    group: OnceCell<String>,
}

impl Mig {
    pub(super) fn of(entry: &GceMig, paths: &Paths) -> Mig {
        let endpoint = entry.endpoint.clone().unwrap_or_else(|| ENDPOINT.into());
        Mig::at(entry, Rest::of(endpoint, paths).on(Provider::Gce), METADATA.into())
    }

    pub(super) fn at(entry: &GceMig, rest: Rest, metadata: String) -> Mig {
        let named = entry.name.clone().filter(|name| name != "auto");
        Mig { rest, metadata, named, group: OnceCell::new() }
    }

    pub(super) fn place(&self) -> String {
        let name = self.named.as_ref().or(self.group.get()).map_or("of this instance", String::as_str);
        format!("the managed instance group {name}")
    }

    pub(super) async fn list(&self) -> Result<Listing, Trouble> {
        let group = self.group().await?;
        let token = token(&self.rest, &self.metadata).await?;
        let managed = self.managed(group, &token).await?;
        let mut instances: Vec<Instance> = Vec::new();
        let mut zones: Vec<String> = Vec::new();
        for one in &managed {
            let zone = zone_of(&one.instance);
            zones.extend(zone.filter(|zone| !zones.contains(zone)));
            instances.push(self.instance(one, &token).await?);
        }
        zones.extend(zone_of(group).filter(|zone| !zones.contains(zone)));
        for zone in &zones {
            for id in self.deleted(zone, &token).await? {
                if !instances.iter().any(|i| i.id == id) {
                    instances.push(Instance { id, peer_url: None, terminated: true, launched: None });
                }
            }
        }
        Ok(Listing { instances, fresh: FRESH })
    }

    /// `projects/P/zones/Z/instanceGroupManagers/N`, or of a region.
    async fn group(&self) -> Result<&str, Trouble> {
        if let Some(named) = &self.named {
            return Ok(named);
        }
        let find = || async {
            let text = self.metadata("attributes/created-by").await?;
            let text = text.trim().trim_start_matches('/').to_owned();
            let why = || {
                let why = format!(
                    "the metadata service says that {text:?} made this instance, which is no managed instance group: write `discovery.gce_mig.name`"
                );
                Trouble::new(Exit::BadInput, why)
            };
            if text.starts_with("projects/") && text.contains("/instanceGroupManagers/") {
                Ok(text)
            } else {
                Err(why())
            }
        };
        self.group.get_or_try_init(find).await.map(String::as_str)
    }

    async fn metadata(&self, what: &str) -> Result<String, Trouble> {
        self.rest.metadata(&format!("{}/{what}", self.metadata), FLAVOR, Some(FLAVOR)).await
    }

    async fn managed(&self, group: &str, token: &str) -> Result<Vec<Managed>, Trouble> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            #[serde(default)]
            managed_instances: Vec<Managed>,
            next_page_token: Option<String>,
        }
        let path = format!("/compute/v1/{group}/listManagedInstances");
        let pages = self
            .pages(Method::Post, &path, "", PERMISSIONS[0], token, |page: &Page| page.next_page_token.clone())
            .await?;
        Ok(pages.into_iter().flat_map(|page| page.managed_instances).collect())
    }

    /// One of the group, with its address once it has one.
    async fn instance(&self, managed: &Managed, token: &str) -> Result<Instance, Trouble> {
        let bare = |id: &str| Ok(Instance { id: named(id)?, peer_url: None, terminated: false, launched: None });
        let Some(id) = managed.id.as_ref().filter(|id| !id.is_empty()) else {
            return bare(managed.instance.rsplit('/').next().unwrap_or_default());
        };
        let Some(at) = managed.instance.find("/projects/") else {
            return Err(Trouble::new(
                Exit::Unavailable,
                format!("Compute Engine names an instance {:?}", managed.instance),
            ));
        };
        let path = format!("/compute/v1{}", &managed.instance[at..]);
        let found: Option<Described> = self.rest.get(Method::Get, &path, PERMISSIONS[1], token).await?;
        let Some(found) = found else { return bare(id) };
        // Recreated under its name between two questions: what was listed has no address any more.
        if found.id != *id {
            return bare(id);
        }
        let first = found.network_interfaces.first();
        let address = first.and_then(|i| i.network_ip.as_ref().filter(|a| !a.is_empty()).or(i.ipv6_address.as_ref()));
        let address = address.and_then(|address| address.parse::<IpAddr>().ok());
        Ok(Instance {
            id: named(id)?,
            peer_url: address.map(|address| PeerUrl::of(address, PEER_PORT)),
            terminated: false,
            launched: found.creation_timestamp,
        })
    }

    /// Numbers of the instances that were deleted in a zone, `projects/P/zones/Z`.
    async fn deleted(&self, zone: &str, token: &str) -> Result<Vec<MemberName>, Trouble> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            #[serde(default)]
            items: Vec<Operation>,
            next_page_token: Option<String>,
        }
        let path = format!("/compute/v1/{zone}/operations");
        let query = "filter=operationType%3D%22delete%22";
        let pages = self
            .pages(Method::Get, &path, query, PERMISSIONS[2], token, |page: &Page| page.next_page_token.clone())
            .await?;
        let all = pages.into_iter().flat_map(|page| page.items);
        all.filter(Operation::is_the_end_of_an_instance).filter_map(|o| o.target_id).map(|id| named(&id)).collect()
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &str,
        permission: &str,
        token: &str,
        next: impl Fn(&T) -> Option<String>,
    ) -> Result<Vec<T>, Trouble> {
        let mut pages: Vec<T> = Vec::new();
        let mut at: Option<String> = None;
        loop {
            let and = at.as_ref().map_or_else(String::new, |at| format!("pageToken={}", super::http::encoded(at)));
            let queries: Vec<&str> = [query, and.as_str()].into_iter().filter(|q| !q.is_empty()).collect();
            let with = if queries.is_empty() { path.to_owned() } else { format!("{path}?{}", queries.join("&")) };
            let page: Option<T> = self.rest.get(method, &with, permission, token).await?;
            let Some(page) = page else {
                let why = format!("{path} is not there: look at `discovery.gce_mig.name`");
                return Err(Trouble::new(Exit::TryAgain, why));
            };
            let further = next(&page).filter(|token| !token.is_empty());
            pages.push(page);
            match further {
                None => return Ok(pages),
                Some(_) if further == at || pages.len() == PAGES => {
                    return Err(Trouble::new(
                        Exit::Unavailable,
                        format!("{path} does not come to an end of its pages"),
                    ));
                }
                Some(_) => at = further,
            }
        }
    }
}

/// A token of the instance's service account.
///
/// # Errors
/// When the metadata service gives none.
pub(super) async fn token(rest: &Rest, metadata: &str) -> Result<String, Trouble> {
    #[derive(Deserialize)]
    struct Token {
        access_token: String,
    }
    let text = rest.metadata(&format!("{metadata}/service-accounts/default/token"), FLAVOR, Some(FLAVOR)).await?;
    let token: Token = serde_json::from_str(&text).map_err(|_| {
        Trouble::new(Exit::Unavailable, "the metadata service hands out what is no token of a service account")
    })?;
    Ok(token.access_token)
}

fn named(id: &str) -> Result<MemberName, Trouble> {
    id.parse().map_err(|why| Trouble::new(Exit::Unavailable, format!("Compute Engine names an instance {id:?}: {why}")))
}

/// `projects/P/zones/Z` of a URL or path in it.
fn zone_of(path: &str) -> Option<String> {
    let from = &path[path.find("projects/")?..];
    let parts: Vec<&str> = from.splitn(5, '/').collect();
    (parts.get(2) == Some(&"zones") && parts.len() > 4).then(|| parts[..4].join("/"))
}

#[derive(Deserialize)]
struct Managed {
    /// A 64-bit number, which JSON has as a text.
    id: Option<String>,
    instance: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    id: String,
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    network_interfaces: Vec<Interface>,
}

#[derive(Deserialize)]
struct Interface {
    #[serde(rename = "networkIP")]
    network_ip: Option<String>,
    #[serde(rename = "ipv6Address")]
    ipv6_address: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    status: String,
    operation_type: String,
    target_link: Option<String>,
    target_id: Option<String>,
    error: Option<serde::de::IgnoredAny>,
}

impl Operation {
    fn is_the_end_of_an_instance(&self) -> bool {
        self.status == "DONE"
            && self.operation_type == "delete"
            && self.error.is_none()
            && self.target_link.as_ref().is_some_and(|link| link.contains("/instances/"))
    }
}
