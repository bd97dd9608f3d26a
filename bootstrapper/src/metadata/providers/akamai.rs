//! Akamai, formerly Linode.

use super::Dmi;

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    let vendor = dmi.sys_vendor.as_str();
    matches!(vendor, "Linode" | "Akamai").then(|| format!("the vendor of the system is {vendor}"))
}
