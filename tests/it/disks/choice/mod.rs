//! Which disk becomes the data volume, and above all which never does.

mod auto;
mod named;
mod remembered;
mod wal;

use bootstrapper::observe::volume::{Choice, Directory, Known, choose};
use bootstrapper::sys::disk::{Disk, Kind, Layer};
use bootstrapper::sys::probe::{OURS, Probe};
use bootstrapper::sys::volume::Remembered;
use plan::document::Device;

const GIB: u64 = 1 << 30;

fn disk(name: &str, kind: Kind) -> Disk {
    let partition = name.ends_with(|c: char| c.is_ascii_digit()) && name.starts_with("vd");
    Disk {
        name: name.into(),
        device: format!("/dev/{name}").into(),
        number: format!("254:{}", name.len()),
        layer: if partition { Layer::Partition(name[..3].into()) } else { Layer::Whole },
        bytes: 20 * GIB,
        serial: Some(format!("S-{}", &name[..3])),
        wwid: Some(format!("naa.50000000000000{}", &name[2..3])),
        provider_name: None,
        scsi: None,
        read_only: false,
        removable: false,
        holders: Vec::new(),
        mounts: Vec::new(),
        system: false,
        probe: Probe::of(kind),
    }
}

fn xfs(name: &str, label: &str, uuid: &str) -> Disk {
    let probe = Probe { label: Some(label.into()), uuid: Some(uuid.into()), bytes: Some(20 * GIB), kind: Kind::Xfs };
    Disk { probe, ..disk(name, Kind::Xfs) }
}

fn ours(name: &str) -> Disk {
    xfs(name, "etcd-data", &format!("u-{name}"))
}

fn blank(name: &str) -> Disk {
    disk(name, Kind::Blank)
}

const GPT: Kind = Kind::Other("a GPT partition table");

/// The disk that the image boots from.
fn system() -> Vec<Disk> {
    let part = |name, kind, mount: Option<&str>| Disk {
        system: true,
        mounts: mount.map(Into::into).into_iter().collect(),
        ..disk(name, kind)
    };
    vec![part("vda", GPT, None), part("vda1", Kind::Vfat, Some("/efi")), part("vda4", Kind::Ext, Some("/var"))]
}

fn used(uuid: &str) -> Known {
    let remembered = Some(Remembered { uuid: uuid.into(), serial: Some("S-vdb".into()) });
    Known { remembered, ..Known::default() }
}

fn on_var(directory: Directory) -> Known {
    Known { directory, ..Known::default() }
}

/// Soon after power-on.
fn early() -> Known {
    Known { early: true, ..Known::default() }
}

fn serial(s: &str) -> Device {
    Device::Serial(s.into())
}
fn name(s: &str) -> Device {
    Device::Name(s.into())
}
fn label(s: &str) -> Device {
    Device::Label(s.into())
}

/// A choice in one word, and what it says.
fn brief(choice: &Choice<'_>) -> String {
    match choice {
        Choice::Use(disk) => format!("use {}", disk.name),
        Choice::Format(disk) => format!("format {}", disk.name),
        Choice::Directory => "directory".into(),
        Choice::Missing(what) => format!("missing {what}"),
        Choice::Refuse { found, expected } => format!("refuse {found} | {expected}"),
    }
}

type Case = (&'static str, Device, Vec<Disk>, Known, &'static [&'static str]);

fn check(cases: Vec<Case>) {
    for (why, device, more, known, expected) in cases {
        let mut disks = system();
        disks.extend(more);
        let chosen = brief(&choose(&device, &disks, &known));
        let Some((first, rest)) = expected.split_first() else { panic!("{why}: nothing is expected") };
        assert!(chosen.starts_with(first), "{why}: {chosen}");
        for part in rest {
            assert!(chosen.contains(part), "{why}: {chosen} lacks {part:?}");
        }
    }
}

fn with(disk: Disk, change: impl Fn(&mut Disk)) -> Disk {
    let mut disk = disk;
    change(&mut disk);
    disk
}

/// Whatever is there, a disk is formatted only when it is blank and nobody else's, and a named one never becomes `/var`.
#[test]
fn no_mixture_of_disks_formats_what_is_not_blank_or_falls_back_from_a_name() {
    let kinds =
        [Kind::Blank, Kind::Unfinished, Kind::Unrecognised, Kind::Unreadable("EIO".into()), Kind::Xfs, Kind::Ext, GPT];
    let changes: [fn(&mut Disk); 7] = [
        |_| {},
        |d| d.system = true,
        |d| d.read_only = true,
        |d| d.removable = true,
        |d| d.holders = vec!["md0".into()],
        |d| d.mounts = vec!["/mnt".into()],
        |d| d.bytes = 1 << 20,
    ];
    let devices =
        [Device::Auto, serial("S-vdb"), Device::Wwid("50000000000000b".into()), label("etcd-data"), name("vdb")];
    let mut variants = Vec::new();
    for kind in &kinds {
        for change in changes {
            let of = |n: &str| if *kind == Kind::Xfs { ours(n) } else { disk(n, kind.clone()) };
            variants.push((with(of("vdb"), change), with(of("vdc"), change)));
        }
    }
    let mut formats = 0;
    for (first, _) in &variants {
        for (_, second) in &variants {
            let disks = [first.clone(), second.clone()];
            for known in [
                Known::default(),
                used("u-vdb"),
                used("u-vdc"),
                on_var(Directory::Lived),
                on_var(Directory::Begun),
                Known { settling: true, ..Known::default() },
                early(),
            ] {
                for device in &devices {
                    match choose(device, &disks, &known) {
                        Choice::Format(d) => {
                            formats += 1;
                            assert!(matches!(d.probe.kind, Kind::Blank | Kind::Unfinished), "{d:?}");
                            let free = !d.system
                                && !d.read_only
                                && !d.removable
                                && d.holders.is_empty()
                                && d.mounts.is_empty();
                            assert!(free, "{d:?}");
                            assert!(
                                known.directory == Directory::Unused && !known.settling || *device != Device::Auto,
                                "{disks:?}"
                            );
                        }
                        Choice::Use(d) => assert!(d.probe.is_ours(OURS) && !d.system && !d.read_only, "{d:?}"),
                        Choice::Directory => {
                            assert!(
                                *device == Device::Auto && known.remembered.is_none() && !known.early,
                                "{device:?} {known:?} {disks:?}"
                            );
                            assert!(
                                !disks.iter().any(|d| d.probe.is_ours(OURS) && !d.system && d.holders.is_empty()),
                                "{disks:?}"
                            );
                        }
                        Choice::Missing(_) | Choice::Refuse { .. } => {}
                    }
                }
            }
        }
    }
    assert!(formats > 100, "{formats}");
}
