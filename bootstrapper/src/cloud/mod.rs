//! Who lists the members of a group: DNS, or the provider that launches its instances.
//!
//! Every answer is whole or it is none: what fails, is cut short or cannot be understood is [`Trouble`], and never a
//! smaller group.

use std::collections::BTreeSet;
use std::time::Duration;

use plan::discovery::Discovery;
use plan::facts::Instance;

pub use self::hook::Hook;
pub use self::keepers::Keepers;
use crate::exit::Exit;
use crate::paths::Paths;

mod asg;
pub mod aws;
pub mod azure;
mod dns;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod gce;
mod hook;
mod http;
mod keepers;
mod rest;
mod srv;
#[cfg(test)]
mod tests;
pub mod url;

/// A group as somebody lists it now.
#[derive(Debug)]
pub struct Listing {
    /// Everybody whom it lists.
    pub instances: Vec<Instance>,
    /// For how long nobody needs to ask again.
    pub fresh: Duration,
}

/// Why nobody knows who is in the group.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What the program exits with where waiting does not heal it.
    pub exit: Exit,
    /// What was asked of whom, what was answered, and what to do.
    pub text: String,
    /// How long whoever was asked wants to be left alone.
    pub after: Option<Duration>,
}

impl Trouble {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Trouble {
        Trouble { exit, text: text.into(), after: None }
    }
}

/// For how long nobody asks a provider again: each of them throttles.
const FRESH: Duration = Duration::from_secs(5);

/// Somebody who can be asked over the network.
pub enum Source {
    /// The SRV records of a domain.
    Srv(srv::Srv),
    /// An Auto Scaling group.
    Asg(asg::Asg),
    /// Tagged EC2 instances.
    Tags(asg::Tags),
    /// A managed instance group of Compute Engine.
    Mig(gce::Mig),
    /// A scale set of Azure.
    Vmss(azure::Vmss),
}

impl Source {
    /// Whom the spec names, for the instance that this host is; `None` for who is not asked over the network.
    pub fn of(discovery: &Discovery, paths: &Paths, instance: Option<&str>) -> Option<Source> {
        match discovery {
            Discovery::File(_) | Discovery::Dns(_) => None,
            Discovery::DnsSrv(entry) => Some(Source::Srv(srv::Srv::of(entry.clone(), paths))),
            Discovery::AwsAsg(entry) => Some(Source::Asg(asg::Asg::of(entry.clone(), paths, instance))),
            Discovery::AwsTags(entry) => Some(Source::Tags(asg::Tags::of(entry.clone(), paths))),
            Discovery::GceMig(entry) => Some(Source::Mig(gce::Mig::of(entry, paths))),
            Discovery::AzureVmss(entry) => Some(Source::Vmss(azure::Vmss::of(entry, paths))),
        }
    }

    /// What is asked, for a person who waits for it.
    pub fn place(&self) -> String {
        match self {
            Source::Srv(srv) => srv.place(),
            Source::Asg(asg) => asg.place(),
            Source::Tags(tags) => tags.place(),
            Source::Mig(mig) => mig.place(),
            Source::Vmss(vmss) => vmss.place(),
        }
    }

    /// Whether a host finds itself by its address among those listed, and not by its instance ID.
    pub fn by_address(&self) -> bool {
        match self {
            Source::Srv(_) => true,
            Source::Asg(_) | Source::Tags(_) | Source::Mig(_) | Source::Vmss(_) => false,
        }
    }

    /// The launch that waits for this host, where the spec says so.
    pub fn hook(&self) -> Option<Hook<'_>> {
        match self {
            Source::Asg(asg) => asg.hook(),
            Source::Srv(_) | Source::Tags(_) | Source::Mig(_) | Source::Vmss(_) => None,
        }
    }

    /// Asks once; every request in it has its own timeout. `known` are members that somebody has named: a provider may know
    /// of them, and of nobody else whom it has ended, that they are gone.
    ///
    /// # Errors
    /// Whatever makes the answer less than whole.
    pub async fn list(&self, known: &BTreeSet<String>) -> Result<Listing, Trouble> {
        match self {
            Source::Srv(srv) => srv.list().await,
            Source::Asg(asg) => asg.list(known).await,
            Source::Tags(tags) => tags.list(known).await,
            Source::Mig(mig) => mig.list().await,
            Source::Vmss(vmss) => vmss.list().await,
        }
    }
}
