//! QEMU's command line for one machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use time::OffsetDateTime;

use crate::disk::Disk;
use crate::evidence;
use crate::tools::Tools;
use crate::world::Seat;

/// Its code is the same for all machines; the variables are a copy per machine.
pub const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// The same with Secure Boot, which needs a processor mode that nothing else may enter.
const SECURE_FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";

/// Where the TPM of a machine that has one listens.
pub const TPM_SOCKET: &str = "tpm.sock";

/// What a machine is put together from.
#[derive(Clone)]
pub struct Parts {
    /// Its place in the network.
    pub seat: Seat,
    /// Where its sockets and logs are.
    pub directory: PathBuf,
    /// The disk it boots from.
    pub system: Disk,
    /// The disk for etcd.
    pub data: Option<Disk>,
    /// The configuration volume.
    pub seed: Option<PathBuf>,
    /// MiB.
    pub memory: u32,
    /// How many it has.
    pub processors: u32,
    /// What sets it apart from a machine that a customer has.
    pub special: Special,
}

/// What sets a machine apart from one that a customer has.
#[derive(Clone, Debug, Default)]
pub struct Special {
    /// What its firmware says of it, by the names that the kernel has for that; anything else says QEMU.
    pub firmware: Vec<(&'static str, String)>,
    /// By how much its clock is ahead of this host's.
    pub ahead: Duration,
    /// More of its kernel's command line, by the firmware.
    pub command_line: Option<&'static str>,
    /// A service of it whose fsyncs do nothing.
    pub unsynced: Option<&'static str>,
    /// Whether DHCP does not know it.
    pub without_dhcp: bool,
    /// The installation medium, which it starts before its disk.
    pub medium: Option<PathBuf>,
    /// Whether that is in an optical drive; it is a stick otherwise.
    pub drive: bool,
    /// A disk for the write-ahead log, with its serial number.
    pub wal: Option<(Disk, &'static str)>,
    /// Whether both of its disks have one serial number.
    pub twins: bool,
    /// Whether disks can be plugged into it while it runs.
    pub slots: bool,
    /// Whether its firmware has Secure Boot, in setup mode at first, and a TPM.
    pub secure: bool,
}

impl Parts {
    /// The address of its card.
    pub fn mac(&self) -> String {
        if self.special.without_dhcp { self.seat.unknown_mac() } else { self.seat.mac() }
    }

    /// A file of this machine.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Where in SMBIOS what `/sys/class/dmi/id` shows is: the table, and QEMU's word for the field.
const FIELDS: [(&str, u8, &str); 7] = [
    ("bios_vendor", 0, "vendor"),
    ("sys_vendor", 1, "manufacturer"),
    ("product_name", 1, "product"),
    ("product_serial", 1, "serial"),
    ("product_uuid", 1, "uuid"),
    ("board_asset_tag", 2, "asset"),
    ("chassis_asset_tag", 3, "asset"),
];

/// All arguments of `qemu-system-x86_64`.
pub fn arguments(tools: &Tools, parts: &Parts) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let mut add = |option: &str, value: String| all.extend([option.to_owned(), value]);
    let (accelerator, processor) = match tools.accelerator.as_str() {
        // Three translation caches of QEMU's usual size would be most of a small host's memory. A processor with little
        // to emulate boots in four fifths of the time.
        "tcg" => ("tcg,thread=multi,tb-size=256", "qemu64"),
        other => (other, "max"),
    };
    let show = |path: &Path| path.to_string_lossy().replace(',', ",,");
    // A disk controller that nothing hangs on is seconds of probing under emulation.
    let (firmware, mode) = if parts.special.secure { (SECURE_FIRMWARE, ",smm=on") } else { (FIRMWARE, "") };
    add("-machine", format!("q35,hpet=off,sata=off,smbus=off{mode}"));
    add("-accel", accelerator.into());
    add("-cpu", processor.into());
    add("-smp", parts.processors.to_string());
    add("-m", parts.memory.to_string());
    add("-uuid", parts.seat.uuid());
    add("-display", "none".into());
    let clock = OffsetDateTime::from(SystemTime::now() + parts.special.ahead);
    let (date, (hour, minute, second)) = (clock.date(), clock.to_hms());
    add("-rtc", format!("base={date}T{hour:02}:{minute:02}:{second:02}"));
    add("-drive", format!("if=pflash,format=raw,unit=0,readonly=on,file={firmware}"));
    add("-drive", format!("if=pflash,format=raw,unit=1,file={}", show(&parts.file("firmware.fd"))));
    add("-netdev", format!("tap,id=net,ifname={},script=no,downscript=no", parts.seat.tap()));
    add("-device", format!("virtio-net-pci,netdev=net,romfile=,mac={}", parts.mac()));
    add("-device", "virtio-rng-pci".into());
    add("-chardev", "stdio,id=console,signal=off".into());
    add("-serial", "chardev:console".into());
    add("-chardev", format!("socket,id=evidence,server=on,wait=off,path={}", show(&parts.file("evidence.sock"))));
    add("-serial", "chardev:evidence".into());
    add("-qmp", format!("unix:{},server=on,wait=off", show(&parts.file("qmp.sock"))));
    if parts.special.secure {
        add("-global", "driver=cfi.pflash01,property=secure,value=on".into());
        add("-global", "ICH9-LPC.disable_s3=1".into());
        add("-chardev", format!("socket,id=tpm,path={}", show(&parts.file(TPM_SOCKET))));
        add("-tpmdev", "emulator,id=tpm,chardev=tpm".into());
        add("-device", "tpm-crb,tpmdev=tpm".into());
    }
    let (system, data) = if parts.special.twins { ("twin", "twin") } else { ("system", "data") };
    disk(&mut add, "system", &parts.system, &format!("bootindex=1,serial={system}"));
    if let Some(disk_for_etcd) = &parts.data {
        disk(&mut add, "data", disk_for_etcd, &format!("serial={data}"));
    }
    if parts.special.slots {
        add("-device", "virtio-scsi-pci,id=slots".into());
    }
    if let Some((wal, serial)) = &parts.special.wal {
        disk(&mut add, "wal", wal, &format!("serial={serial}"));
    }
    if let Some(medium) = &parts.special.medium {
        add("-blockdev", format!("driver=file,node-name=medium,read-only=on,filename={}", show(medium)));
        if parts.special.drive {
            add("-device", "ich9-ahci,id=ahci".into());
            add("-device", "ide-cd,id=medium,bus=ahci.0,drive=medium,serial=medium,bootindex=0".into());
        } else {
            add("-device", "virtio-blk-pci,id=medium,drive=medium,serial=medium,bootindex=0".into());
        }
    }
    if let Some(seed) = &parts.seed {
        add("-blockdev", format!("driver=file,node-name=seed,read-only=on,filename={}", show(seed)));
        add("-device", "virtio-blk-pci,id=seed,drive=seed,serial=seed".into());
    }
    all.extend(["-nodefaults".to_owned(), "-no-user-config".to_owned()]);
    all.extend(evidence::arguments(parts.special.unsynced));
    // On a busy host the kernel misses its first ticks, takes that for a broken board, and panics.
    let patient = (tools.accelerator == "tcg").then_some("no_timer_check");
    let more: Vec<&str> = patient.into_iter().chain(parts.special.command_line).collect();
    all.extend([
        "-smbios".to_owned(),
        format!("type=11,value=io.systemd.stub.kernel-cmdline-extra={}", more.join(" ")),
    ]);
    for (name, value) in &parts.special.firmware {
        let (_, table, field) =
            FIELDS.iter().find(|(known, ..)| known == name).with_context(|| format!("nothing writes {name}"))?;
        all.extend(["-smbios".to_owned(), format!("type={table},{field}={}", value.trim().replace(',', ",,"))]);
    }
    Ok(all)
}

/// A guest's flush reaches the record but not the host's disk: killing QEMU loses nothing, and power cuts are made
/// from the record.
fn disk(add: &mut impl FnMut(&str, String), id: &str, disk: &Disk, properties: &str) {
    let quoted = |path: &Path| path.to_string_lossy().replace(',', ",,");
    let cheap = "cache.no-flush=on";
    add("-blockdev", format!("driver=file,node-name={id}-file,{cheap},filename={}", quoted(&disk.file)));
    add("-blockdev", format!("driver={},node-name={id}-disk,{cheap},file={id}-file", disk.format.name()));
    let mut top = format!("{id}-disk");
    if let Some(record) = &disk.record {
        add("-blockdev", format!("driver=file,node-name={id}-record,{cheap},filename={}", quoted(record)));
        add("-blockdev", format!("driver=blklogwrites,node-name={id}-recorded,file={top},log={id}-record"));
        top = format!("{id}-recorded");
    }
    add("-device", format!("virtio-blk-pci,id={id},drive={top},{properties}"));
}
