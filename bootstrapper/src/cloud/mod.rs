//! Who lists the members of a group: DNS, or the provider that launches its instances.
//!
//! Every answer is whole or it is none: what fails, is cut short or cannot be understood is [`Trouble`], and never a
//! smaller group.

use std::time::Duration;

use plan::discovery::Discovery;
use plan::facts::Instance;

use crate::exit::Exit;
use crate::paths::Paths;

mod dns;
mod srv;
#[cfg(test)]
mod tests;

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

/// Somebody who can be asked over the network.
pub enum Source {
    /// The SRV records of a domain.
    Srv(srv::Srv),
}

impl Source {
    /// Whom the spec names; `None` for who is not asked over the network.
    pub fn of(discovery: &Discovery, paths: &Paths) -> Option<Source> {
        match discovery {
            Discovery::File(_) | Discovery::Dns(_) => None,
            Discovery::DnsSrv(entry) => Some(Source::Srv(srv::Srv::of(entry.clone(), paths))),
        }
    }

    /// What is asked, for a person who waits for it.
    pub fn place(&self) -> String {
        match self {
            Source::Srv(srv) => srv.place(),
        }
    }

    /// Whether a host finds itself by its address among those listed, and not by its instance ID.
    pub fn by_address(&self) -> bool {
        match self {
            Source::Srv(_) => true,
        }
    }

    /// Asks once; every request in it has its own timeout.
    ///
    /// # Errors
    /// Whatever makes the answer less than whole.
    pub async fn list(&self) -> Result<Listing, Trouble> {
        match self {
            Source::Srv(srv) => srv.list().await,
        }
    }
}
