//! What may go wrong with a metadata service, with the exit code of each; the numbers are those of docs/metadata-faults.md.

mod answers;
mod network;

use std::net::{Ipv6Addr, SocketAddrV6, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};

use super::fake::{
    self, How, Log, Reply, Service, accept, dress, host, ip, listen, own_network, patience, program, service,
};
use super::services::{self as s, Ec2, USER_DATA};

const LINK: &str = "169.254.169.254";
const EC2_V6: &str = "fd00:ec2::254";

/// What a host is dressed in.
type Firmware = &'static [(&'static str, &'static str)];

/// One fault: what the network is made of, and how `metadata show` ends in it.
struct Row {
    fault: &'static str,
    firmware: Firmware,
    /// `timeouts.metadata`.
    patience: &'static str,
    /// Further files below the root.
    files: Firmware,
    env: &'static [(&'static str, &'static str)],
    /// Makes the network of its thread; given the host's root.
    world: Box<dyn FnOnce(&Path) -> Log + Send>,
    exit: i32,
    /// On standard output where that is 0 and on standard error otherwise; `!` for what must not be there.
    says: Vec<&'static str>,
    /// Tenths of a second that it takes at least and at most; the most has room for a machine that does other things.
    takes: (u64, u64),
}

fn row(fault: &'static str, firmware: Firmware, world: impl FnOnce(&Path) -> Log + Send + 'static, exit: i32) -> Row {
    let world = Box::new(world);
    Row { fault, firmware, patience: "20s", files: &[], env: &[], world, exit, says: Vec::new(), takes: (0, 80) }
}

impl Row {
    fn says(mut self, text: &'static str) -> Row {
        self.says.push(text);
        self
    }
    fn takes(mut self, least: u64, most: u64) -> Row {
        self.takes = (least, most);
        self
    }
    fn patience(mut self, text: &'static str) -> Row {
        self.patience = text;
        self
    }
    fn files(mut self, files: Firmware) -> Row {
        self.files = files;
        self
    }
    fn env(mut self, env: &'static [(&'static str, &'static str)]) -> Row {
        self.env = env;
        self
    }

    fn play(self) -> Log {
        let root = host(self.firmware);
        patience(root.path(), self.patience);
        dress(root.path(), self.files);
        let log = (self.world)(root.path());
        let start = Instant::now();
        let output = program(root.path(), &["metadata", "show"], self.env);
        let took = start.elapsed();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let said = format!("{}\n{stdout}{stderr}", self.fault);
        assert_eq!(output.status.code(), Some(self.exit), "{said}");
        for text in self.says {
            match text.strip_prefix('!') {
                Some(unsaid) => assert!(!said.contains(unsaid), "{unsaid}: {said}"),
                None => assert!(said.contains(text), "{text}: {said}"),
            }
        }
        assert!(!said.contains("CANARY"), "{said}");
        let (least, most) = self.takes;
        assert!((least..=most).contains(&(took.as_millis() as u64 / 100)), "{took:?}: {said}");
        log
    }
}

fn play(rows: Vec<Row>) {
    std::thread::scope(|scope| {
        let played: Vec<_> = rows.into_iter().map(|row| (row.fault, scope.spawn(move || row.play()))).collect();
        // All of them end, so that one that fails does not hide the others.
        let failed: Vec<_> =
            played.into_iter().filter_map(|(fault, row)| row.join().is_err().then_some(fault)).collect();
        assert!(failed.is_empty(), "{failed:?}");
    });
}

/// This service at the address that most have, in a network of its own.
fn at_link(service: Service) -> impl FnOnce(&Path) -> Log + Send {
    move |_| {
        own_network(&[LINK]);
        listen(LINK, service)
    }
}

/// An EC2 of which the first answers are others.
fn ec2_but(other: fn(&fake::Asked) -> Option<Reply>) -> Service {
    Ec2 { other: Some(other), ..Ec2::with(USER_DATA) }.serve()
}

const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";
