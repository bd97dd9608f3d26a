//! Oracle Cloud Infrastructure.

use super::Dmi;

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.chassis_asset_tag == "OracleCloud.com").then(|| "the asset tag of the chassis is OracleCloud.com".into())
}
