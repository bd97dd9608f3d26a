//! A virtual machine scale set (docs: Virtual Machine Scale Set VMs, Network Interfaces of Azure Resource Manager).
//!
//! Nobody is ever called gone: the list has no word for a machine that was deleted, `Deleting` may still run, `deallocated`
//! may come back, and 404 is what Azure answers of whom it does not know, too. So a member of a scale set is replaced by a
//! machine at its address, or after a person has removed it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use plan::discovery::{AzureVmss, PEER_PORT};
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

/// Who answers where the spec names nobody else, and for whom a token is asked.
const ENDPOINT: &str = "https://management.azure.com";

pub(super) const METADATA: &str = "http://169.254.169.254/metadata";

/// What the metadata service wants to see.
const HEADER: (&str, &str) = ("Metadata", "true");

/// Versions of the two APIs, and of the set's cards, which both have a hand in: those are refused in any of the second's
/// that is not the first's too (reference of `NetworkInterfaces_ListVirtualMachineScaleSetNetworkInterfaces`).
const COMPUTE: &str = "2024-07-01";
const NETWORK: &str = "2024-05-01";
const CARDS: &str = "2018-10-01";

/// Everything that is ever asked; the role in docs/policies allows exactly this.
pub const PERMISSIONS: [&str; 3] = [
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read",
    "Microsoft.Compute/virtualMachineScaleSets/networkInterfaces/read",
    "Microsoft.Network/networkInterfaces/read",
];

/// How many pages a list may have.
const PAGES: usize = 20;

/// A scale set.
pub struct Vmss {
    rest: Rest,
    metadata: String,
    named: Option<String>,
    set: OnceCell<String>,
}

impl Vmss {
    pub(super) fn of(entry: &AzureVmss, paths: &Paths) -> Vmss {
        let endpoint = entry.endpoint.clone().unwrap_or_else(|| ENDPOINT.into());
        Vmss::at(entry, Rest::of(endpoint, paths).on(Provider::Azure), METADATA.into())
    }

    pub(super) fn at(entry: &AzureVmss, rest: Rest, metadata: String) -> Vmss {
        let named = entry.id.clone().filter(|id| id != "auto");
        Vmss { rest, metadata, named, set: OnceCell::new() }
    }

    pub(super) fn place(&self) -> String {
        let id = self.named.as_ref().or(self.set.get()).map_or("of this instance", String::as_str);
        format!("the scale set {id}")
    }

    pub(super) async fn list(&self) -> Result<Listing, Trouble> {
        let set = self.set().await?;
        let token = token(&self.rest, &self.metadata, "https://management.azure.com/").await?;
        let machines: Vec<Machine> =
            self.pages(&format!("{set}/virtualMachines?api-version={COMPUTE}"), PERMISSIONS[0], &token).await?;
        let cards: Vec<Card> =
            self.pages(&format!("{set}/networkInterfaces?api-version={CARDS}"), PERMISSIONS[1], &token).await?;
        let mut addresses: BTreeMap<String, IpAddr> = cards.iter().filter_map(Card::address_of).collect();
        let mut instances: Vec<Instance> = Vec::new();
        for machine in machines {
            let key = machine.id.to_ascii_lowercase();
            if !addresses.contains_key(&key)
                && let Some(address) = self.own_card(&machine, &token).await?
            {
                addresses.insert(key.clone(), address);
            }
            let id: MemberName = machine.properties.vm_id.to_ascii_lowercase().parse().map_err(|why| {
                Trouble::new(Exit::Unavailable, format!("Azure names a machine {:?}: {why}", machine.properties.vm_id))
            })?;
            instances.push(Instance {
                id,
                peer_url: addresses.get(&key).map(|address| PeerUrl::of(*address, PEER_PORT)),
                terminated: false,
                launched: machine.properties.time_created,
            });
        }
        Ok(Listing { instances, fresh: FRESH })
    }

    /// Resource ID of the set.
    async fn set(&self) -> Result<&str, Trouble> {
        if let Some(named) = &self.named {
            return Ok(named);
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Compute {
            subscription_id: String,
            resource_group_name: String,
            #[serde(default)]
            vm_scale_set_name: String,
        }
        let find = || async {
            let url = format!("{}/instance/compute?api-version=2021-02-01&format=json", self.metadata);
            let text = self.rest.metadata(&url, HEADER, None).await?;
            let bad = |why: String| Trouble::new(Exit::BadInput, format!("{why}: write `discovery.azure_vmss.id`"));
            let compute: Compute = serde_json::from_str(&text).map_err(|error| {
                bad(format!("the metadata service does not say which scale set this is in ({error})"))
            })?;
            if compute.vm_scale_set_name.is_empty() {
                return Err(bad("the metadata service says that this machine is in no scale set".into()));
            }
            Ok(format!(
                "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Compute/virtualMachineScaleSets/{}",
                compute.subscription_id, compute.resource_group_name, compute.vm_scale_set_name
            ))
        };
        self.set.get_or_try_init(find).await.map(String::as_str)
    }

    /// The address of a machine whose card is a resource of its own, as in a flexible set.
    async fn own_card(&self, machine: &Machine, token: &str) -> Result<Option<IpAddr>, Trouble> {
        let cards = machine.properties.network_profile.as_ref().map_or(&[][..], |profile| &profile.network_interfaces);
        for card in cards.iter().filter(|card| !card.id.to_ascii_lowercase().contains("/virtualmachinescalesets/")) {
            let path = format!("{}?api-version={NETWORK}", card.id);
            let found: Option<Card> = self.rest.get(Method::Get, &path, PERMISSIONS[2], token).await?;
            if let Some((_, address)) = found.and_then(|card| card.address_of()) {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    async fn pages<T: DeserializeOwned>(&self, path: &str, permission: &str, token: &str) -> Result<Vec<T>, Trouble> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page<T> {
            value: Vec<T>,
            next_link: Option<String>,
        }
        let mut all = Vec::new();
        let mut at = path.to_owned();
        for _ in 0..PAGES {
            let page: Option<Page<T>> = self.rest.get(Method::Get, &at, permission, token).await?;
            let Some(page) = page else {
                let why = format!("{path} is not there: look at `discovery.azure_vmss.id`");
                return Err(Trouble::new(Exit::TryAgain, why));
            };
            all.extend(page.value);
            match page.next_link.filter(|link| !link.is_empty()) {
                None => return Ok(all),
                // The token is for this endpoint and nobody else.
                Some(link) => at = self.rest.own_path(&link)?,
            }
        }
        Err(Trouble::new(Exit::Unavailable, format!("{path} does not come to an end of its pages")))
    }
}

/// A token of the machine's managed identity for this resource.
///
/// # Errors
/// When the metadata service gives none.
pub(super) async fn token(rest: &Rest, metadata: &str, resource: &str) -> Result<String, Trouble> {
    #[derive(Deserialize)]
    struct Token {
        access_token: String,
    }
    let resource = super::http::encoded(resource);
    let url = format!("{metadata}/identity/oauth2/token?api-version=2018-02-01&resource={resource}");
    let text = rest.metadata(&url, HEADER, None).await?;
    let token: Token = serde_json::from_str(&text).map_err(|_| {
        Trouble::new(Exit::Unavailable, "the metadata service hands out what is no token of a managed identity")
    })?;
    Ok(token.access_token)
}

#[derive(Deserialize)]
struct Machine {
    id: String,
    properties: MachineProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MachineProperties {
    vm_id: String,
    time_created: Option<Timestamp>,
    network_profile: Option<NetworkProfile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkProfile {
    #[serde(default)]
    network_interfaces: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    id: String,
}

#[derive(Deserialize)]
struct Card {
    properties: CardProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CardProperties {
    #[serde(default)]
    primary: bool,
    virtual_machine: Option<Reference>,
    #[serde(default)]
    ip_configurations: Vec<IpConfiguration>,
}

#[derive(Deserialize)]
struct IpConfiguration {
    properties: IpProperties,
}

#[derive(Deserialize)]
struct IpProperties {
    #[serde(rename = "privateIPAddress")]
    address: Option<String>,
}

impl Card {
    /// Whose primary card it is, and its first address; IPv4 before IPv6.
    fn address_of(&self) -> Option<(String, IpAddr)> {
        let machine = self.properties.virtual_machine.as_ref().filter(|_| self.properties.primary)?;
        let texts = self.properties.ip_configurations.iter().filter_map(|c| c.properties.address.as_ref());
        let mut addresses: Vec<IpAddr> = texts.filter_map(|text| text.parse().ok()).collect();
        addresses.sort_by_key(IpAddr::is_ipv6);
        Some((machine.id.to_ascii_lowercase(), *addresses.first()?))
    }
}
