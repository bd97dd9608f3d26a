//! The command line of `config new`, every value checked.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use lexopt::prelude::*;
use plan::document::PeerEntry;
use plan::member::{ClusterName, PeerUrl};
use plan::spec::{Secret, Sha256};

use super::secrets::Form;
use crate::exit::Exit;

pub(super) const USAGE: &str = "\
usage: etcd-bootstrapper config new --name NAME --size N --peer NAME=ADDRESS ... [options]

Makes a cluster's CA, client certificates and one user-data for all members, in a new directory.

  --name NAME             the cluster's name: a-z, 0-9 and -
  --size N                voters: 1, 3, 5 or 7; as many as there are --peer without it
  --peer NAME=ADDRESS     a member: an address, a DNS name or an https URL; port 2380 without one
  --discovery-file PATH   instead of --peer: the inventory, on each member, of a group whose members come and go
  --out DIR               where to; ./NAME without it; nothing is ever overwritten
  --secrets FORM          where members have the CA key from: inline (default) is in the user-data; none is the
                          systemd credential etcd-bootstrapper.ca-key; or one of file=PATH, credential=NAME, url=URL,
                          aws_secret=NAME, aws_parameter=NAME, gcp_secret=NAME, azure_secret=IDENTIFIER;
                          ,region=REGION behind those of AWS
  --days N                how long the CA and the client certificates are valid; 3650 without it
  --found-days N          until when an empty fleet may found the cluster; 7 without it
  --restore-url URL       found the cluster from this snapshot, as in restore.url ...
  --restore-sha256 HEX    ... which has this sha256
  --json                  print what was made as JSON";

/// Port of members without one of their own.
const PEER_PORT: u16 = 2380;

/// Longest validity, days: a hundred years.
const MOST_DAYS: u64 = 36_500;

pub(super) enum Parsed {
    Help,
    Make(Box<Arguments>),
}

pub(super) struct Arguments {
    pub name: ClusterName,
    pub size: u8,
    pub peers: Vec<PeerEntry>,
    pub discovery: Option<String>,
    pub out: PathBuf,
    pub secrets: Form,
    pub days: u64,
    pub found_days: u64,
    pub restore: Option<(Secret, Sha256)>,
    pub json: bool,
}

#[derive(Default)]
struct Given {
    name: Option<ClusterName>,
    size: Option<u8>,
    peers: Vec<PeerEntry>,
    discovery: Option<String>,
    out: Option<PathBuf>,
    secrets: Option<Form>,
    days: Option<u64>,
    found_days: Option<u64>,
    restore_url: Option<Secret>,
    restore_sha256: Option<Sha256>,
}

pub(super) fn parse(mut args: lexopt::Parser) -> Result<Parsed> {
    let (mut given, mut json) = (Given::default(), false);
    while let Some(arg) = args.next().map_err(|e| usage(&e.to_string()))? {
        let option = match &arg {
            Long(option) => (*option).to_owned(),
            Short('h') => "help".to_owned(),
            Short(_) | Value(_) => return Err(usage(&arg.unexpected().to_string())),
        };
        match option.as_str() {
            "help" => return Ok(Parsed::Help),
            "json" => json = true,
            option => {
                if !OPTIONS.contains(&option) {
                    return Err(usage(&format!("there is no option --{option}")));
                }
                let value = args.value().map_err(|e| usage(&e.to_string()))?;
                given.take(option, value)?;
            }
        }
    }
    given.complete(json).map(|arguments| Parsed::Make(Box::new(arguments)))
}

const OPTIONS: [&str; 10] =
    ["name", "size", "peer", "discovery-file", "out", "secrets", "days", "found-days", "restore-url", "restore-sha256"];

impl Given {
    fn take(&mut self, option: &str, value: OsString) -> Result<()> {
        if option == "out" {
            return once(&mut self.out, option, PathBuf::from(value));
        }
        let value = value.into_string().map_err(|_| usage(&format!("the value of --{option} is not UTF-8")))?;
        match option {
            "name" => once(&mut self.name, option, parsed(option, &value)?),
            "size" => once(&mut self.size, option, number(option, &value, 7)? as u8),
            "peer" => {
                self.peers.push(peer(&value)?);
                Ok(())
            }
            "discovery-file" => once(&mut self.discovery, option, value),
            "secrets" => once(&mut self.secrets, option, Form::parse(&value).map_err(|why| usage(&why))?),
            "days" => once(&mut self.days, option, number(option, &value, MOST_DAYS)?),
            "found-days" => once(&mut self.found_days, option, number(option, &value, MOST_DAYS)?),
            "restore-url" => once(&mut self.restore_url, option, Secret::new(value)),
            "restore-sha256" => once(&mut self.restore_sha256, option, parsed(option, &value)?),
            _ => Err(usage(&format!("there is no option --{option}"))),
        }
    }

    fn complete(self, json: bool) -> Result<Arguments> {
        let name = self.name.ok_or_else(|| usage("--name is missing: give the cluster's name, as in --name prod"))?;
        if let (Some(_), false) = (&self.discovery, self.peers.is_empty()) {
            return Err(usage("--peer lists the members and --discovery-file says who does: give one of both"));
        }
        if self.peers.is_empty() && self.discovery.is_none() {
            return Err(usage("--peer is missing: give every member, as in --peer etcd-1=10.0.0.11"));
        }
        let size = match self.size {
            Some(size) => size,
            None if self.peers.is_empty() => {
                return Err(usage("--size is missing: a group does not say how many voters it is to have"));
            }
            None => u8::try_from(self.peers.len()).map_err(|_| usage("there are more than 7 --peer"))?,
        };
        let restore = match (self.restore_url, self.restore_sha256) {
            (Some(url), Some(sha256)) => Some((url, sha256)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(usage(
                    "--restore-sha256 is missing: a snapshot is restored only by its sha256; \
                     `sha256sum FILE` prints it",
                ));
            }
            (None, Some(_)) => return Err(usage("--restore-url is missing: say where the snapshot is")),
        };
        Ok(Arguments {
            out: self.out.unwrap_or_else(|| PathBuf::from(name.as_str())),
            name,
            size,
            peers: self.peers,
            discovery: self.discovery,
            secrets: self.secrets.unwrap_or(Form::Inline),
            days: self.days.unwrap_or(3650),
            found_days: self.found_days.unwrap_or(7),
            restore,
            json,
        })
    }
}

/// `NAME=` and an https URL, an address, a DNS name, or one of the latter with a port.
fn peer(value: &str) -> Result<PeerEntry> {
    let Some((name, place)) = value.split_once('=') else {
        return Err(usage(&format!("--peer {value}: write the member's name before it, as in --peer etcd-1={value}")));
    };
    let name = parsed("peer", name)?;
    if place.contains("://") {
        return Ok(PeerEntry { name, peer_url: parsed("peer", place)? });
    }
    let bare = place.strip_prefix('[').and_then(|p| p.strip_suffix(']')).unwrap_or(place);
    if let Ok(address) = bare.parse::<IpAddr>() {
        let url = PeerUrl::of(address, PEER_PORT).to_string();
        return Ok(PeerEntry { name, peer_url: parsed("peer", &url)? });
    }
    let port = place.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let url = if port { format!("https://{place}") } else { format!("https://{place}:{PEER_PORT}") };
    Ok(PeerEntry { name, peer_url: parsed("peer", &url)? })
}

fn parsed<T: FromStr<Err = plan::member::Malformed>>(option: &str, value: &str) -> Result<T> {
    value.parse().map_err(|why| usage(&format!("--{option}: {why}")))
}

fn number(option: &str, value: &str, most: u64) -> Result<u64> {
    let number = value.parse().ok().filter(|n| (1..=most).contains(n));
    number.ok_or_else(|| usage(&format!("--{option}: {value:?} is not a whole number from 1 to {most}")))
}

fn once<T>(slot: &mut Option<T>, option: &str, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(usage(&format!("--{option} is given twice"))),
    }
}

pub(super) fn usage(why: &str) -> anyhow::Error {
    Exit::Usage.because(format!("{why}\n(etcd-bootstrapper config new --help shows all options)"))
}
