//! Disks as the kernel lists them, and mounting them: real loop devices, or a /sys made of files.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bootstrapper::paths::Paths;
use bootstrapper::sys::disk::{self, Kind, Layer};
use bootstrapper::sys::imaging;
use bootstrapper::sys::volume::{Remembered, Role, Work, prepare, remembered};

use super::{MIB, image, programs, tool};
use crate::support::scratch::Scratch;

/// A loop device, and what is mounted from it.
struct Loop {
    device: PathBuf,
    mounts: Vec<PathBuf>,
}

impl Loop {
    fn on(image: &Path) -> Loop {
        let output = Command::new("losetup").args(["-f", "--show"]).arg(image).output().unwrap();
        assert!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        Loop { device: String::from_utf8(output.stdout).unwrap().trim().into(), mounts: Vec::new() }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        for dir in &self.mounts {
            let _ = disk::unmount(dir);
        }
        let _ = Command::new("losetup").arg("-d").arg(&self.device).status();
    }
}

fn options(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = text.lines().rfind(|l| l.split(' ').nth(4) == dir.to_str()).unwrap().to_owned();
    line.split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_blank_disk_becomes_the_data_volume_and_grows_with_its_disk() {
    let scratch = Scratch::new();
    let (paths, programs) = (Paths::under(scratch.join("host")), programs(&scratch));
    let file = image(&scratch, "disk", 400 * MIB);
    let mut device = Loop::on(&file);
    device.mounts.push(paths.volume());
    let work = |bytes, format| Work {
        role: Role::Data,
        device: device.device.clone(),
        bytes,
        serial: Some("S".into()),
        format,
    };
    assert_eq!(remembered(&paths).unwrap(), None);

    prepare(&paths, &work(400 * MIB, true), &programs).await.unwrap();
    let mount = disk::mounted_at(&paths.volume()).unwrap().unwrap();
    assert_eq!((mount.fstype.as_str(), Path::new(&mount.source)), ("xfs", device.device.as_path()));
    let options = options(&paths.volume());
    for option in ["rw", "nosuid", "nodev", "noexec", "noatime"] {
        assert!(options.contains(&option.to_owned()), "{options:?} lacks {option}");
    }
    let uuid = disk::list(Path::new("/")).unwrap().into_iter().find(|d| d.device == device.device).unwrap().probe.uuid;
    assert_eq!(remembered(&paths).unwrap(), Some(Remembered { uuid: uuid.unwrap(), serial: Some("S".into()) }));
    let size =
        |paths: &Paths| nix::sys::statvfs::statvfs(&paths.volume()).map(|s| s.blocks() * s.fragment_size()).unwrap();
    let small = size(&paths);
    fs::write(paths.volume().join("kept"), "kept").unwrap();

    let error = prepare(&paths, &work(400 * MIB, true), &programs).await.unwrap_err();
    assert!(format!("{error:#}").contains("in use and is not formatted"), "{error:#}");
    prepare(&paths, &work(400 * MIB, false), &programs).await.unwrap();
    assert_eq!(size(&paths), small);

    disk::unmount(&paths.volume()).unwrap();
    assert!(!disk::is_mount_point(&paths.volume()).unwrap());
    fs::File::options().write(true).open(&file).unwrap().set_len(600 * MIB).unwrap();
    assert!(Command::new("losetup").arg("-c").arg(&device.device).status().unwrap().success());
    prepare(&paths, &work(600 * MIB, false), &programs).await.unwrap();
    assert!(size(&paths) > small + 150 * MIB, "{} after {small}", size(&paths));
    assert_eq!(fs::read_to_string(paths.volume().join("kept")).unwrap(), "kept");
    assert_ne!(paths.volume().metadata().unwrap().dev(), scratch.path().metadata().unwrap().dev());
}

#[test]
fn an_image_is_never_written_to_a_disk_that_is_in_use() {
    let scratch = Scratch::new();
    let file = image(&scratch, "disk", 8 * MIB);
    tool(&format!("mkfs.ext4 -q {}", file.display()));
    let device = Loop::on(&file);
    let dir = scratch.join("mnt");
    fs::create_dir(&dir).unwrap();
    disk::mount_read_only(&device.device, &dir, Kind::Ext.fstype().unwrap()).unwrap();
    let refused = imaging::Disk::open(&device.device).map(|disk| disk.bytes());
    disk::unmount(&dir).unwrap();
    let error = format!("{:#}", refused.unwrap_err());
    assert!(error.contains("for nobody else to use") && error.contains("busy"), "{error}");
    assert_eq!(imaging::Disk::open(&device.device).unwrap().bytes(), 8 * MIB);
}

#[test]
fn a_configuration_volume_is_mounted_read_only() {
    let scratch = Scratch::new();
    let file = image(&scratch, "disk", 8 * MIB);
    tool(&format!("mkfs.ext4 -q {}", file.display()));
    let mut device = Loop::on(&file);
    let dir = scratch.join("mnt");
    fs::create_dir(&dir).unwrap();
    device.mounts.push(dir.clone());
    disk::mount_read_only(&device.device, &dir, Kind::Ext.fstype().unwrap()).unwrap();
    let options = options(&dir);
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.contains(&option.to_owned()), "{options:?} lacks {option}");
    }
    disk::unmount(&dir).unwrap();
    disk::unmount(&dir).unwrap();
    let error = disk::mount_read_only(&device.device, &dir, "xfs").unwrap_err();
    assert!(
        format!("{error:#}").starts_with(&format!("cannot mount {} (xfs) at", device.device.display())),
        "{error:#}"
    );
}

/// A device of /sys: where it is, and the files in its directory.
fn device(root: &Path, at: &str, files: &[(&str, &[u8])]) {
    let real = root.join("sys/devices").join(at);
    for (name, content) in files {
        let path = real.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let name = real.file_name().unwrap();
    let class = root.join("sys/class/block");
    fs::create_dir_all(&class).unwrap();
    symlink(&real, class.join(name)).unwrap();
}

#[test]
fn disks_are_listed_with_names_layers_and_what_the_system_runs_from() {
    let scratch = Scratch::new();
    let root = scratch.path();
    for dir in ["dev", "proc/self", "run/udev", "sys/class/nvme/nvme0"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let sized: (&str, &[u8]) = ("size", b"16384\n");
    device(
        root,
        "pci/virtio1/block/vda",
        &[sized, ("dev", b"254:0\n"), ("serial", b"sys"), ("removable", b"0\n"), ("ro", b"0\n")],
    );
    device(
        root,
        "pci/virtio1/block/vda/vda2",
        &[sized, ("dev", b"254:2\n"), ("partition", b"2\n"), ("holders/dm-0", b"")],
    );
    device(root, "pci/virtio1/block/vda/vda4", &[sized, ("dev", b"254:4\n"), ("partition", b"4\n")]);
    device(
        root,
        "virtual/block/dm-0",
        &[sized, ("dev", b"252:0\n"), ("dm/name", b"root\n"), ("slaves/vda2", b""), ("ro", b"1\n")],
    );
    device(root, "virtual/block/loop0", &[("size", b"0\n"), ("dev", b"7:0\n")]);
    device(root, "virtual/block/loop1", &[sized, ("dev", b"7:1\n")]);
    let page: &[u8] = b"\x00\x80\x00\x0a  SCSI-7  ";
    device(
        root,
        "pci/host0/block/sda",
        &[sized, ("dev", b"8:0\n"), ("device/vpd_pg80", page), ("device/wwid", b"naa.5000c500\n")],
    );
    fs::create_dir_all(root.join("sys/devices/pci/host4/target4:0:1/4:0:1:12/block")).unwrap();
    device(root, "pci/host4/target4:0:1/4:0:1:12/block/sdb", &[sized, ("dev", b"8:16\n")]);
    symlink("../..", root.join("sys/devices/pci/host4/target4:0:1/4:0:1:12/block/sdb/device")).unwrap();
    device(root, "pci/host1/block/sr0", &[sized, ("dev", b"11:0\n"), ("removable", b"1\n"), ("ro", b"1\n")]);
    device(
        root,
        "pci/nvme/nvme0n1",
        &[sized, ("dev", b"259:0\n"), ("device/serial", b"vol0123    \n"), ("wwid", b"eui.0025\n")],
    );
    device(root, "pci/nvme/nvme0c0n1", &[sized, ("dev", b"259:1\n"), ("hidden", b"1\n")]);
    fs::write(
        root.join("proc/self/mountinfo"),
        "1 0 252:0 / / ro - erofs /dev/dm-0 ro\n2 1 254:4 / /var rw - ext4 /dev/vda4 rw\n3 1 8:0 / /mnt rw - xfs /dev/sda rw\n",
    )
    .unwrap();
    image(&scratch, "dev/nvme0n1", 8 * MIB);

    let text = |t: Option<&str>| t.map(str::to_owned);
    let part = || Layer::Partition("vda".into());
    let expected = [
        ("dm-0", Layer::Stacked, None, None, true, false, vec!["/"]),
        ("loop1", Layer::Backed, None, None, false, false, vec![]),
        ("nvme0n1", Layer::Whole, text(Some("vol0123")), text(Some("eui.0025")), false, false, vec![]),
        ("sda", Layer::Whole, text(Some("SCSI-7")), text(Some("naa.5000c500")), false, false, vec!["/mnt"]),
        ("sdb", Layer::Whole, None, None, false, false, vec![]),
        ("sr0", Layer::Whole, None, None, false, true, vec![]),
        ("vda", Layer::Whole, text(Some("sys")), None, true, false, vec![]),
        ("vda2", part(), text(Some("sys")), None, true, false, vec![]),
        ("vda4", part(), text(Some("sys")), None, true, false, vec!["/var"]),
    ];
    let found = disk::list(root).unwrap();
    let scsi: Vec<_> = found.iter().filter_map(|d| Some((d.name.as_str(), d.scsi?))).collect();
    assert_eq!(scsi, [("sdb", disk::Scsi { host: 4, lun: 12 })]);
    let brief: Vec<_> = found
        .iter()
        .map(|d| {
            let mounts = d.mounts.iter().map(|m| m.to_str().unwrap()).collect::<Vec<_>>();
            (d.name.as_str(), d.layer.clone(), d.serial.clone(), d.wwid.clone(), d.system, d.removable, mounts)
        })
        .collect();
    assert_eq!(brief, expected);
    assert_eq!(found[2].to_string(), "nvme0n1 (8 MiB, serial vol0123): blank");
    assert!(matches!(found[3].probe.kind, Kind::Unreadable(_)), "there is no /dev/sda");
    assert_eq!(found[7].holders, ["dm-0"]);

    let state = root.join("sys/class/nvme/nvme0/state");
    for (udev, nvme, expected) in
        [(false, "live", false), (true, "live", true), (false, "connecting", true), (false, "dead", false)]
    {
        fs::write(&state, nvme).unwrap();
        let queue = root.join("run/udev/queue");
        if udev {
            fs::write(&queue, "").unwrap()
        } else {
            drop(fs::remove_file(&queue))
        }
        assert_eq!(disk::settling(root), expected, "{nvme}");
    }
}
