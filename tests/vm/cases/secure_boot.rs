//! (t) Secure Boot with keys of one's own, from a disk that enrols them, and a TPM that measures what is started.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::cluster::Cluster;
use crate::disk::{self, Disk};
use crate::machine::Machine;
use crate::process;
use crate::qemu::Special;
use crate::set::{Disks, SETTLE, SHUT_DOWN};
use crate::suite::Suite;
use crate::world::Seat;

const ALONE: Seat = Seat(1);
/// For copies of a disk and hashes of it.
const SIGN: Duration = Duration::from_secs(400);
/// From power on until the firmware has refused what it was to start; minutes on a busy host without acceleration.
const REFUSED: Duration = Duration::from_secs(600);
/// Where the key is, and what it has signed.
const OUT: &str = "secure-boot";
/// Where the first partition of a disk begins.
const ESP: u64 = 1 << 20;

/// What `pcrs.json` predicts, by the numbers of the registers.
#[derive(Deserialize)]
struct Predicted {
    secure_boot: BTreeMap<String, String>,
    without: BTreeMap<String, String>,
}

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let name = suite.name("secure");
    let cluster = Cluster::of(&suite.yard.tools, &name, &[ALONE], &[])?;
    let seed = cluster.seed(&suite.yard.tools, ALONE)?;
    let unsigned = suite.yard.images.image()?.clone();
    let signed = signed(suite, &unsigned)?;
    let said = fs::read_to_string(signed.with_file_name("pcrs.json"))?;
    let predicted: Predicted = serde_json::from_str(&said).with_context(|| format!("not registers: {said}"))?;
    ensure!(predicted.secure_boot["4"] != predicted.without["4"], "the kernel is in neither register: {said}");

    let place = suite.yard.directory(ALONE)?;
    let firmware = place.join("firmware.fd");
    let mut machine = boot(suite, place, &Disk::raw(&signed), Some(seed))?;
    says(&machine, "Custom Secure Boot keys successfully enrolled")?;
    says(&machine, "UEFI Secure Boot is enabled.")?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    println!("        settled {:.1} s after power on, keys enrolled", machine.power_on.elapsed().as_secs_f32());
    cluster.etcdctl.put(ALONE, "/vm/secure", "boot")?;
    for (register, value) in &predicted.secure_boot {
        let holds = machine.ask(&format!("cat /sys/class/tpm/tpm0/pcr-sha256/{register}"))?;
        ensure!(holds.trim().eq_ignore_ascii_case(value), "register {register} holds {holds}, not {value}");
    }
    machine.power_off(SHUT_DOWN)?;

    refuses(suite, &firmware, &unsigned, "BdsDxe: failed to load")?;
    let changed = changed(suite, &signed)?;
    refuses(suite, &firmware, &Disk::raw(changed), "Error loading \\EFI\\Linux\\")?;
    starts_medium(suite, &firmware)
}

/// It starts a medium that was signed by the same key, too.
fn starts_medium(suite: &mut Suite, firmware: &Path) -> Result<()> {
    let (repository, medium) = (suite.yard.tools.repository.clone(), std::path::absolute("secure.raw")?);
    let mut make = Command::new(repository.join("image/iso.sh"));
    make.arg(repository.join("out")).arg("--out").arg(&medium);
    process::output(by_key(&mut make)?, SIGN)?;
    let place = suite.yard.directory(ALONE)?;
    fs::copy(firmware, place.join("firmware.fd"))?;
    let disks = Disks {
        system: disk::blank(place.join("system.raw"), ESP)?,
        data: suite.yard.blank_data(place.join("data.raw"))?,
    };
    let special = Special { secure: true, medium: Some(medium), ..Special::default() };
    let machine = suite.yard.boot_special(special, ALONE, place, disks, None)?;
    says(&machine, "UEFI Secure Boot is enabled.")?;
    says(&machine, "There is no configuration, and nothing is written.")
}

/// With the key that the firmware has taken.
fn by_key(command: &mut Command) -> Result<&mut Command> {
    let file = |name: &str| std::path::absolute(Path::new(OUT).join(name));
    let command = command.env("SECURE_BOOT_KEY", file("secure-boot.key")?);
    Ok(command.env("SECURE_BOOT_CERT", file("secure-boot.crt")?))
}

/// The image signed by a new key, which it enrols.
fn signed(suite: &Suite, image: &Disk) -> Result<PathBuf> {
    let script = suite.yard.tools.repository.join("image/secure-boot.sh");
    process::output(Command::new(&script).args(["keys", OUT]), SIGN)?;
    let mut sign = Command::new(&script);
    sign.args(["disk".as_ref(), image.file.as_os_str(), OUT.as_ref()]).env("SECURE_BOOT_ENROLL", "1");
    process::output(by_key(&mut sign)?, SIGN)?;
    Ok(Path::new(OUT).join("disk.raw"))
}

/// The signed disk with another root hash in its UKI.
fn changed(suite: &Suite, signed: &Path) -> Result<PathBuf> {
    const HASH: &[u8] = b"roothash=";
    let (uki, disk) = (signed.with_file_name("uki.efi"), signed.with_file_name("changed.raw"));
    let mut bytes = fs::read(&uki)?;
    let at = bytes.windows(HASH.len()).position(|part| part == HASH).context("the UKI has no root hash")? + HASH.len();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    fs::write(&uki, bytes)?;
    Disk::raw(signed).copy(&disk, fs::metadata(signed)?.len())?;
    let (esp, uki) = (format!("{}@@{ESP}", disk.display()), uki.to_string_lossy().into_owned());
    let tools = &suite.yard.tools;
    let file = tools.run("mdir", ["-b", "-i", &esp, "::/EFI/Linux/*.efi"])?;
    tools.run("mcopy", ["-o", "-i", &esp, &uki, file.trim()])?;
    Ok(disk)
}

fn boot(suite: &Suite, place: PathBuf, image: &Disk, seed: Option<PathBuf>) -> Result<Machine> {
    let (system, data) = (suite.yard.system_of(image, &place)?, suite.yard.blank_data(place.join("data.raw"))?);
    let special = Special { secure: true, ..Special::default() };
    suite.yard.boot_special(special, ALONE, place, Disks { system, data }, seed)
}

/// The firmware that has taken the keys starts no other disk, and says so.
fn refuses(suite: &mut Suite, firmware: &Path, image: &Disk, words: &str) -> Result<()> {
    let place = suite.yard.directory(ALONE)?;
    fs::copy(firmware, place.join("firmware.fd"))?;
    let machine = boot(suite, place, image, None)?;
    let deadline = Instant::now() + REFUSED;
    let refused = |text: &str| text.contains(words) && text.to_lowercase().contains("access denied");
    let said = machine.console.wait(0, deadline, &format!("{words:?} on the console"), |line| {
        (refused(&line.text) || line.text.contains("EFI stub")).then_some(refused(&line.text))
    });
    let (_, refused) = machine.explain(said)?;
    ensure!(refused, "the firmware has started a kernel that nobody signed");
    Ok(())
}

fn says(machine: &Machine, words: &str) -> Result<()> {
    let what = format!("{words:?} on the console");
    let said = machine.console.wait(0, Instant::now() + SETTLE, &what, |line| line.text.contains(words).then_some(()));
    machine.explain(said).map(drop)
}
