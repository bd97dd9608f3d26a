//! Hetzner Cloud.

use super::Dmi;

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.sys_vendor == "Hetzner").then(|| "the vendor of the system is Hetzner".into())
}
