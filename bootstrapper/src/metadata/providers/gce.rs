//! Google Compute Engine.

use super::Dmi;

/// By Google's page "Detecting if a VM is running in Compute Engine".
pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    if matches!(dmi.product_name.as_str(), "Google Compute Engine" | "Google") {
        return Some(format!("the product is {}", dmi.product_name));
    }
    dmi.product_serial
        .starts_with("GoogleCloud-")
        .then(|| "the product's serial number begins with GoogleCloud-".into())
}
