//! (s) The installation medium: a blank disk becomes a member at its address without DHCP; what is not to be written to is
//! not; it does not install twice; installed anew, it keeps what it is told to; and a BIOS says why it does not start it.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cases::network::{member, unleased};
use crate::cluster::Cluster;
use crate::disk;
use crate::machine::Machine;
use crate::process::{self, until};
use crate::qemu::Special;
use crate::set::{Disks, SETTLE, Set};
use crate::suite::{AGREE, Suite};
use crate::world::{HOST, Seat};

const ALONE: Seat = Seat(1);
/// Bytes of a disk: an image and a gibibyte, which is the least.
const DISK: u64 = 3 << 30;
/// From power on to the installer's word, beside two more machines.
const SAYS: Duration = Duration::from_secs(600);
/// What lies in `/var` of the first installation.
const KEPT: &str = "of before";
/// For a medium, of which most is packing the image.
const MAKING: Duration = Duration::from_secs(600);
/// For a copy of a medium.
const QUICK: Duration = Duration::from_secs(180);

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let iso = signed(suite)?;
    let name = suite.name("site");
    let cluster = Cluster::of(&suite.yard.tools, &name, &[ALONE], &[])?;
    fs::write(cluster.file("network-config"), network(ALONE))?;
    let ours = |to: &str, disk: &str| customized(suite, &cluster, &iso, to, disk);
    let (site, twins, other) = (ours("site", "system")?, ours("twins", "twin")?, ours("other", "data")?);
    let (damaged, forged) = (damaged(&site)?, forged(&site)?);

    let mut machine = boot(suite, ALONE, &site, None, false)?;
    let mut twin = boot(suite, Seat(2), &twins, None, true)?;
    let mut worn = boot(suite, Seat(3), &damaged, None, false)?;
    let mut nobodys = boot(suite, Seat(4), &forged, None, false)?;
    by_bios(suite, &iso)?;
    says(&mut twin, &["2 disks with serial twin", "expected exactly one", "Exit code 78"])?;
    says(&mut worn, &["is not whole: image.zst has the sha256", "write it anew, or use another one", "Exit code 65"])?;
    says(&mut nobodys, &["sha256sums is not signed by the key that this installer knows", "Exit code 65"])?;
    for untouched in [&twin, &worn, &nobodys] {
        nothing_written(untouched)?;
    }
    drop((twin, worn, nobodys));

    says(&mut machine, &["Installing etcd-bootstrapper", "Writing to ", "Reading ", "Installed: "])?;
    // The firmware starts the disk by itself, while the medium is still there, and before it.
    member(&cluster, &mut machine)?;
    println!("        installed and settled {:.1} s after power on", machine.power_on.elapsed().as_secs_f32());
    let id = format!("{:016x}", cluster.etcdctl.members(ALONE)?.cluster_id);

    machine.ask(&format!("echo {KEPT} >/var/lib/kept; sync"))?;
    let from = machine.console.count();
    machine.reset()?;
    said(
        &mut machine,
        from,
        &["has this image and this configuration already: nothing is written, and it is started"],
    )?;
    let from = machine.console.count();
    said(&mut machine, from, &["EFI stub: "])?;
    machine.reset()?;
    said(&mut machine, from, &["starting it has led back to this medium", "Take the medium out"])?;
    machine.kill()?;

    let disks =
        Disks { system: machine.parts.system.clone(), data: machine.parts.data.clone().context("a data disk")? };
    // What a person plugs in is enough for a medium that has no configuration of its own.
    let keep = "\n      mode: auto\n      install: {disk: {serial: system}, keep_data: true}\n";
    let user_data = cluster.user_data().replacen("\n      mode: auto\n", keep, 1);
    let network = [("network-config", network(ALONE))];
    let network = network.each_ref().map(|(name, text)| (*name, text.as_bytes()));
    let stick = cluster.seed_of(&suite.yard.tools, ALONE, user_data.as_bytes(), &network)?;
    let mut again = boot_beside(suite, ALONE, &iso, Some(&disks), false, Some(stick))?;
    let mut lived = boot(suite, Seat(2), &other, Some(&disks), false)?;
    let mut nobody = boot_drive(suite, Seat(4), &iso)?;
    says(
        &mut lived,
        &[
            "serial data",
            &format!("with a member of the etcd cluster {id}"),
            &format!("`install.wipe_member: \"{id}\"`"),
            "Exit code 78",
        ],
    )?;
    let asks =
        ["from sr0.", "There is no configuration, and nothing is written.", "stick labelled `cidata`", "serial system"];
    says(&mut nobody, &asks)?;
    nothing_written(&nobody)?;
    drop((lived, nobody));

    says(&mut again, &["The configuration is of the cidata volume", "Writing to ", "Installed: "])?;
    member(&cluster, &mut again)?;
    again.expect_only("start")?;
    let now = format!("{:016x}", cluster.etcdctl.members(ALONE)?.cluster_id);
    ensure!(now == id, "the member of {id} that was installed anew is of {now}");
    let kept = again.ask("cat /var/lib/kept")?;
    ensure!(kept.trim() == KEPT, "`keep_data` has kept {kept:?}");
    // A look at a disk that lost its power takes it as any mount does.
    let wrong = machine.console.all().into_iter().find(|line| line.text.contains("EXT4-fs error"));
    ensure!(wrong.is_none(), "the installer has looked at a file system as it was not meant: {wrong:?}");
    Ok(())
}

/// Three machines without DHCP, each with its own copy of the medium and the user-data of all.
pub fn three(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let iso = suite.yard.images.iso()?;
    let name = suite.name("installed");
    let cluster = Cluster::new(&suite.yard.tools, &name, &[])?;
    let mut set = Set::default();
    for seat in Seat::all() {
        fs::write(cluster.file("network-config"), network(seat))?;
        let site = customized(suite, &cluster, &iso, &seat.name(), "system")?;
        set.add(boot(suite, seat, &site, None, false)?);
    }
    for machine in set.machines() {
        says(machine, &["Installed: "])?;
    }
    set.wait_settled(SETTLE)?;
    for machine in set.machines() {
        unleased(machine)?;
    }
    until("agreement of all members", AGREE, || set.whole(&cluster)).map(drop)
}

/// An address that nobody leases.
pub fn network(seat: Seat) -> String {
    let (mac, address) = (seat.unknown_mac(), seat.address());
    format!(
        "version: 2\nethernets:\n  lan:\n    match: {{macaddress: \"{mac}\"}}\n    addresses: [{address}/24]\n    \
         routes: [{{to: default, via: {HOST}}}]\n"
    )
}

/// A copy of the medium with this cluster's configuration, made as a customer makes it.
pub fn customized(suite: &Suite, cluster: &Cluster, iso: &Path, to: &str, disk: &str) -> Result<PathBuf> {
    let out = cluster.file(&format!("{to}.raw"));
    let mut command = Command::new(&suite.yard.tools.bootstrapper);
    command.args(["iso", "customize", "--dest-disk", &format!("serial={disk}"), "--user-data"]);
    command.arg(cluster.file("user-data")).arg("--network").arg(cluster.file("network-config"));
    let said = process::output(command.arg("--out").arg(&out).arg(iso), QUICK)?;
    ensure!(said.contains(&format!("onto the disk with serial {disk}")), "{said}");
    Ok(out)
}

/// A medium of the image in `out/`, made with a key that its installer knows.
fn signed(suite: &Suite) -> Result<PathBuf> {
    let tools = &suite.yard.tools;
    let (key, public) = (std::path::absolute("site.key")?, std::path::absolute("site.pub")?);
    let pair = [("-s", &key), ("-p", &public)].map(|(option, file)| [option.into(), file.as_os_str().to_owned()]);
    tools.run("minisign", ["-G", "-W", "-f"].map(Into::into).into_iter().chain(pair.concat()))?;
    let out = std::path::absolute("signed.raw")?;
    let mut command = Command::new(tools.repository.join("image/iso.sh"));
    command.arg(tools.repository.join("out")).arg("--out").arg(&out);
    process::output(command.env("MINISIGN_KEY", "site.key").env("MINISIGN_PUBLIC_KEY", "site.pub"), MAKING)?;
    Ok(out)
}

/// A copy with one character of its signature changed.
fn forged(iso: &Path) -> Result<PathBuf> {
    let out = iso.with_file_name("forged.raw");
    fs::copy(iso, &out)?;
    let comment = "untrusted comment: signature";
    let found = process::output(Command::new("grep").args(["-abo", "-m1", comment]).arg(iso), QUICK)?;
    let (at, _) = found.split_once(':').context("it is not signed")?;
    let (mut text, at) = ([0; 256], at.parse::<u64>()?);
    let file = fs::File::options().read(true).write(true).open(&out)?;
    file.read_exact_at(&mut text, at)?;
    let line = text.iter().position(|byte| *byte == b'\n').context("its signature has one line")?;
    let other = if text[line + 50] == b'A' { b"B" } else { b"A" };
    file.write_all_at(other, at + line as u64 + 50)?;
    Ok(out)
}

/// A copy with one bit of the image changed.
fn damaged(iso: &Path) -> Result<PathBuf> {
    let out = iso.with_file_name("damaged.raw");
    fs::copy(iso, &out)?;
    let file = fs::File::options().read(true).write(true).open(&out)?;
    let (at, mut byte) = (file.metadata()?.len() / 3, [0]);
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(out)
}

/// A machine that starts the medium, on blank disks or on overlays of these.
fn boot(suite: &mut Suite, seat: Seat, medium: &Path, disks: Option<&Disks>, twins: bool) -> Result<Machine> {
    boot_beside(suite, seat, medium, disks, twins, None)
}

/// The same with a configuration volume.
fn boot_beside(
    suite: &mut Suite,
    seat: Seat,
    medium: &Path,
    disks: Option<&Disks>,
    twins: bool,
    stick: Option<PathBuf>,
) -> Result<Machine> {
    let place = suite.yard.directory(seat)?;
    let disks = match disks {
        Some(disks) => suite.yard.overlay(disks, &place)?,
        None => blank(&place)?,
    };
    let special = Special { medium: Some(medium.to_owned()), twins, without_dhcp: true, ..Special::default() };
    suite.yard.boot_special(special, seat, place, disks, stick)
}

/// A machine with blank disks that has the medium in its optical drive.
fn boot_drive(suite: &mut Suite, seat: Seat, medium: &Path) -> Result<Machine> {
    let place = suite.yard.directory(seat)?;
    let disks = blank(&place)?;
    let special = Special { medium: Some(medium.to_owned()), drive: true, without_dhcp: true, ..Special::default() };
    suite.yard.boot_special(special, seat, place, disks, None)
}

/// Disks without a byte.
pub fn blank(place: &Path) -> Result<Disks> {
    Ok(Disks { system: disk::blank(place.join("system.raw"), DISK)?, data: disk::blank(place.join("data.raw"), DISK)? })
}

fn says(machine: &mut Machine, words: &[&str]) -> Result<()> {
    said(machine, 0, words)
}

/// Waits for each of these, wherever they stand.
fn said(machine: &mut Machine, from: usize, words: &[&str]) -> Result<()> {
    let deadline = Instant::now() + SAYS;
    for word in words {
        let found = machine.console.wait(from, deadline, word, |line| line.text.contains(word).then_some(()));
        machine.explain(found)?;
    }
    Ok(())
}

/// Neither disk has a block.
fn nothing_written(machine: &Machine) -> Result<()> {
    let disks = [Some(&machine.parts.system), machine.parts.data.as_ref()];
    for disk in disks.into_iter().flatten() {
        let blocks = fs::metadata(&disk.file)?.blocks();
        ensure!(blocks == 0, "{} was written to: {blocks} blocks", disk.file.display());
    }
    Ok(())
}

/// As a disk and as a CD, without the firmware that the image wants.
fn by_bios(suite: &Suite, iso: &Path) -> Result<()> {
    let show = iso.to_string_lossy().replace(',', ",,");
    for medium in [format!("file={show},if=ide,media=disk,snapshot=on"), format!("file={show},if=ide,media=cdrom")] {
        let mut command = suite.yard.tools.command("qemu-system-x86_64");
        command.args([
            "-machine",
            "pc",
            "-accel",
            "tcg",
            "-m",
            "64",
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            "stdio",
        ]);
        command.args(["-drive", &format!("{medium},format=raw")]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start QEMU")?;
        let log = fs::File::create("bios.log")?;
        let lines = crate::lines::Lines::read(child.stdout.take().context("QEMU has no stdout")?, log);
        let words = "The image starts by UEFI only, and nothing was written.";
        let found = lines
            .wait(0, Instant::now() + SAYS, words, |line| line.text.replace('\r', "").contains(words).then_some(()));
        child.kill()?;
        child.wait()?;
        found.with_context(|| format!("a BIOS that starts {medium}; see bios.log"))?;
    }
    Ok(())
}
