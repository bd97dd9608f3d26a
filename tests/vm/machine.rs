//! One machine: QEMU, its console, its evidence, its power.

use std::fs::{self, File, OpenOptions};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::console;
use crate::disk::Disk;
use crate::evidence::Evidence;
use crate::lines::Lines;
use crate::process;
use crate::qemu::{self, FIRMWARE_VARIABLES, Parts, TPM_SOCKET};
use crate::qmp::Qmp;
use crate::record::Record;
use crate::tools::Tools;

/// QEMU makes its sockets before it does anything else.
const SOCKETS: Duration = Duration::from_secs(90);

/// From power on until userspace answers, on a busy host without acceleration.
const UP: Duration = Duration::from_secs(600);
/// For a write that is not flushed to come by; a machine that has settled may write none.
const UNFLUSHED: Duration = Duration::from_secs(5);
/// For a guest to let go of a disk.
const UNPLUGGED: Duration = Duration::from_secs(90);
/// Between two presses of the power button.
const PRESS: Duration = Duration::from_secs(3);

/// A machine that runs; it is killed when this is dropped.
pub struct Machine {
    /// What it is put together from.
    pub parts: Parts,
    /// All that its console printed.
    pub console: Lines,
    /// When its power came on.
    pub power_on: Instant,
    child: Child,
    qmp: Qmp,
    evidence: Evidence,
    kernel: Option<Instant>,
}

impl Machine {
    /// Puts a machine together and switches it on.
    pub fn boot(tools: &Tools, parts: Parts) -> Result<Machine> {
        fs::create_dir_all(&parts.directory)?;
        for socket in ["qmp.sock", "evidence.sock"].map(|s| parts.file(s)) {
            if socket.exists() {
                fs::remove_file(socket)?;
            }
        }
        if !parts.file("firmware.fd").exists() {
            let target = parts.file("firmware.fd");
            tools.run("cp", [FIRMWARE_VARIABLES.as_ref(), target.as_os_str()])?;
        }
        for record in [Some(&parts.system), parts.data.as_ref()].into_iter().flatten().filter_map(|d| d.record.as_ref())
        {
            File::create(record)?;
        }
        if parts.special.secure {
            tpm(tools, &parts)?;
        }
        let append = |name: &str| OpenOptions::new().create(true).append(true).open(parts.file(name));
        let mut child = tools
            .command("qemu-system-x86_64")
            .args(qemu::arguments(tools, &parts)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(append("qemu.log")?)
            .spawn()
            .context("cannot start QEMU")?;
        let power_on = Instant::now();
        let console = Lines::read(child.stdout.take().context("QEMU has no stdout")?, append("console.log")?);
        let connected = process::until("control socket of QEMU", SOCKETS, || {
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(parts.file("qemu.log"))?;
                return Ok(Err(anyhow::anyhow!("QEMU ended ({status}): {}", said.trim())));
            }
            Ok(Ok(Qmp::connect(&parts.file("qmp.sock"))?))
        });
        let qmp = connected??;
        // QEMU has made this socket before the one above, and lets one in: a second try would wait behind the first.
        let evidence = Evidence::connect(&parts.file("evidence.sock"), &parts.file("evidence.log"))?;
        Ok(Machine { parts, console, power_on, child, qmp, evidence, kernel: None })
    }

    /// When the kernel's clock started; waits until this boot can be asked.
    pub fn kernel(&mut self, limit: Duration) -> Result<Instant> {
        if let Some(kernel) = self.kernel {
            return Ok(kernel);
        }
        let up = self.evidence.wait_up(Instant::now() + limit);
        let (at, uptime) = self.explain(up)?;
        let kernel = at.checked_sub(uptime).unwrap_or(at);
        self.kernel = Some(kernel);
        Ok(kernel)
    }

    /// What a shell command prints in the guest.
    pub fn ask(&mut self, command: &str) -> Result<String> {
        self.kernel(UP)?;
        let answer = self.evidence.ask(command);
        self.explain(answer)
    }

    /// Presses the power button and waits for the end.
    pub fn power_off(mut self, limit: Duration) -> Result<()> {
        // Nobody hears the button before userspace is up, so it is pressed until somebody does.
        let ended =
            process::until("end after the power button was pressed", limit, || match self.child.try_wait()? {
                Some(status) => Ok(status),
                None => {
                    self.qmp.execute("system_powerdown", json!({}))?;
                    process::wait(&mut self.child, PRESS)
                }
            });
        let ended = self.explain(ended)?;
        if !ended.success() {
            bail!("QEMU of {} ended badly ({ended}): see qemu.log", self.name());
        }
        self.check()
    }

    /// Cuts the power as soon as a recorded disk has writes that are not flushed; soon in any case.
    ///
    /// The virtual processor is held, with every write that it began complete, so that nothing that others have heard
    /// from this machine rests on a write that the records do not have.
    pub fn cut(&mut self) -> Result<Vec<Record>> {
        let disks = [Some(&self.parts.system), self.parts.data.as_ref()].into_iter().flatten();
        let mut records: Vec<Record> =
            disks.filter_map(|d| d.record.as_ref()).map(|r| Record::open(r)).collect::<Result<_>>()?;
        let last = Instant::now() + UNFLUSHED;
        loop {
            let before = self.flushes()?;
            let lengths: Vec<u64> = records.iter().map(Record::length).collect::<Result<_>>()?;
            self.qmp.execute("stop", json!({}))?;
            // QEMU flushes all disks at a stop. Only if the guest completed no flush meanwhile, a new one at the end is
            // QEMU's; taking a guest's for QEMU's would lose what the guest knows to be safe.
            let quiet = self.flushes()? == before;
            let mut unflushed = 0;
            for (record, length) in records.iter_mut().zip(lengths) {
                record.entries()?;
                if quiet {
                    record.disregard_flush_since(length);
                }
                unflushed += record.unflushed();
            }
            if unflushed > 0 || Instant::now() > last {
                self.kill()?;
                return Ok(records);
            }
            self.qmp.execute("cont", json!({}))?;
        }
    }

    /// How many flushes of the guest each disk has completed.
    fn flushes(&mut self) -> Result<Vec<u64>> {
        let stats = self.qmp.execute("query-blockstats", json!({}))?;
        let all = stats.as_array().context("QEMU's answer to query-blockstats is no list")?;
        Ok(all.iter().filter_map(|d| d["stats"]["flush_operations"].as_u64()).collect())
    }

    /// Plugs a disk in, with these properties of QEMU's `scsi-hd`; for machines with [`Special::slots`].
    ///
    /// [`Special::slots`]: crate::qemu::Special::slots
    pub fn plug(&mut self, id: &str, disk: &Disk, properties: &serde_json::Value) -> Result<()> {
        let (file, node) = (format!("{id}-file"), format!("{id}-disk"));
        let path = disk.file.to_string_lossy();
        self.qmp.execute("blockdev-add", json!({"driver": "file", "node-name": file, "filename": path}))?;
        self.qmp.execute("blockdev-add", json!({"driver": disk.format.name(), "node-name": node, "file": file}))?;
        let mut device = json!({"driver": "scsi-hd", "bus": "slots.0", "id": id, "drive": node});
        if let (Some(device), Some(properties)) = (device.as_object_mut(), properties.as_object()) {
            device.extend(properties.clone());
        }
        self.qmp.execute("device_add", device).map(drop)
    }

    /// Pulls it out; what the guest wrote is in its file then.
    pub fn unplug(&mut self, id: &str) -> Result<()> {
        self.qmp.execute("device_del", json!({"id": id}))?;
        for node in ["disk", "file"].map(|end| format!("{id}-{end}")) {
            process::until("end of the disk's use", UNPLUGGED, || {
                self.qmp.execute("blockdev-del", json!({"node-name": node}))
            })?;
        }
        Ok(())
    }

    /// Presses the reset button.
    pub fn reset(&mut self) -> Result<()> {
        self.kernel = None;
        self.qmp.execute("system_reset", json!({})).map(drop)
    }

    /// Ends QEMU at once; what the guest wrote stays written.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Fails when the console shows what no healthy machine prints.
    pub fn check(&self) -> Result<()> {
        let alarms = console::alarms(&self.console);
        if alarms.is_empty() {
            return Ok(());
        }
        bail!("the console of {} shows: {}", self.name(), alarms.join(" / "));
    }

    /// Fails when QEMU has ended.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => self.explain(Err(anyhow::anyhow!("QEMU ended by itself ({status})"))),
        }
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.parts.seat.name()
    }

    /// Adds the console's last lines to an error that is about this machine.
    pub fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| format!("{}; its console ends with\n{}", self.name(), console::tail(&self.console)))
    }
}

/// A TPM that keeps what it knows in the machine's directory, and ends with QEMU.
fn tpm(tools: &Tools, parts: &Parts) -> Result<()> {
    let socket = parts.file(TPM_SOCKET);
    fs::create_dir_all(parts.file("tpm"))?;
    if socket.exists() {
        fs::remove_file(&socket)?;
    }
    // A daemon has another working directory.
    let directory = parts.directory.canonicalize()?;
    let state = format!("dir={}", directory.join("tpm").display());
    let control = format!("type=unixio,path={}", directory.join(TPM_SOCKET).display());
    let log = format!("file={}", directory.join("tpm.log").display());
    tools.run(
        "swtpm",
        ["socket", "--tpm2", "--daemon", "--terminate", "--tpmstate", &state, "--ctrl", &control, "--log", &log],
    )?;
    Ok(())
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended already.
        self.kill().ok();
    }
}
