//! Secrets that a machine was given, and all places on it where nobody may find them.

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;
use crate::machine::Machine;

/// For every field of a platform that a person may write a password into.
pub const PASSWORD: &str = "CANARY-5d0c1f7a93be";

/// Where whoever may log in could look; what is below a directory that only root may enter is not for them.
const READABLE: &str =
    "find /run /var /tmp /etc -type d ! -perm -001 -prune -o -type f -perm -004 -exec grep -lFf $f {} +";

/// What the search must find.
const PLANTED: &str = "FOUND for everybody to read: /run/planted";

/// What shows a person how a machine is.
const SHOWN: &str = "'status' 'status --json' 'plan --json' 'config explain' 'metadata show'";

/// User-data with a password beside what is ours.
pub fn with_password(user_data: &str) -> String {
    format!("{user_data}password: {PASSWORD}\n")
}

/// Fails when a secret that this machine was given is where others can read it: in its journal and on its console, in files
/// that everybody may read, in the arguments and the environment of its processes, in core dumps, in what we print.
pub fn look(machine: &mut Machine, cluster: &Cluster) -> Result<()> {
    let key = key(cluster)?;
    let secrets = [key.as_str(), PASSWORD];
    let said = machine.ask(&script(&secrets))?;
    let found: Vec<&str> = said.lines().filter(|line| line.starts_with("FOUND ") && *line != PLANTED).collect();
    ensure!(found.is_empty(), "{} shows a secret to others: {found:?}", machine.name());
    // Or else that nothing was found proves nothing.
    for proof in [PLANTED, "entries "] {
        let proven = said.lines().any(|line| line.starts_with(proof) && line != "entries 0");
        ensure!(proven, "{}: the search has not found `{proof}`: {said}", machine.name());
    }
    let printed = machine.console.all();
    let printed: Vec<_> = printed.iter().filter(|line| secrets.iter().any(|s| line.text.contains(s))).collect();
    ensure!(printed.is_empty(), "the console of {} shows a secret: {printed:?}", machine.name());
    Ok(())
}

/// What nobody else has of the CA's key.
fn key(cluster: &Cluster) -> Result<String> {
    let key = std::fs::read_to_string(cluster.file("ca.key"))?;
    Ok(key.lines().nth(2).context("the CA's key has no second line of base64")?.to_owned())
}

/// Takes every core dump of the machine, whatever the limits of who crashes and whatever it may write to.
const COLLECT: &str = "mkdir -m 700 /run/cores; echo 1 >/proc/sys/kernel/core_pipe_limit; \
    echo '|/usr/bin/dd of=/run/cores/%P status=none' >/proc/sys/kernel/core_pattern";

/// Crashes the main process of a unit as a fault in it would, and fails when that leaves a core dump. Another process with a
/// secret in its memory crashes beside it: its dump must have that, or else that there is no other proves nothing.
pub fn crash(machine: &mut Machine, cluster: &Cluster, unit: &str) -> Result<()> {
    let key = key(cluster)?;
    let (one, other) = key.split_at(key.len() / 2);
    let script = [
        COLLECT,
        &format!("pid=$(systemctl show {unit} --value -p MainPID); [ $pid -gt 0 ] || exit 1"),
        "kill -ABRT $pid; while [ -e /proc/$pid ]; do sleep 0.1; done",
        &format!("sh -c 'k=$(printf %s%s {one} {other}); echo $$ >/run/pid; kill -ABRT $$; : $k' 2>/dev/null"),
        &format!("printf '%s%s\\n' {one} {other} >/run/cores/key"),
        "grep -qaFf /run/cores/key /run/cores/$(cat /run/pid) && echo control",
        "[ ! -e /run/cores/$pid ] || echo dump of $(wc -c </run/cores/$pid) bytes",
        "[ ! -e /run/cores/$pid ] || grep -caFf /run/cores/key /run/cores/$pid | sed 's/^/lines with the key: /'",
        "rm -rf /run/cores /run/pid; echo '|/bin/false' >/proc/sys/kernel/core_pattern",
    ];
    let said = machine.ask(&script.join("; "))?;
    ensure!(said.contains("control"), "{}: no dump of a process that must have one: {said}", machine.name());
    ensure!(!said.contains("dump of"), "the crash of {unit} on {} leaves a core dump: {said}", machine.name());
    Ok(())
}

/// The secrets are words in two halves here, since this itself becomes the arguments of a shell.
fn script(secrets: &[&str]) -> String {
    let halves: Vec<String> = secrets
        .iter()
        .map(|secret| {
            let (one, other) = secret.split_at(secret.len() / 2);
            format!("{one} {other}")
        })
        .collect();
    [
        "umask 077; f=/run/canaries; j=/run/entries",
        &format!("printf '%s%s\\n' {} >$f", halves.join(" ")),
        "cat $f >/run/planted; chmod 644 /run/planted",
        "journalctl -q --no-pager -o export >$j",
        "grep -ac SYSLOG_IDENTIFIER=etcd-bootstrapper $j | sed 's/^/entries /'",
        "grep -aFf $f $j | sed 's/^/FOUND in the journal: /'",
        &format!("{READABLE} | sed 's/^/FOUND for everybody to read: /'"),
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -aFf $f | sed 's/^/FOUND at a process: /'",
        &format!("for c in {SHOWN}; do etcd-bootstrapper $c 2>&1 | grep -aFf $f | sed \"s/^/FOUND by $c: /\"; done"),
        "grep -ralFf $f /var/lib/systemd/coredump 2>/dev/null | sed 's/^/FOUND in a core dump: /'",
        "rm -f $f $j /run/planted",
    ]
    .join("; ")
}
