//! cloud-init's NoCloud: a volume, a directory, or a word of the firmware or the kernel command line.

use super::Dmi;

/// Its volume's label; FAT and ISO 9660 make capitals of it.
pub const LABEL: &str = "cidata";

/// Below cloud-init's seed directory.
pub const SEEDS: [&str; 2] = ["nocloud", "nocloud-net"];

/// A hypervisor's way to give the word that the kernel command line may have.
pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    let word = dmi.product_serial.trim_start();
    let word = word.strip_prefix("ds=nocloud").map(|rest| rest.strip_prefix("-net").unwrap_or(rest))?;
    (word.is_empty() || word.starts_with(';')).then(|| "the product's serial number begins with ds=nocloud".into())
}
