#!/bin/sh
# Gives the disk to Glance with the properties by which Nova makes a UEFI machine of it: most clouds boot by BIOS without them.
set -eu
. "$(dirname "$0")/../lib.sh"
need_variables "IMAGE=the raw disk (-var image=FILE)" "VERSION=of etcd-bootstrapper" "NAME=the image's name"
client=${OPENSTACK:-openstack}
need_tools "$client=install python3-openstackclient (Debian), or give -var openstack=FILE"
[ -n "${OS_CLOUD:-}${OS_AUTH_URL:-}${OS_AUTH_TYPE:-}" ] ||
  die "no cloud is named: set OS_CLOUD to one of clouds.yaml, or OS_AUTH_URL and the variables beside it"
need_passed "$IMAGE"

known=$("$client" image list --name "$NAME" --property "disk_sha256=$sha256" -f value -c ID)
if [ -n "$known" ]; then
  say "$NAME is there already, of the same disk"
  echo "$known"
  exit 0
fi
# Glance takes two of one name, and who launches by it gets an error, or the other disk.
known=$("$client" image list --name "$NAME" -f value -c ID)
[ -z "$known" ] || die "$NAME is there already, of another disk: $known; give this one another name (-var name=NAME), or remove that one"
case ${FORMAT:-qcow2} in
  raw) file=$IMAGE ;;
  qcow2)
    file=${IMAGE%.raw}.qcow2
    [ "$file" -nt "$IMAGE" ] || { file=$(form "$IMAGE" qcow2) && "$repo/packer/convert.sh" qcow2 "$IMAGE" "$file"; } ;;
  *) die "format is qcow2 or raw, not $FORMAT" ;;
esac
set -- --property hw_firmware_type=uefi --property hw_machine_type=q35 --property hw_disk_bus=scsi \
  --property hw_scsi_model=virtio-scsi --property hw_vif_model=virtio --property hw_rng_model=virtio \
  --property hw_vif_multiqueue_enabled=true --property os_type=linux --property os_distro=debian \
  --property "os_version=$VERSION" --property "disk_sha256=$sha256" --min-disk $((($(stat -c %s "$IMAGE") + (1 << 30) - 1) >> 30)) --min-ram 512
[ "${VTPM:-false}" = false ] || set -- "$@" --property hw_tpm_version=2.0 --property hw_tpm_model=tpm-crb
"$client" image create --private --disk-format "${FORMAT:-qcow2}" --container-format bare --file "$file" "$@" -f value -c id "$NAME"
