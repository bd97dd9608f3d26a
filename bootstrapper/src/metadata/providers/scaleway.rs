//! Scaleway.

use super::Dmi;

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.sys_vendor == "Scaleway").then(|| "the vendor of the system is Scaleway".into())
}
