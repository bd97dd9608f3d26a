//! OpenStack by its metadata service.

use super::Dmi;

/// Asset tags of public clouds that are OpenStack; from cloud-init's `DataSourceOpenStack`.
const TAGS: [&str; 6] = [
    "OpenStack Nova",
    "OpenStack Compute",
    "OpenTelekomCloud",
    "SAP CCloud VM",
    "HUAWEICLOUD",
    "Samsung Cloud Platform",
];

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    if matches!(dmi.product_name.as_str(), "OpenStack Nova" | "OpenStack Compute") {
        return Some(format!("the product is {}", dmi.product_name));
    }
    let tag = dmi.chassis_asset_tag.as_str();
    TAGS.contains(&tag).then(|| format!("the asset tag of the chassis is {tag}"))
}
