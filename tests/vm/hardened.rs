//! What `image/` says of a machine, held against one that runs: its mounts, listeners, masks, profiles and settings of the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::flavour::Flavour;
use crate::machine::Machine;
use crate::process::until;
use crate::tools::Tools;

/// How the tables of image/README.md begin.
const MOUNTS: &str = "| writable | file system | options |";
const SOCKETS: &str = "| protocol | address | user |";
/// What the flavour with cloud-init adds to the first of them.
const OVERLAY: &str = "/etc overlay nodev nosuid noexec";
/// What the kernel tells PID 1 when somebody presses Ctrl-Alt-Del; more often within two seconds than systemd bears.
const PRESSED: &str = "for i in 1 2 3 4 5 6 7 8; do kill -INT 1; sleep 0.1; done";
/// systemd's answer to each of them, where the target is masked.
const UNHEARD: &str = "journalctl -b -o cat --no-pager _PID=1 | grep -c 'ctrl-alt-del.target.* masked'";
/// For a busy guest to write it down.
const NOTED: Duration = Duration::from_secs(20);

/// What a profile has kept somebody from, but for what is tried below.
const DENIED: &str = "dmesg | grep 'apparmor=\"DENIED\"' | grep -v 'comm=\"sh\"' || true";
const TRIED: &str = "dmesg | grep 'apparmor=\"DENIED\"' | grep -c 'comm=\"sh\"'";
/// Our units and their profiles.
const CONFINED: [(&str, &str); 7] = [
    ("etcd", "etcd"),
    ("etcd-bootstrapper", "etcd-bootstrapper"),
    ("etcd-bootstrapper-finish", "etcd-bootstrapper"),
    ("etcd-bootstrapper-network", "etcd-bootstrapper"),
    ("etcd-bootstrapper-system-disk", "etcd-bootstrapper"),
    ("etcd-backup", "etcd-bootstrapper"),
    ("etcd-certs", "etcd-bootstrapper"),
];
/// What root can do with one of the profiles, and what not: read, write, and start a program.
const TRIES: [(&str, &str, bool); 11] = [
    ("etcd", "read -r line </etc/passwd", true),
    ("etcd", "read -r line </var/lib/etcd/bootstrapper/pki/ca.crt", true),
    ("etcd", "read -r line </var/lib/etcd/bootstrapper/pki/ca.key.sealed", false),
    ("etcd", "read -r line </var/lib/etcd/bootstrapper/journal.jsonl", false),
    ("etcd", ": >/var/lib/etcd/bootstrapper/new", false),
    ("etcd", "/usr/bin/etcd --version", false),
    ("etcd-bootstrapper", "read -r line </var/lib/etcd/bootstrapper/journal.jsonl", true),
    ("etcd-bootstrapper", ": >>/run/etcd-bootstrapper/ready", true),
    ("etcd-bootstrapper", ": >/run/new", false),
    ("etcd-bootstrapper", ": >/var/new", false),
    ("etcd-bootstrapper", "/usr/bin/find /run -maxdepth 0", false),
];
/// What a try ends with where there is no such profile.
const NO_PROFILE: &str = "77";

/// Fails unless this settled machine is as closed as the image's texts say, naming all that differs.
pub fn look(flavour: Flavour, machine: &mut Machine, tools: &Tools) -> Result<()> {
    let image = tools.repository.join("image");
    let readme = text(&image.join("README.md"))?;
    let mut faults = Vec::new();

    let mut published = rows(&readme, MOUNTS)?;
    if machine.parts.special.wal.is_none() {
        published.retain(|row| !row.starts_with("/var/lib/etcd-wal "));
    }
    if flavour == Flavour::CloudInit {
        published.insert(OVERLAY.to_owned());
    }
    differ(&mut faults, "writable mount", &published, &writable(&machine.ask("cat /proc/self/mountinfo")?));
    let sockets = machine.ask("cat /etc/passwd; grep . /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6")?;
    differ(&mut faults, "socket", &rows(&readme, SOCKETS)?, &listeners(&sockets));

    let found = machine
        .ask("find / -ignore_readdir_race -path /proc -prune -o -path /sys -prune -o -type f -perm /6000 -print")?;
    faults.extend(found.lines().map(|file| format!("setuid or setgid: {file}")));

    let masked: BTreeSet<String> = lines(&text(&image.join("masked"))?).map(mask).collect();
    let found = machine.ask("find /etc/systemd /etc/udev -lname /dev/null")?;
    let found: BTreeSet<String> = found.lines().map(str::to_owned).collect();
    faults.extend(masked.difference(&found).map(|path| format!("not masked: {path}")));

    let settings = text(&image.join("rootfs/usr/lib/sysctl.d/90-etcd-bootstrapper.conf"))?;
    for (key, value) in lines(&settings).filter_map(|line| line.split_once('=')) {
        let found = machine.ask(&format!("grep -H . /proc/sys/{}", key.replace('.', "/")))?;
        let other = found.lines().filter(|line| line.split_once(':').is_none_or(|(_, found)| found != value));
        faults.extend(other.map(|line| format!("{key} is to be {value}, but {line}")));
    }
    let words = machine.ask("cat /proc/cmdline")?;
    let words: BTreeSet<&str> = words.split_whitespace().collect();
    let missing = command_line(&text(&image.join("mkosi.conf"))?);
    let missing = missing.iter().filter(|word| !words.contains(word.as_str()));
    faults.extend(missing.map(|word| format!("not on the kernel's command line: {word}")));
    let lockdown = machine.ask("cat /sys/kernel/security/lockdown")?;
    if lockdown != "none [integrity] confidentiality" {
        faults.push(format!("the kernel's lockdown is {lockdown}"));
    }
    for (unit, profile) in CONFINED {
        let found = machine.ask(&format!("systemctl show -P AppArmorProfile {unit}"))?;
        if found != profile {
            faults.push(format!("{unit}.service has the profile {found:?}, not {profile}"));
        }
    }
    // Not on the serial line alone, which is read everywhere else here.
    let screen = machine.ask("cat /dev/vcs1")?;
    if !screen.contains(" etcd-bootstrapper[") {
        faults.push(format!("on the screen is not what the program says, but {}", screen.trim()));
    }
    let confined = machine.ask("cat /proc/$(systemctl show -P MainPID etcd)/attr/current")?;
    if confined != "etcd (enforce)" {
        faults.push(format!("the kernel calls etcd's process {confined}"));
    }
    for (profile, what, allowed) in TRIES {
        let as_it = format!("printf 'changeprofile {profile}' >/proc/self/attr/apparmor/current || exit {NO_PROFILE}");
        let ended = machine.ask(&format!("({as_it}; {what}) >/dev/null 2>&1; echo $?"))?;
        if ended == NO_PROFILE || allowed != (ended == "0") {
            faults.push(format!("with the profile {profile}, `{what}` ends with {ended}"));
        }
    }
    ensure!(faults.is_empty(), "{} is not what image/ says:\n    {}", machine.name(), faults.join("\n    "));

    // Or else a silent log would prove nothing.
    until("denials in the kernel's log", NOTED, || machine.ask(TRIED))?;
    machine.ask(PRESSED)?;
    until("end of Ctrl-Alt-Del without a reboot", NOTED, || machine.ask(UNHEARD))?;
    let jobs = machine.ask("systemctl list-jobs --no-legend --plain")?;
    ensure!(!jobs.contains("shutdown.target"), "Ctrl-Alt-Del made {} do this: {jobs}", machine.name());
    Ok(())
}

/// Fails when their profiles have kept etcd or its bootstrapper from anything in this boot.
pub fn undenied(machine: &mut Machine) -> Result<()> {
    let denied = machine.ask(DENIED)?;
    ensure!(denied.is_empty(), "image/apparmor does not let {} do what it must:\n{denied}", machine.name());
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Without comments and blank lines.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn differ(faults: &mut Vec<String>, what: &str, published: &BTreeSet<String>, found: &BTreeSet<String>) {
    faults.extend(found.difference(published).map(|line| format!("{what} that is not published: {line}")));
    faults.extend(published.difference(found).map(|line| format!("{what} that is published and not there: {line}")));
}

/// The first three columns of the table that begins so, as words.
fn rows(text: &str, head: &str) -> Result<BTreeSet<String>> {
    let (_, table) = text.split_once(head).with_context(|| format!("image/README.md has no table {head}"))?;
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('|').skip(1).take(3).map(str::trim).collect();
        columns.join(" ").replace('`', "")
    };
    Ok(table.lines().skip(2).take_while(|line| line.starts_with('|')).map(row).collect())
}

/// What of `/proc/self/mountinfo` can be written to: where, file system, and which of three options it has.
fn writable(table: &str) -> BTreeSet<String> {
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let (left, right): (Vec<&str>, Vec<&str>) = (left.split(' ').collect(), right.split(' ').collect());
        let (place, own, system, of_all) = (left.get(4)?, left.get(5)?, right.first()?, right.get(2)?);
        let has = |options: &str, option: &str| options.split(',').any(|o| o == option);
        let mut words = vec![*place, *system];
        words.extend(["nodev", "nosuid", "noexec"].into_iter().filter(|option| has(own, option)));
        (has(own, "rw") && has(of_all, "rw")).then(|| words.join(" "))
    };
    table.lines().filter_map(mount).collect()
}

/// Who waits where: lines of `/etc/passwd`, and of `/proc/net` with the file's name before each.
fn listeners(text: &str) -> BTreeSet<String> {
    let mut users = BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let Some((protocol, entry)) = line.strip_prefix("/proc/net/").and_then(|line| line.split_once(':')) else {
            let mut fields = line.split(':');
            if let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) {
                users.insert(id, name);
            }
            continue;
        };
        let fields: Vec<&str> = entry.split_whitespace().collect();
        let [_, local, _, state, _, _, _, user, ..] = fields.as_slice() else { continue };
        // A TCP socket that listens, a UDP socket that takes from anybody.
        if !matches!(*state, "0A" | "07") {
            continue;
        }
        let user = users.get(user).unwrap_or(user);
        let address = address(local).unwrap_or_else(|| (*local).to_owned());
        found.insert(format!("{protocol} {address} {user}"));
    }
    found
}

/// `0100007F:094D` is 127.0.0.1:2381. A machine's own address is nobody's concern.
fn address(hex: &str) -> Option<String> {
    let (address, port) = hex.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<u32> = (0..address.len() / 8)
        .map(|i| u32::from_str_radix(&address[8 * i..8 * i + 8], 16).ok().map(u32::swap_bytes))
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [0] => Some(format!("0.0.0.0:{port}")),
        [v4] if Ipv4Addr::from(*v4).is_loopback() => Some(format!("{}:{port}", Ipv4Addr::from(*v4))),
        [0, 0, 0, 0] => Some(format!("[::]:{port}")),
        [a, b, c, d] => {
            let v6 = Ipv6Addr::from(
                (u128::from(*a) << 96) | (u128::from(*b) << 64) | (u128::from(*c) << 32) | u128::from(*d),
            );
            Some(if v6.is_loopback() { format!("[::1]:{port}") } else { format!("[its own]:{port}") })
        }
        _ => Some(format!("its own:{port}")),
    }
}

/// Where mkosi.finalize puts the mask of a line of image/masked.
fn mask(name: &str) -> String {
    let directory = match name {
        _ if name.ends_with("-generator") => "systemd/system-generators",
        _ if name.ends_with(".rules") => "udev/rules.d",
        _ => "systemd/system",
    };
    format!("/etc/{directory}/{name}")
}

/// The words of `KernelCommandLine=` in mkosi.conf.
fn command_line(configuration: &str) -> Vec<String> {
    let lines = configuration.lines().skip_while(|line| !line.starts_with("KernelCommandLine=")).skip(1);
    lines.take_while(|line| line.starts_with(' ')).map(|line| line.trim().to_owned()).collect()
}
