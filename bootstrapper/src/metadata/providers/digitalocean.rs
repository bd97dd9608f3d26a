//! DigitalOcean.

use super::Dmi;

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.sys_vendor == "DigitalOcean").then(|| "the vendor of the system is DigitalOcean".into())
}
