//! VMware.

use super::Dmi;

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    let product = &dmi.product_name;
    product.to_ascii_lowercase().contains("vmware").then(|| format!("the product is {product}"))
}
