//! (m) The image with cloud-init: its merged result makes a member, nothing of ours makes it warn, and its examples are
//! its own language.

use std::fs;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::cluster::Cluster;
use crate::flavour::Flavour;
use crate::machine::Machine;
use crate::probe::{self, CLIENTS};
use crate::qemu::Special;
use crate::set::{SETTLE, SHUT_DOWN};
use crate::suite::Suite;
use crate::world::Seat;

const ALONE: Seat = Seat(1);
/// Hands cloud-init all that it would run, in a directory of its own.
const REFUSED: &[u8] = include_bytes!("../../fixtures/cloud-init/refused.py");
const NOTHING_RUNS: &str = "refused: 3, kept: ['part-001.yaml'], left to run: [], ran: False";

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    suite.choose(Flavour::CloudInit)?;
    let name = suite.name("merged");
    let cluster = Cluster::of(&suite.yard.tools, &name, &[ALONE], &[])?;
    let examples = examples(suite)?;
    let mut more: Vec<(&str, &[u8])> = examples.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    more.push(("refused.py", REFUSED));
    let seed = cluster.seed_of(&suite.yard.tools, ALONE, message(&cluster)?.as_bytes(), &more)?;
    let place = suite.yard.directory(ALONE)?;
    let disks = suite.yard.blank(&place)?;
    let mut machine = suite.yard.boot_special(Special::default(), ALONE, place, disks, Some(seed))?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    probe::only_mutual_tls(&cluster, ALONE.address(), CLIENTS)?;
    let carrier = machine.report()?.carrier.unwrap_or_default();
    ensure!(carrier.contains("merged by cloud-init"), "the configuration came from {carrier}");
    suite.clean(&mut machine)?;
    ensure!(machine.ask("hostname")? == ALONE.name(), "cloud-init has not named the host");
    judged(&mut machine, &examples)?;
    let refused = machine.ask("python3 -B /run/seed/refused.py")?;
    ensure!(refused == NOTHING_RUNS, "{refused}");
    machine.power_off(SHUT_DOWN)
}

/// cloud-init's own `schema` for each file, in one process: half of each one's time would be Python's start.
const SCHEMA: &str = "python3 -c 'import sys; from cloudinit.config import schema; \
    [schema.handle_schema_args(\"schema\", schema.get_parser().parse_args([\"--config-file\", f])) for f in sys.argv[1:]]'";

/// cloud-init's own judgement of each of our examples.
fn judged(machine: &mut Machine, examples: &[(String, Vec<u8>)]) -> Result<()> {
    let files: String = examples.iter().map(|(name, _)| format!(" /run/seed/{name}")).collect();
    let mount = "mkdir /run/seed && mount -o ro /dev/disk/by-label/cidata /run/seed";
    let said = machine.ask(&format!("{mount} && {SCHEMA}{files} 2>&1"))?;
    ensure!(said.matches("Valid schema").count() == examples.len(), "not all examples are cloud-init's: {said}");
    Ok(())
}

fn examples(suite: &Suite) -> Result<Vec<(String, Vec<u8>)>> {
    let mut examples = Vec::new();
    for entry in fs::read_dir(suite.yard.tools.repository.join("cloud-init/examples"))? {
        let entry = entry?;
        examples.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    ensure!(!examples.is_empty(), "there are no examples");
    Ok(examples)
}

/// The cluster's user-data as a message: our own part beside one of cloud-init's.
fn message(cluster: &Cluster) -> Result<String> {
    let document = cluster.document()?;
    Ok(format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"==part==\"\n\n--==part==\n\
         Content-Type: text/x-etcd-bootstrapper; charset=\"utf-8\"\n\n{document}\n--==part==\n\
         Content-Type: text/cloud-config; charset=\"utf-8\"\n\n#cloud-config\nwrite_files:\n  \
         - path: /etc/etcd-bootstrapper/config.d/50-more.yaml\n    permissions: \"0600\"\n    content: |\n      \
         timeouts: {{data_device: 90s}}\n--==part==--\n"
    ))
}
