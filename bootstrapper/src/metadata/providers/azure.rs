//! Microsoft Azure.

use super::Dmi;

/// The asset tag of every machine of Azure's; Hyper-V of other people's has none. From cloud-init's `DataSourceAzure`.
const TAG: &str = "7783-7084-3265-9085-8269-3286-77";

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.chassis_asset_tag == TAG).then(|| format!("the asset tag of the chassis is {TAG}"))
}
