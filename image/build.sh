#!/bin/sh
# Builds the disk image, its UKI and a manifest into a directory; does nothing if they are there and nothing changed.
#   build.sh --out DIR [--force]       BOOTSTRAPPER_BIN: our static binary   KERNEL_FLAVOUR: cloud (default) or generic
set -eu
umask 022
. "$(dirname "$0")/../tools/lib.sh"
out='' force=''
while [ $# -gt 0 ]; do
  case $1 in
    --out) mkdir -p "$2"; out=$(cd "$2" && pwd -P); shift 2 ;;
    --force) force=1; shift ;;
    *) die "usage: build.sh --out DIR [--force]" ;;
  esac
done
[ -n "$out" ] || die "usage: build.sh --out DIR [--force]"
binary=$(realpath -e "${BOOTSTRAPPER_BIN:?names the etcd-bootstrapper binary to put into the image}")
flavour=${KERNEL_FLAVOUR:-cloud}
case $flavour in
  cloud) kernel=linux-image-cloud-amd64 ;;
  generic) kernel=linux-image-amd64 ;;
  *) die "KERNEL_FLAVOUR is cloud or generic, not $flavour" ;;
esac
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repo/Cargo.toml" | head -n 1)
root=$("$repo/tools/toolroot.sh")
etcd=$("$repo/tools/etcd.sh" forky)
name=etcd-bootstrapper_$version

cd "$repo/image"
inputs=$({ echo "$version $flavour $root"; cat "$etcd/debian-version"; sha256sum <"$binary"
  find . -type f ! -name '*.md' -exec sha256sum {} + | sort; find . -type l -printf '%p %l\n' | sort; } | sha256sum | cut -c1-64)
if [ -z "$force" ] && [ "$(cat "$out/$name.inputs" 2>/dev/null)" = "$inputs" ] && [ -f "$out/$name.raw" ]; then
  say "$out/$name.raw is up to date"
  exit 0
fi
need_root
start=$(date +%s)
work=$cache/image
mkdir -p "$work/cache" "$work/packages"
exec 9>"$work/lock"
flock 9
# What an interrupted build left.
rm -rf "$work/mkosi"
mkdir "$work/mkosi"
mirrors
"$repo/image/stage.sh" "$work" "$binary" "$etcd"
say "building $name ($flavour kernel)"
# A cached tree of packages is used again until the list of packages changes; --force asks the mirror anew.
SOURCE_DATE_EPOCH=$(git -C "$repo" log -1 --format=%ct -- image 2>/dev/null) || SOURCE_DATE_EPOCH=
"$repo/tools/enter.sh" mkosi --directory "$repo/image" --image-version "$version" --output "$name" \
  --source-date-epoch "${SOURCE_DATE_EPOCH:-1780000000}" --package "$kernel" --sandbox-tree "$work/sandbox" --extra-tree "$work/extra" \
  --unified-kernel-image-format "$name" --incremental=yes --cache-directory "$work/cache" \
  --package-cache-dir "$work/packages" --workspace-directory "$work/mkosi" --output-directory "$work/out" \
  --force ${force:+--force} build >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; die "mkosi failed; the whole log is $work/log"; }
"$repo/image/manifest.sh" "$work/out" "$name" "$etcd" "$flavour"
rm -f "$out/SHA256SUMS" "$out/$name.qcow2"
mv "$work/out/$name.raw" "$work/out/$name.efi" "$work/out/manifest.json" "$out/"
echo "$inputs" >"$out/$name.inputs"
say "$out/$name.raw made in $(($(date +%s) - start)) s"
