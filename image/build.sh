#!/bin/sh
# Builds the disk image, its UKI and a manifest into a directory; does nothing if they are there and nothing changed.
#   build.sh [--flavour minimal|cloud-init|debug] --out DIR [--force]
#   BOOTSTRAPPER_BIN: our static binary
#   DEBIAN_SNAPSHOT: URLs of archives with the packages of packages.lock; exactly those are installed then
#   BUILDER_ID: who builds, in the provenance
#   ETCD_SOURCE, ETCD_SHA256: another etcd than Debian's, see etcd.sh   IMAGE_WORK: where it is built
#   DEBUG_SSH_KEYS: a file of public keys, in the form of authorized_keys, that root logs in by; for the flavour debug, which has no other way
set -eu
umask 022
. "$(dirname "$0")/../tools/lib.sh"
out='' force='' flavour=minimal
usage='usage: build.sh [--flavour minimal|cloud-init|debug] --out DIR [--force]'
while [ $# -gt 0 ]; do
  case $1 in
    --out) mkdir -p "$2"; out=$(cd "$2" && pwd -P); shift 2 ;;
    --force) force=1; shift ;;
    --flavour) flavour=$2; shift 2 ;;
    *) die "$usage" ;;
  esac
done
[ -n "$out" ] || die "$usage"
binary=$(realpath -e "${BOOTSTRAPPER_BIN:?names the etcd-bootstrapper binary to put into the image}")
[ -z "${PACKAGES_LOCK:-}" ] || { PACKAGES_LOCK=$(realpath -e "$PACKAGES_LOCK") && export PACKAGES_LOCK; }
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repo/Cargo.toml" | head -n 1)
root=$("$repo/tools/toolroot.sh")
work=${IMAGE_WORK:-$cache/image}
debs=''
if [ -n "${DEBIAN_SNAPSHOT:-}" ]; then
  debs=$work/locked-$flavour
  "$repo/image/lock.sh" fetch "$flavour" "$debs"
fi
etcd=$("$repo/image/etcd.sh" "$debs")
case $flavour in
  minimal) name=etcd-bootstrapper_$version packages='' ;;
  # cloud-init looks at the network by `ip`, and asks DHCP itself before there is one.
  cloud-init) name=etcd-bootstrapper-cloud-init_$version packages="cloud-init dhcpcd-base iproute2" ;;
  debug)
    name=etcd-bootstrapper-debug_$version packages="bash iproute2 iputils-ping less openssh-server procps strace tcpdump"
    DEBUG_SSH_KEYS=$(realpath -e "${DEBUG_SSH_KEYS:?names the file of public keys by which root logs in to the debug image}")
    export DEBUG_SSH_KEYS
    # A private key would be in the image for all to see.
    ssh_keys=$(grep -vE '^[[:space:]]*(#|$)' "$DEBUG_SSH_KEYS") && ! echo "$ssh_keys" | grep -qvE '(^| )(ssh-ed25519|ssh-rsa|ecdsa-sha2-[a-z0-9]+|sk-[a-z0-9@.-]+) AAAA' ||
      die "$DEBUG_SSH_KEYS has to have public keys, one a line, and nothing else"
    ;;
  *) die "--flavour is minimal, cloud-init or debug, not $flavour" ;;
esac

cd "$repo/image"
# secure-boot.sh has made that one: its own is in another directory, and would be as new as this.
! grep -q '"secure_boot"' "$out/manifest.json" 2>/dev/null || die "$out has a signed image, and what is built here is not signed: name another directory"
inputs=$({ echo "$version $flavour $root"; cat "$etcd"/etcd*; [ -z "$debs" ] || cat "${PACKAGES_LOCK:-packages.lock}"; [ "$flavour" != debug ] || cat "$DEBUG_SSH_KEYS"; sha256sum <"$binary"
  sha256sum <"$repo/cloud-init/etcd_bootstrapper.py"
  find . -type f ! -name '*.md' ! -name packages.lock -exec sha256sum {} + | sort; find . -type l -printf '%p %l\n' | sort; } | sha256sum | cut -c1-64)
if [ -z "$force" ] && [ "$(cat "$out/$name.inputs" 2>/dev/null)" = "$inputs" ] && [ -f "$out/$name.raw" ]; then
  say "$out/$name.raw is up to date"
  exit 0
fi
need_root
# The bills of materials come last, and need both: who lacks one hears of it now.
"$repo/tools/debsbom.sh" >/dev/null || die "no bill of materials can be written without debsbom: where is the Python registry?"
(cd "$repo" && tools/cargo.sh --version >/dev/null) || die "no bill of materials can be written without cargo: tools/setup.sh installs it"
start=$(date +%s)
# Packages are downloaded once for both flavours.
trees=$work/cache
[ "$flavour" = minimal ] || trees=$work/cache-$flavour
[ -z "$debs" ] || trees=$work/cache-locked
mkdir -p "$work/packages"
exec 9>"$work/lock"
flock 9
# What an interrupted build left.
rm -rf "$work/mkosi" "$work/cache-locked"
mkdir -p "$work/mkosi" "$trees"
# A tree of packages begins with these, and mkosi does not see when they change.
cmp -s ids "$trees/ids" || { rm -rf --one-file-system "${trees:?}"/* && cp ids "$trees/ids"; }
mirrors
"$repo/image/stage.sh" "$work" "$binary" "$etcd" "$flavour"
say "building $name"
# A cached tree of packages is used again until the list of packages changes; --force asks the mirror anew.
: "${SOURCE_DATE_EPOCH:=$(git -C "$repo" log -1 --format=%ct -- image 2>/dev/null)}"
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1780000000}"
# shellcheck disable=SC2046
"$repo/tools/enter.sh" mkosi --directory "$repo/image" --image-version "$version" --output "$name" \
  --source-date-epoch "$SOURCE_DATE_EPOCH" ${packages:+$(printf -- '--package %s ' $packages)} --sandbox-tree "$work/sandbox" \
  --skeleton-tree "$work/skeleton" --extra-tree "$work/extra" \
  ${debs:+--package-directory "$debs"} --unified-kernel-image-format "$name" --incremental=yes --cache-directory "$trees" \
  --package-cache-dir "$work/packages" --workspace-directory "$work/mkosi" --output-directory "$work/out" \
  --force ${force:+--force} build >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; die "mkosi failed; the whole log is $work/log"; }
"$repo/image/lock.sh" list "$trees" "$etcd" >"$work/out/$name.packages"
# Nobody locks what is for labs.
[ "$flavour" = debug ] || "$repo/image/lock.sh" drift "$work/out/$name.packages" "$flavour" >"$work/out/drift" || {
  say "not what packages.lock says:"
  sed 's/^/  /' "$work/out/drift" >&2
  [ -z "$debs" ] || die "with DEBIAN_SNAPSHOT nothing else may be in the image"
}
"$repo/tools/enter.sh" python3 "$repo/image/pcrs.py" "$work/out/$name.raw" >"$work/out/$name.pcrs.json"
"$repo/image/manifest.sh" "$work/out" "$name" "$etcd" "$flavour"
"$repo/image/sbom.sh" "$work/out" "$name" "$trees" "$etcd"
"$repo/image/provenance.sh" "$work/out" "$name" "$binary"
rm -f "$out"/SHA256SUMS* "$out/$name.qcow2" "$out/$name.iso"
for end in efi pcrs.json packages spdx.json cdx.json provenance.json raw; do mv "$work/out/$name.$end" "$out/"; done
mv "$work/out/manifest.json" "$out/"
echo "$inputs" >"$out/$name.inputs"
say "$out/$name.raw made in $(($(date +%s) - start)) s"
