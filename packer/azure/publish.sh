#!/bin/sh
# A fixed VHD becomes a page blob, and the blob a version of a gallery's image definition. `az` must be logged in.
set -eu
. "$(dirname "$0")/../lib.sh"
need_variables "IMAGE=the raw disk (-var image=FILE)" "VERSION=of the image" "RESOURCE_GROUP=of the gallery (-var resource_group=NAME)" \
  "LOCATION=the region (-var location=REGION)" "STORAGE_ACCOUNT=for the blob (-var storage_account=NAME)" \
  "CONTAINER=of the blob (-var container=NAME)" "GALLERY=Azure Compute Gallery (-var gallery=NAME)" "DEFINITION=of the image (-var definition=NAME)"
need_tools "az=install the Azure CLI, then \`az login\`"
need_passed "$IMAGE"
az account show --output none || die "az is not logged in: \`az login\`, or \`az login --identity\` on a machine of Azure's"

in_gallery() { az sig "$@" --resource-group "$RESOURCE_GROUP" --gallery-name "$GALLERY" --gallery-image-definition "$DEFINITION"; }
if id=$(in_gallery image-version show --gallery-image-version "$VERSION" --query id --output tsv 2>/dev/null); then
  there=$(in_gallery image-version show --gallery-image-version "$VERSION" --query tags.sha256 --output tsv)
  [ "$there" = "$sha256" ] ||
    die "version $VERSION of $DEFINITION is there already, of another disk: its tag sha256 is \"$there\", not $sha256; \
publish the next version, give this one another definition (-var definition=NAME), or delete that one"
  say "version $VERSION of $DEFINITION is there already, of the same disk"
  echo "$id"
  exit 0
fi
vhd=$(form "$IMAGE" vhd)
"$repo/packer/convert.sh" vhd "$IMAGE" "$vhd"
blob=$(basename "$vhd")
az storage blob upload --auth-mode login --account-name "$STORAGE_ACCOUNT" --container-name "$CONTAINER" --name "$blob" \
  --type page --file "$vhd" --overwrite true --no-progress --output none
# Specialized, since a generalized one must tell Azure by an agent that it is up, or the machine counts as failed.
in_gallery image-definition show --output none 2>/dev/null || in_gallery image-definition create \
  --location "$LOCATION" --publisher etcd-bootstrapper --offer etcd --sku "$DEFINITION" --os-type Linux --os-state Specialized \
  --hyper-v-generation V2 --architecture x64 --features 'SecurityType=TrustedLaunchSupported DiskControllerTypes=SCSI,NVMe' --output none
account=$(az storage account show --name "$STORAGE_ACCOUNT" --resource-group "$RESOURCE_GROUP" --query id --output tsv)
url=$(az storage account show --name "$STORAGE_ACCOUNT" --resource-group "$RESOURCE_GROUP" --query primaryEndpoints.blob --output tsv)
in_gallery image-version create --location "$LOCATION" --gallery-image-version "$VERSION" --os-vhd-uri "$url$CONTAINER/$blob" \
  --os-vhd-storage-account "$account" --tags "sha256=$sha256" --query id --output tsv
