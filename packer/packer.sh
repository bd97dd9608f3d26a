#!/bin/sh
# Runs Packer over these templates.
#   packer.sh assemble | smoke | publish | build     packer/qemu: make the image, boot it, sum it up; all three, in this order
#   packer.sh aws | azure | gcp | openstack | proxmox | vsphere [-var NAME=VALUE | -var-file=FILE]...   give it to a platform
#   packer.sh validate [TARGET]...                   all of them, with each one's example of its variables
#   OUT (default: the repository's out, where `make` has put that flavour)  BOOTSTRAPPER_BIN  IMAGE_FLAVOUR (minimal, cloud-init)  ACCEL
#   PACKER (any from 1.6.6 on; a later one installs its plugins first). Default: Debian's 1.6.6 of the tool root, which root alone
#   can make; a platform, whose credentials are a person's and not root's, is given the disk by the `packer` in PATH if there is one
set -eu
. "$(dirname "$0")/../tools/lib.sh"
usage() { sed -n '2,8s/^# //p' "$0" >&2; exit 64; }
clouds='aws azure gcp openstack proxmox vsphere'
does=${1:-}
[ $# = 0 ] || shift
case " assemble smoke publish build validate $clouds " in *" ${does:-none} "*) ;; *) usage ;; esac
case $does in assemble | smoke | publish | build) [ $# = 0 ] || usage ;; esac

root=
tool_root() { [ -n "$root" ] || root=$("$repo/tools/toolroot.sh") || exit 1; }
flavour=${IMAGE_FLAVOUR:-minimal}
out=$repo/out
[ "$flavour" = minimal ] || out=$out/$flavour
out=${OUT:-$out}
[ "$flavour" != debug ] || die "a debug image is for labs: Packer gives it to nobody; \`make image FLAVOUR=debug DEBUG_SSH_KEYS=FILE\` makes one"
mkdir -p "$out"
out=$(cd "$out" && pwd -P)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repo/Cargo.toml" | head -n 1)
name=etcd-bootstrapper
[ "$flavour" = minimal ] || name=$name-$flavour
name=${name}_$version
binary=${BOOTSTRAPPER_BIN:-$out/etcd-bootstrapper}
# Beside an image that secure-boot.sh has signed there is no program.
[ -e "$binary" ] || [ -n "${BOOTSTRAPPER_BIN:-}" ] || binary=$repo/out/etcd-bootstrapper
packer=${PACKER:-}
[ -n "$packer" ] || case " $clouds " in *" $does "*) packer=$(command -v packer) || true ;; esac
if [ -z "$packer" ]; then
  root=$("$repo/tools/toolroot.sh") || die "there is no Packer: root gets the tool root's, anybody else installs one or names it by PACKER"
  packer=$root/usr/bin/packer
fi
command -v "$packer" >/dev/null || die "there is no Packer at $packer"
export PACKER_CACHE_DIR="$cache/packer" CHECKPOINT_DISABLE=1
# Some systems have another program of that name.
case $("$packer" version </dev/null) in
  'Packer v1.6.'*) ;;
  'Packer v'*) "$packer" init "$repo/packer/plugins" ;;
  *) die "$packer is not HashiCorp's Packer: name that one by PACKER" ;;
esac

qemu() { # verb, build
  verb=$1 only=${2:+-only=$2}
  tool_root
  # shellcheck disable=SC2086
  PATH="$repo/packer/bin:$PATH" "$packer" $verb $only -var "output_dir=$out" -var "name=$name" -var "bootstrapper_bin=$binary" \
    -var "image_flavour=$flavour" -var "accelerator=$accel" -var "seed=$out/smoke-seed.iso" \
    -var "ovmf_code=$root/usr/share/OVMF/OVMF_CODE_4M.fd" -var "ovmf_vars=$out/smoke-vars.fd" "$repo/packer/qemu"
}
# Variables of the environment are the only ones that count less than a person's own file.
default() { # variable, value
  [ -n "$(printenv "PKR_VAR_$1")" ] || export "PKR_VAR_$1=$2"
}
cloud() ( # verb, target, argument...
  verb=$1 target=$2
  shift 2
  case $target in
    proxmox | vsphere) default iso "$out/$name.iso" ;;
    *) default image "$out/$name.raw" ;;
  esac
  default version "$version"
  # Beside the minimal one, and not taken for it.
  [ "$flavour" = minimal ] || case $target in
    azure) default definition "etcd-bootstrapper-$flavour" ;;
    gcp)
      default name "$(echo "$name" | tr _. --)"
      default family "etcd-bootstrapper-$flavour" ;;
    proxmox) default name "$(echo "$name" | tr _. --)" ;;
    *) default name "$name" ;;
  esac
  # Root has built it, who is known to the cloud may not write there.
  [ -w "$out" ] || [ "$target" != gcp ] || { mkdir -p "$cache" && default tar "$cache/$name.raw.tar.gz"; }
  # shellcheck disable=SC2086
  "$packer" $verb "$@" "$repo/packer/$target"
)
accel=tcg
step() {
  case $1 in
    assemble) qemu "build -color=false" 'image.null.assemble' ;;
    smoke)
      tool_root
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
    # A signed image is what it is.
    grep -q '"secure_boot"' "$out/manifest.json" 2>/dev/null || step assemble
    if [ "$out/SHA256SUMS" -nt "$out/$name.raw" ] && [ "$out/$name.iso" -nt "$out/SHA256SUMS" ]; then
      # A medium has come to it.
      step publish
    elif [ "$out/SHA256SUMS" -nt "$out/$name.raw" ] && [ -n "${MINISIGN_KEY:-}" ] && [ ! -e "$out/SHA256SUMS.minisig" ]; then
      # A key has come to it.
      step publish
    elif [ "$out/SHA256SUMS" -nt "$out/$name.raw" ]; then
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
