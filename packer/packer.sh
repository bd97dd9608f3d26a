#!/bin/sh
# Runs Packer over these templates.
#   packer.sh assemble | smoke | publish | build     packer/qemu: make the image, boot it, sum it up; all three, in this order
#   packer.sh aws | azure | gcp | openstack | proxmox | vsphere [-var NAME=VALUE | -var-file=FILE]...   give it to a platform
#   packer.sh validate [TARGET]...                   all of them, with each one's example of its variables
#   OUT (default: the repository's out)  BOOTSTRAPPER_BIN  IMAGE_FLAVOUR (minimal, cloud-init)  KERNEL_FLAVOUR  ACCEL
#   PACKER (default: Debian's 1.6.6 of the tool root; any later one does, and installs its plugins first)
set -eu
. "$(dirname "$0")/../tools/lib.sh"
usage() { sed -n '2,7s/^# //p' "$0" >&2; exit 64; }
clouds='aws azure gcp openstack proxmox vsphere'
does=${1:-}
[ $# = 0 ] || shift
case " assemble smoke publish build validate $clouds " in *" ${does:-none} "*) ;; *) usage ;; esac
case $does in assemble | smoke | publish | build) [ $# = 0 ] || usage ;; esac

root=$("$repo/tools/toolroot.sh")
out=${OUT:-$repo/out}
mkdir -p "$out"
out=$(cd "$out" && pwd -P)
flavour=${IMAGE_FLAVOUR:-minimal}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repo/Cargo.toml" | head -n 1)
name=etcd-bootstrapper
[ "$flavour" = minimal ] || name=$name-$flavour
name=${name}_$version
binary=${BOOTSTRAPPER_BIN:-$out/etcd-bootstrapper}
packer=${PACKER:-$root/usr/bin/packer}
command -v "$packer" >/dev/null || die "there is no Packer at $packer"
export PATH="$repo/packer/bin:$PATH" PACKER_CACHE_DIR="$cache/packer" CHECKPOINT_DISABLE=1
case $("$packer" version) in *v1.6.*) ;; *) "$packer" init "$repo/packer/plugins" ;; esac

qemu() { # verb, build
  verb=$1 only=${2:+-only=$2}
  # shellcheck disable=SC2086
  "$packer" $verb $only -var "output_dir=$out" -var "name=$name" -var "bootstrapper_bin=$binary" \
    -var "image_flavour=$flavour" -var "kernel_flavour=${KERNEL_FLAVOUR:-cloud}" -var "accelerator=$accel" -var "seed=$out/smoke-seed.iso" \
    -var "ovmf_code=$root/usr/share/OVMF/OVMF_CODE_4M.fd" -var "ovmf_vars=$out/smoke-vars.fd" "$repo/packer/qemu"
}
cloud() { # verb, target, argument...
  verb=$1 target=$2
  shift 2
  case $target in
    proxmox | vsphere) bytes="iso=$out/$name.iso" ;;
    *) bytes="image=$out/$name.raw" ;;
  esac
  # shellcheck disable=SC2086
  "$packer" $verb -var "$bytes" -var "version=$version" "$@" "$repo/packer/$target"
}
accel=tcg
step() {
  case $1 in
    assemble) qemu "build -color=false" 'image.null.assemble' ;;
    smoke)
      accel=$("$repo/tools/accel.sh")
      rm -rf "$out"/smoke "$out"/smoke-*
      "$repo/packer/qemu/seed.sh" "$binary" "$out/smoke-seed.iso"
      cp "$root/usr/share/OVMF/OVMF_VARS_4M.fd" "$out/smoke-vars.fd"
      qemu "build -color=false" 'smoke.qemu.smoke' ;;
    publish) qemu "build -color=false" 'publish.null.publish' ;;
  esac
}
case $does in
  build)
    step assemble
    if [ "$out/SHA256SUMS" -nt "$out/$name.raw" ]; then
      say "$out/$name.raw has passed its smoke test and is published"
    else
      step smoke
      step publish
    fi ;;
  assemble | smoke | publish) step "$does" ;;
  validate)
    [ $# -gt 0 ] || set -- qemu $clouds
    for target in "$@"; do
      case " qemu $clouds " in *" $target "*) ;; *) die "no target is called $target; there are: qemu $clouds" ;; esac
      if [ "$target" = qemu ]; then qemu validate ''; else
        cloud validate "$target" -var-file="$repo/packer/$target/example.pkrvars.hcl"
      fi || die "packer/$target is not valid"
    done ;;
  *) cloud "build -color=false" "$does" "$@" ;;
esac
