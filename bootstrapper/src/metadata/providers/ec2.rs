//! Amazon EC2.

use super::Dmi;

/// Machines that speak EC2's protocol at other providers', by what cloud-init's `ds-identify` tells them by.
fn looks_alike(dmi: &Dmi) -> bool {
    matches!(dmi.sys_vendor.as_str(), "e24cloud" | "Tilaa")
        || dmi.product_name == "3DS Outscale VM"
        || dmi.product_serial.ends_with(".brightbox.com")
        || dmi.chassis_asset_tag.ends_with(".zstack.io")
}

/// By Amazon's page "Identify EC2 instances": the firmware's vendor, or a UUID that begins with `ec2`, which Xen has and
/// some firmware swaps the bytes of. One in 4096 UUIDs of any other hypervisor begins so, so those are not believed.
pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    if looks_alike(dmi) {
        return None;
    }
    if dmi.bios_vendor == "Amazon EC2" || dmi.sys_vendor == "Amazon EC2" {
        return Some("the firmware is Amazon EC2's".into());
    }
    if dmi.hypervisor_uuid.starts_with("ec2") {
        return Some("the UUID of the hypervisor begins with ec2".into());
    }
    let others = !matches!(dmi.sys_vendor.as_str(), "" | "Xen");
    let begins = dmi.product_uuid.starts_with("ec2") || swapped(&dmi.product_uuid).starts_with("ec2");
    (begins && !others).then(|| "the UUID of the product begins with ec2".into())
}

/// The first group of a UUID with its four bytes in the other order.
fn swapped(uuid: &str) -> String {
    let first = uuid.split('-').next().unwrap_or_default().as_bytes();
    first.chunks(2).rev().map(|pair| String::from_utf8_lossy(pair)).collect()
}
