//! Vultr.

use super::Dmi;

/// The word by which the kernel command line of Vultr's bare metal names it.
pub const WORD: &str = "vultr";

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.sys_vendor == "Vultr").then(|| "the vendor of the system is Vultr".into())
}
