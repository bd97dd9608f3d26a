//! A systemd-journal-remote on this host's end of the bridge, for as long as it runs. Debian's asks nobody for a certificate, so
//! that socat does it before.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::Cluster;
use crate::process::{self, until};
use crate::tools::Tools;
use crate::world::HOST;

const PORT: u16 = 19532;
/// Where only socat gets.
const INNER: &str = "127.0.0.1:19533";
const PROGRAM: &str = "/usr/lib/systemd/systemd-journal-remote";
/// To listen, or to read a journal.
const QUICK: Duration = Duration::from_secs(180);

/// The servers, until it is dropped.
pub struct Receiver {
    servers: Vec<Child>,
    journal: PathBuf,
}

impl Receiver {
    /// Starts it, with a certificate of the cluster's CA; whoever sends must show one of that CA too.
    pub fn start(tools: &Tools, cluster: &Cluster) -> Result<Receiver> {
        let [leaf, key] = cluster.leaf(tools, "receiver", HOST)?;
        let journal = fs::canonicalize(&cluster.directory)?.join("received.journal");
        let mut receiver = Receiver { servers: Vec::new(), journal };
        let mut remote = tools.command(PROGRAM);
        remote.arg(format!("--listen-http={INNER}")).arg("--split-mode=none");
        remote.arg(format!("--output={}", receiver.journal.display()));
        receiver.run(remote, cluster)?;
        let mut socat = tools.command("socat");
        let mut listen = format!("OPENSSL-LISTEN:{PORT},bind={HOST},reuseaddr,fork,verify=1");
        for (option, file) in [("cert", &leaf), ("key", &key), ("cafile", &cluster.file("ca.crt"))] {
            write!(listen, ",{option}={}", fs::canonicalize(file)?.display())?;
        }
        socat.arg(listen).arg(format!("TCP:{INNER}"));
        receiver.run(socat, cluster)?;
        for at in [format!("{HOST}:{PORT}"), INNER.to_owned()] {
            until("receiver of journals", QUICK, || Ok(TcpStream::connect(&at).map(drop)?))?;
        }
        Ok(receiver)
    }

    fn run(&mut self, mut command: Command, cluster: &Cluster) -> Result<()> {
        let log = File::options().create(true).append(true).open(cluster.file("receiver.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.servers.push(command.spawn().with_context(|| format!("cannot start {command:?}"))?);
        Ok(())
    }

    /// The key of the document that sends there, as what shows this certificate.
    pub fn logs(tools: &Tools, cluster: &Cluster) -> Result<String> {
        let [cert, key] = cluster.leaf(tools, "sender", HOST)?;
        let text = |file: &Path| -> Result<String> { Ok(serde_json::to_string(&fs::read_to_string(file)?)?) };
        let [ca, cert, key] = [&cluster.file("ca.crt"), &cert, &key].map(|file| text(file));
        Ok(format!("logs: {{upload: \"https://{HOST}:{PORT}\", ca: {}, cert: {}, key: {}}}", ca?, cert?, key?))
    }

    /// What it has of a unit, a message a line.
    pub fn messages(&self, tools: &Tools, unit: &str) -> Result<String> {
        let mut command = tools.command("journalctl");
        command.arg(format!("--file={}", self.journal.display()));
        process::output(command.args(["-o", "cat", "--no-pager", &format!("_SYSTEMD_UNIT={unit}")]), QUICK)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
