//! What the firmware starts: its variables, by efivarfs (UEFI 2.10, section 3.3).

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::mount::mount_efivars;
use crate::paths::Paths;

const VARIABLES: &str = "/sys/firmware/efi/efivars";

const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Non-volatile, for boot services and for us.
const ATTRIBUTES: u32 = 7;

/// The name that the firmware's menu shows.
const DESCRIPTION: &str = "etcd-bootstrapper";

/// A partition that has a loader at the place for removable media.
pub struct Loader {
    /// The partition's number.
    pub number: u32,
    /// Its first sector.
    pub first: u64,
    /// Its sectors.
    pub sectors: u64,
    /// Its own ID, as it lies on the disk.
    pub id: [u8; 16],
}

impl Loader {
    /// An EFI_LOAD_OPTION with the short form of a device path, which begins at the partition.
    fn option(&self) -> Vec<u8> {
        let utf16 = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let mut path = vec![4, 1, 42, 0];
        path.extend_from_slice(&self.number.to_le_bytes());
        path.extend_from_slice(&self.first.to_le_bytes());
        path.extend_from_slice(&self.sectors.to_le_bytes());
        path.extend_from_slice(&self.id);
        path.extend_from_slice(&[2, 2]);
        let file = utf16("\\EFI\\BOOT\\BOOTX64.EFI");
        path.extend_from_slice(&[4, 4]);
        path.extend_from_slice(&(file.len() as u16 + 4).to_le_bytes());
        path.extend_from_slice(&file);
        path.extend_from_slice(&[0x7f, 0xff, 4, 0]);
        let mut option = 1u32.to_le_bytes().to_vec();
        option.extend_from_slice(&(path.len() as u16).to_le_bytes());
        option.extend(utf16(DESCRIPTION));
        option.extend(path);
        option
    }
}

/// Makes the firmware start this loader next, and before anything else from then on.
///
/// # Errors
/// When there are no variables, or the firmware takes none: whoever stands before the machine has to choose then.
pub fn start_next(paths: &Paths, loader: &Loader) -> Result<()> {
    let dir = paths.host(VARIABLES);
    if std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_none()) {
        // systemd mounts it before the driver is there.
        mount_efivars(&dir)?;
    }
    let option = loader.option();
    let mut entry = None;
    for number in 0u16..0x80 {
        match read(paths, &format!("Boot{number:04X}")) {
            Some(there) if there == option => {
                entry = Some(number);
                break;
            }
            None if entry.is_none() => entry = Some(number),
            Some(_) | None => {}
        }
    }
    let Some(number) = entry else { bail!("the firmware has no room for another boot entry") };
    let name = format!("Boot{number:04X}");
    if read(paths, &name).is_none() {
        write(paths, &name, &option)?;
    }
    let mut order = number.to_le_bytes().to_vec();
    let before = read(paths, "BootOrder").unwrap_or_default();
    order.extend(before.chunks_exact(2).filter(|pair| **pair != number.to_le_bytes()).flatten());
    write(paths, "BootOrder", &order)?;
    write(paths, "BootNext", &number.to_le_bytes())
}

fn path(paths: &Paths, name: &str) -> PathBuf {
    paths.host(VARIABLES).join(format!("{name}-{GLOBAL}"))
}

fn read(paths: &Paths, name: &str) -> Option<Vec<u8>> {
    std::fs::read(path(paths, name)).ok()?.get(4..).map(<[u8]>::to_vec)
}

/// In one write, as efivarfs wants it.
fn write(paths: &Paths, name: &str, value: &[u8]) -> Result<()> {
    let path = path(paths, name);
    let bytes = [&ATTRIBUTES.to_le_bytes(), value].concat();
    let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    open.and_then(|mut file| file.write_all(&bytes)).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs;

    #[test]
    fn the_disk_is_started_next_and_first_and_an_entry_is_not_made_twice() {
        let host = tempfile::tempdir().expect("a directory");
        let paths = Paths::under(host.path());
        let dir = paths.host(VARIABLES);
        fs::create_dir(&dir, 0o755, None).expect("efivars");
        write(&paths, "BootOrder", &[0, 0]).expect("an order");
        write(&paths, "Boot0000", b"another").expect("an entry");
        let loader = Loader { number: 1, first: 2048, sectors: 1 << 20, id: [7; 16] };
        for _ in 0..2 {
            start_next(&paths, &loader).expect("a firmware that takes it");
            assert_eq!(read(&paths, "BootNext"), Some(vec![1, 0]));
            assert_eq!(read(&paths, "BootOrder"), Some(vec![1, 0, 0, 0]));
            assert_eq!(read(&paths, "Boot0001"), Some(loader.option()));
            assert_eq!(read(&paths, "Boot0002"), None);
        }
    }
}
