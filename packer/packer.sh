#!/bin/sh
# Runs Packer over these templates: packer.sh validate | assemble | smoke | publish | build (all three, in this order)
#   OUT (default: the repository's out)  BOOTSTRAPPER_BIN  IMAGE_FLAVOUR (minimal, cloud-init)  KERNEL_FLAVOUR  ACCEL
#   PACKER (default: Debian's 1.6.6 of the tool root; any later one does, and installs its plugins first)
set -eu
. "$(dirname "$0")/../tools/lib.sh"
case ${1:-} in validate | assemble | smoke | publish | build) ;; *) sed -n '2,4s/^# //p' "$0" >&2; exit 64 ;; esac
root=$("$repo/tools/toolroot.sh")
out=${OUT:-$repo/out}
mkdir -p "$out"
out=$(cd "$out" && pwd -P)
flavour=${IMAGE_FLAVOUR:-minimal}
name=etcd-bootstrapper
[ "$flavour" = minimal ] || name=$name-$flavour
name=${name}_$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repo/Cargo.toml" | head -n 1)
binary=${BOOTSTRAPPER_BIN:-$out/etcd-bootstrapper}
packer=${PACKER:-$root/usr/bin/packer}
export PATH="$repo/packer/bin:$PATH" PACKER_CACHE_DIR="$cache/packer" CHECKPOINT_DISABLE=1
case $("$packer" version) in *v1.6.*) ;; *) "$packer" init "$repo/packer/plugins" ;; esac

run() { # verb, build
  verb=$1 only=${2:+-only=$2}
  "$packer" $verb $only -var "output_dir=$out" -var "name=$name" -var "bootstrapper_bin=$binary" \
    -var "image_flavour=$flavour" -var "kernel_flavour=${KERNEL_FLAVOUR:-cloud}" -var "accelerator=$accel" -var "seed=$out/smoke-seed.iso" \
    -var "ovmf_code=$root/usr/share/OVMF/OVMF_CODE_4M.fd" -var "ovmf_vars=$out/smoke-vars.fd" "$repo/packer"
}
accel=tcg
step() {
  case $1 in
    assemble) run "build -color=false" 'image.null.assemble' ;;
    smoke)
      accel=$("$repo/tools/accel.sh")
      rm -rf "$out"/smoke "$out"/smoke-*
      "$repo/packer/seed.sh" "$binary" "$out/smoke-seed.iso"
      cp "$root/usr/share/OVMF/OVMF_VARS_4M.fd" "$out/smoke-vars.fd"
      run "build -color=false" 'smoke.qemu.smoke' ;;
    publish) run "build -color=false" 'publish.null.publish' ;;
    validate) run validate '' ;;
  esac
}
case $1 in
  build)
    step assemble
    if [ "$out/SHA256SUMS" -nt "$out/$name.raw" ]; then
      say "$out/$name.raw has passed its smoke test and is published"
    else
      step smoke
      step publish
    fi ;;
  *) step "$1" ;;
esac
