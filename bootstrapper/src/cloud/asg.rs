//! A group of EC2 instances: an Auto Scaling group, or whoever has certain tags.
//!
//! Gone is only whom EC2 calls `terminated`. `shutting-down` has its etcd running for as long as its shutdown takes, and
//! `stopped` may come back with its disk. EC2 lists a terminated instance for about an hour; afterwards it is merely not
//! listed, which says nothing, and a person must remove a voter that nobody has replaced in that time.

use std::collections::BTreeSet;

use plan::discovery::{AwsAsg, AwsTags, PEER_PORT};
use plan::facts::Instance;
use plan::member::{MemberName, PeerUrl};
use plan::spec::Timestamp;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::aws::{Action, Aws, Page};
use super::hook::{BEAT, Hook};
use super::{FRESH, Listing, Trouble};
use crate::exit::Exit;
use crate::paths::Paths;

/// Set by Auto Scaling on whatever it launches; nobody else can.
const TAG: &str = "aws:autoscaling:groupName";

/// A filter takes no more values.
const VALUES: usize = 200;

/// An Auto Scaling group.
pub struct Asg {
    aws: Aws,
    entry: AwsAsg,
    instance: Option<String>,
    name: OnceCell<String>,
}

impl Asg {
    pub(super) fn of(entry: AwsAsg, paths: &Paths, instance: Option<&str>) -> Asg {
        let aws = Aws::of(entry.amazon(), paths);
        Asg { aws, entry, instance: instance.map(str::to_owned), name: OnceCell::new() }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn scripted(self, answers: super::http::Script) -> Asg {
        Asg { aws: self.aws.scripted(answers), ..self }
    }

    pub(super) fn place(&self) -> String {
        let name = self.name.get().or(self.entry.name.as_ref().filter(|name| *name != "auto"));
        let name = name.map_or("of this instance", String::as_str);
        format!("the Auto Scaling group {name} in {}", self.aws.region())
    }

    pub(super) async fn list(&self, known: &BTreeSet<String>) -> Result<Listing, Trouble> {
        let name = self.name().await?;
        let about = format!("the Auto Scaling group {name}");
        let group = self.members(name, &about).await?;
        let mut instances = described(&self.aws, &about, &[(format!("tag:{TAG}"), name.to_owned())]).await?;
        // Auto Scaling knows an instance before EC2 shows it to everybody: it is one that has no address yet.
        let unseen: Vec<String> = group.into_iter().filter(|id| !has(&instances, id)).collect();
        for id in unseen {
            instances.push(Instance { id: named(&id)?, peer_url: None, terminated: false, launched: None });
        }
        ended(&self.aws, known, &mut instances).await?;
        Ok(Listing { instances, fresh: FRESH })
    }

    pub(super) fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The hook on launches, for an instance that knows its ID.
    pub(super) fn hook(&self) -> Option<Hook<'_>> {
        let named = self.entry.launch_hook.as_deref()?;
        let named = Some(named).filter(|named| *named != "auto");
        Some(Hook::of(self, self.instance.as_deref()?, named, BEAT))
    }

    /// IDs of the instances that the group says it has.
    async fn members(&self, name: &str, about: &str) -> Result<Vec<String>, Trouble> {
        let parameters = [("AutoScalingGroupNames.member.1".to_owned(), name.to_owned())];
        let pages: Vec<Groups> = self.aws.pages(Action::DescribeAutoScalingGroups, about, &parameters).await?;
        let mut groups = pages.into_iter().flat_map(|page| page.result.groups.member).filter(|g| g.name == name);
        match (groups.next(), groups.next()) {
            (Some(group), None) => Ok(group.instances.member.into_iter().map(|i| i.id).collect()),
            (None, _) => Err(Trouble::new(
                Exit::TryAgain,
                format!(
                    "{about} is not there in {}: look at `discovery.aws_asg`, its `region` and the account",
                    self.aws.region()
                ),
            )),
            (Some(_), Some(_)) => Err(Trouble::new(Exit::Unavailable, format!("{about} is there twice"))),
        }
    }

    /// The group that this host is in, when the spec does not name it.
    pub(super) async fn name(&self) -> Result<&str, Trouble> {
        if let Some(name) = self.entry.name.as_ref().filter(|name| *name != "auto") {
            return Ok(name);
        }
        self.name.get_or_try_init(|| self.own()).await.map(String::as_str)
    }

    async fn own(&self) -> Result<String, Trouble> {
        let Some(id) = &self.instance else {
            let why = "this host does not know its instance ID, by which its Auto Scaling group is found: write `discovery.aws_asg.name`";
            return Err(Trouble::new(Exit::BadInput, why));
        };
        self.placed(id).await?.map(|p| p.group).ok_or_else(|| {
            let why = format!(
                "{id} is in no Auto Scaling group of {}: launch it by one, or write `discovery.aws_asg.name`",
                self.aws.region()
            );
            Trouble::new(Exit::TryAgain, why)
        })
    }

    /// Whether an instance is being launched: `Pending`, `Pending:Wait`, `Pending:Proceed` (Auto Scaling, lifecycle states).
    pub(super) async fn is_pending(&self, id: &str) -> Result<bool, Trouble> {
        Ok(self.placed(id).await?.is_some_and(|placed| placed.state.starts_with("Pending")))
    }

    async fn placed(&self, id: &str) -> Result<Option<PlacedInstance>, Trouble> {
        let parameters = [("InstanceIds.member.1".to_owned(), id.to_owned())];
        let action = Action::DescribeAutoScalingInstances;
        let pages: Vec<Placed> = self.aws.pages(action, &format!("this instance, {id},"), &parameters).await?;
        Ok(pages.into_iter().flat_map(|page| page.result.instances.member).find(|p| p.id == *id))
    }
}

/// Whoever has certain tags.
pub struct Tags {
    aws: Aws,
    entry: AwsTags,
}

impl Tags {
    pub(super) fn of(entry: AwsTags, paths: &Paths) -> Tags {
        Tags { aws: Aws::of(entry.amazon(), paths), entry }
    }

    pub(super) fn place(&self) -> String {
        let tags: Vec<String> = self.entry.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("the instances with {} in {}", tags.join(" and "), self.aws.region())
    }

    pub(super) async fn list(&self, known: &BTreeSet<String>) -> Result<Listing, Trouble> {
        let filters: Vec<_> = self.entry.tags.iter().map(|(k, v)| (format!("tag:{k}"), v.clone())).collect();
        let mut instances = described(&self.aws, &self.place(), &filters).await?;
        ended(&self.aws, known, &mut instances).await?;
        Ok(Listing { instances, fresh: FRESH })
    }
}

/// Whom of the members that somebody has named EC2 calls terminated: it takes the tags from an instance that has ended, so
/// no tag finds it any more.
async fn ended(aws: &Aws, known: &BTreeSet<String>, instances: &mut Vec<Instance>) -> Result<(), Trouble> {
    let missing: Vec<&String> =
        known.iter().filter(|id| id.starts_with("i-") && !has(instances, id)).take(VALUES).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut parameters = vec![("Filter.1.Name".to_owned(), "instance-id".to_owned())];
    parameters.extend(missing.iter().enumerate().map(|(i, id)| (format!("Filter.1.Value.{}", i + 1), (*id).clone())));
    let found = found(aws, "members that are not in the group any more", &parameters).await?;
    instances.extend(found.into_iter().filter(|i| i.terminated));
    Ok(())
}

fn has(instances: &[Instance], id: &str) -> bool {
    instances.iter().any(|i| i.id.as_str() == id)
}

/// The instances that pass all filters, in all their states.
async fn described(aws: &Aws, about: &str, filters: &[(String, String)]) -> Result<Vec<Instance>, Trouble> {
    let mut parameters = Vec::new();
    for (i, (name, value)) in filters.iter().enumerate() {
        parameters.push((format!("Filter.{}.Name", i + 1), name.clone()));
        parameters.push((format!("Filter.{}.Value.1", i + 1), value.clone()));
    }
    found(aws, about, &parameters).await
}

async fn found(aws: &Aws, about: &str, parameters: &[(String, String)]) -> Result<Vec<Instance>, Trouble> {
    let pages: Vec<Reservations> = aws.pages(Action::DescribeInstances, about, parameters).await?;
    let all = pages.into_iter().flat_map(|page| page.reservations.item).flat_map(|r| r.instances.item);
    let mut instances: Vec<Instance> = Vec::new();
    for found in all {
        let instance = found.instance()?;
        if instances.iter().any(|i| i.id == instance.id) {
            return Err(Trouble::new(Exit::Unavailable, format!("{about}: EC2 lists {} twice", instance.id)));
        }
        instances.push(instance);
    }
    Ok(instances)
}

fn named(id: &str) -> Result<MemberName, Trouble> {
    id.parse().map_err(|why| Trouble::new(Exit::Unavailable, format!("EC2 names an instance {id:?}: {why}")))
}

/// The children of an element that is a list; AWS calls each `member`.
#[derive(Deserialize)]
pub(super) struct Members<T> {
    #[serde(default = "Vec::new")]
    pub(super) member: Vec<T>,
}

/// EC2 calls each `item`.
#[derive(Deserialize)]
struct Items<T> {
    #[serde(default = "Vec::new")]
    item: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Items { item: Vec::new() }
    }
}

#[derive(Deserialize)]
struct Groups {
    #[serde(rename = "DescribeAutoScalingGroupsResult")]
    result: GroupsResult,
}

#[derive(Deserialize)]
struct GroupsResult {
    #[serde(rename = "AutoScalingGroups")]
    groups: Members<Group>,
    #[serde(rename = "NextToken")]
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "AutoScalingGroupName")]
    name: String,
    #[serde(rename = "Instances")]
    instances: Members<InGroup>,
}

#[derive(Deserialize)]
struct InGroup {
    #[serde(rename = "InstanceId")]
    id: String,
}

impl Page for Groups {
    fn token(&self) -> Option<&str> {
        self.result.next_token.as_deref()
    }
}

#[derive(Deserialize)]
struct Placed {
    #[serde(rename = "DescribeAutoScalingInstancesResult")]
    result: PlacedResult,
}

#[derive(Deserialize)]
struct PlacedResult {
    #[serde(rename = "AutoScalingInstances")]
    instances: Members<PlacedInstance>,
    #[serde(rename = "NextToken")]
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct PlacedInstance {
    #[serde(rename = "InstanceId")]
    id: String,
    #[serde(rename = "AutoScalingGroupName")]
    group: String,
    #[serde(rename = "LifecycleState", default)]
    state: String,
}

impl Page for Placed {
    fn token(&self) -> Option<&str> {
        self.result.next_token.as_deref()
    }
}

#[derive(Deserialize)]
struct Reservations {
    #[serde(rename = "reservationSet")]
    reservations: Items<Reservation>,
    #[serde(rename = "nextToken")]
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Reservation {
    #[serde(rename = "instancesSet")]
    instances: Items<Described>,
}

impl Page for Reservations {
    fn token(&self) -> Option<&str> {
        self.next_token.as_deref()
    }
}

#[derive(Deserialize)]
struct Described {
    #[serde(rename = "instanceId")]
    id: String,
    #[serde(rename = "instanceState")]
    state: State,
    #[serde(rename = "privateIpAddress")]
    address: Option<String>,
    #[serde(rename = "networkInterfaceSet", default)]
    interfaces: Items<Interface>,
    #[serde(rename = "launchTime")]
    launched: Option<Timestamp>,
}

#[derive(Deserialize)]
struct State {
    name: String,
}

#[derive(Deserialize)]
struct Interface {
    attachment: Option<Attachment>,
    #[serde(rename = "ipv6AddressesSet", default)]
    addresses: Items<V6>,
}

#[derive(Deserialize)]
struct Attachment {
    #[serde(rename = "deviceIndex")]
    device: Option<u32>,
}

#[derive(Deserialize)]
struct V6 {
    #[serde(rename = "ipv6Address")]
    address: Option<String>,
}

impl Described {
    /// Its private IPv4 address, or where it has none the first IPv6 one of its primary interface.
    fn instance(self) -> Result<Instance, Trouble> {
        let primary = |i: &Interface| i.attachment.as_ref().is_some_and(|a| a.device == Some(0));
        let first = self.interfaces.item.iter().find(|i| primary(i)).and_then(|i| i.addresses.item.first());
        let v6 = first.and_then(|v6| v6.address.clone());
        let address = self.address.filter(|a| !a.is_empty()).or(v6);
        let address = address.and_then(|address| address.parse::<std::net::IpAddr>().ok());
        Ok(Instance {
            id: named(&self.id)?,
            peer_url: address.map(|address| PeerUrl::of(address, PEER_PORT)),
            terminated: self.state.name == "terminated",
            launched: self.launched,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(state: &str, address: &str) -> Instance {
        let text = format!(
            "<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId>\
             <instanceState><code>0</code><name>{state}</name></instanceState>{address}\
             <launchTime>2026-11-21T03:00:00.000Z</launchTime></item></instancesSet></item></reservationSet>\
             </DescribeInstancesResponse>"
        );
        let page: Reservations = quick_xml::de::from_str(&text).unwrap();
        let mut found = page.reservations.item.into_iter().flat_map(|r| r.instances.item);
        found.next().unwrap().instance().unwrap()
    }

    #[test]
    fn only_the_word_terminated_says_that_an_instance_is_gone() {
        for state in ["pending", "running", "shutting-down", "terminated", "stopping", "stopped"] {
            assert_eq!(described(state, "").terminated, state == "terminated", "{state}");
        }
    }

    #[test]
    fn an_instance_has_its_private_address_or_the_ipv6_one_of_its_primary_interface() {
        let v6 = |device: u32, address: &str| {
            format!(
                "<item><attachment><deviceIndex>{device}</deviceIndex></attachment><ipv6AddressesSet><item>\
                 <ipv6Address>{address}</ipv6Address></item></ipv6AddressesSet></item>"
            )
        };
        let interfaces = format!("<networkInterfaceSet>{}{}</networkInterfaceSet>", v6(1, "fd00::2"), v6(0, "fd00::1"));
        let v4 = "<privateIpAddress>10.0.0.1</privateIpAddress>".to_owned();
        for (address, url) in [
            (v4.clone(), Some("https://10.0.0.1:2380")),
            (v4 + &interfaces, Some("https://10.0.0.1:2380")),
            (interfaces, Some("https://[fd00::1]:2380")),
            ("<privateIpAddress/><networkInterfaceSet/>".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(described("running", &address).peer_url.map(|u| u.to_string()).as_deref(), url, "{address}");
        }
    }
}
