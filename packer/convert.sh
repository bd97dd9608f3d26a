#!/bin/sh
# Writes the raw disk in the form that a platform takes: convert.sh FORMAT RAW OUTPUT
#   qcow2  QEMU, OpenStack, Proxmox        gcp  tar.gz of a disk.raw of whole GiB: Compute Engine
#   vhd    fixed, of whole MiB: Azure      vmdk, ova  stream-optimized; with a description of a UEFI machine: vSphere
set -eu
. "$(dirname "$0")/../tools/lib.sh"
usage() { sed -n '2,4s/^# //p' "$0" >&2; exit 64; }
[ $# = 3 ] || usage
case $1 in qcow2 | gcp | vhd | vmdk | ova) ;; *) say "no format is called $1"; usage ;; esac
[ -f "$2" ] || die "there is no disk $2"
[ -d "$(dirname "$3")" ] || die "there is no directory $(dirname "$3")"
format=$1 raw=$(realpath "$2") out=$(realpath "$(dirname "$3")")/$(basename "$3")
size=$(stat -c %s "$raw")
[ "$size" -gt 0 ] && [ $((size % 512)) = 0 ] || die "$raw is no raw disk: its $size bytes are not whole sectors"
new=$out.new
trap 'rm -rf "$new" "$new.d"' EXIT
rm -rf "$new" "$new.d"

# The tool root's, so that all hosts write the same bytes; without root this host's own does.
qemu_img() {
  if [ "$(id -u)" = 0 ]; then
    ENTER_BIND="$(dirname "$raw") $(dirname "$out")" "$repo/tools/enter.sh" qemu-img "$@"
  else
    command -v qemu-img >/dev/null || die "qemu-img is not in PATH: install qemu-utils, or run this as root"
    qemu-img "$@"
  fi
}
# A copy without the holes, with zeros up to whole units; growing a disk moves nothing in it.
padded() { # unit, to
  mkdir -p "$(dirname "$2")"
  cp --sparse=always "$raw" "$2"
  truncate -s $(((size + $1 - 1) / $1 * $1)) "$2"
}
vmdk() { # to
  padded $((1 << 20)) "$new.d/disk.raw"
  qemu_img convert -f raw -O vmdk -o subformat=streamOptimized,adapter_type=lsilogic "$new.d/disk.raw" "$1"
}

case $format in
  qcow2) qemu_img convert -f raw -O qcow2 -c -o compression_type=zstd "$raw" "$new" ;;
  gcp)
    padded $((1 << 30)) "$new.d/disk.raw"
    tar --format=oldgnu -S --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$new.d" -I 'gzip -n' -cf "$new" disk.raw ;;
  vhd)
    padded $((1 << 20)) "$new.d/disk.raw"
    # Without force_size a geometry of cylinders rounds the size, and Azure refuses the upload.
    qemu_img convert -f raw -O vpc -o subformat=fixed,force_size "$new.d/disk.raw" "$new" ;;
  vmdk) vmdk "$new" ;;
  ova)
    name=$(basename "$out" .ova)
    vmdk "$new.d/$name.vmdk"
    sed -e "s/@NAME@/$name/g" -e "s/@FILE_SIZE@/$(stat -c %s "$new.d/$name.vmdk")/" -e "s/@CAPACITY@/$(stat -c %s "$new.d/disk.raw")/" \
      "$repo/packer/vsphere/machine.ovf" >"$new.d/$name.ovf"
    (cd "$new.d" && for file in "$name.ovf" "$name.vmdk"; do echo "SHA256($file)= $(sha256sum <"$file" | cut -d' ' -f1)"; done >"$name.mf")
    # The description comes first, or who imports cannot begin before it has read all.
    tar --format=ustar --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$new.d" -cf "$new" "$name.ovf" "$name.mf" "$name.vmdk" ;;
esac
sync -f "$new"
mv "$new" "$out"
say "$out: $(stat -c %s "$out") bytes"
