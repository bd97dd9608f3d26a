//! `config new`: a cluster's CA, its operators' certificates, and one configuration for all members.

mod arguments;
mod report;
mod secrets;
#[cfg(test)]
mod tests;
mod write;

use anyhow::Result;
use plan::facts::Seconds;
use plan::member::ClientUrl;

use crate::exit::Exit;
use crate::sys::clock;
use crate::sys::output::say;

use arguments::{Arguments, Parsed};

/// Seconds of a day.
const DAY: u64 = 24 * 3600;

/// etcd's client port, for which the bootstrapper has no option.
const CLIENT_PORT: u16 = 2379;

/// Name of the systemd credential that carries the CA key when it is not inline.
pub(crate) const CA_KEY_CREDENTIAL: &str = "etcd-bootstrapper.ca-key";

/// Runs `config new`; the parser stands behind these words.
///
/// # Errors
/// 64 for arguments that cannot be followed, with the remedy; nothing is written then.
pub fn run(args: lexopt::Parser) -> Result<()> {
    let arguments = match arguments::parse(args)? {
        Parsed::Help => return say(arguments::USAGE),
        Parsed::Make(arguments) => *arguments,
    };
    let now = clock::known().ok_or_else(|| {
        Exit::TryAgain
            .because("this machine's clock is years behind, so certificates made now would be refused: set it first")
    })?;
    let made = write::make(&arguments, now)?;
    if arguments.json {
        say(&serde_json::to_string(&report::Report::of(&arguments, &made))?)
    } else {
        say(&report::text(&arguments, &made))
    }
}

/// What was written.
struct Made {
    files: Vec<write::Written>,
    ca_ends: Seconds,
    found_until: Seconds,
}

impl Arguments {
    /// The client URLs of all members, as far as they are known: those of a group come and go.
    fn endpoints(&self) -> Vec<ClientUrl> {
        self.peers
            .iter()
            .filter_map(|p| {
                let host = p.peer_url.host();
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                format!("https://{host}:{CLIENT_PORT}").parse().ok()
            })
            .collect()
    }
}
