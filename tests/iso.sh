#!/bin/sh
# What an installation medium must be, shown on the one of the image in a directory (default: out): iso.sh [DIR]
# It is small, made again it is the same, and anybody can put a site's configuration into it, and nothing else changes then.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
# Where the tool root has the same files.
tmp=$(mktemp -d /tmp/iso-test-XXXXXX)
chmod 755 "$tmp"
trap 'rm -rf "$tmp"' EXIT
failed=0
fail() { say "FAILED: $*"; failed=1; }
program=$(realpath "${BOOTSTRAPPER_BIN:-out/etcd-bootstrapper}")

dir=$(realpath "${1:-out}")
name=$(tools/enter.sh jq -r .name "$dir/manifest.json")
iso=$dir/$name.iso
image/iso.sh "$dir"
megabytes=$(($(stat -c %s "$iso") / 1000000 + 1))
if [ "$megabytes" -le 200 ]; then echo "note: $name.iso: $megabytes MB, at most 200"; else fail "$name.iso: $megabytes MB, more than 200"; fi

# Another folder, umask, time zone and locale.
mkdir -m 700 "$tmp/somewhere else"
git ls-files -z | tar --null -T - -c | (umask 077 && tar -x --no-same-permissions -C "$tmp/somewhere else")
(umask 077 && cd / && TZ=Pacific/Kiritimati LC_ALL=tr_TR.UTF-8 "$tmp/somewhere else/image/iso.sh" "$dir" --out "$tmp/again.iso")
if cmp "$iso" "$tmp/again.iso"; then
  echo "note: $name.iso made twice: sha256 $(sha256sum <"$iso" | cut -c1-64)"
else
  fail "$name.iso made twice differs"
fi

# The sums in it are those of what is in it, for who has xorriso and sha256sum alone.
tools/enter.sh sh -c 'mkdir "$2/files" && xorriso -osirrox on -indev "$1" -extract / "$2/files" 2>/dev/null && cd "$2/files" && sha256sum --quiet -c sha256sums' \
  _ "$iso" "$tmp" || fail "the sums in $name.iso"

# Without root, and without any tool.
"$program" config new --name site --size 1 --peer etcd-1=10.0.0.11 --out "$tmp/new" >/dev/null
chmod -R a+rX "$tmp/new"
cp "$program" "$tmp/program"
cp "$iso" "$tmp/delivered.iso"
chmod 644 "$tmp/delivered.iso"
mkdir -m 777 "$tmp/site"
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$tmp/program" iso "$@"; }
printf 'version: 2\nethernets: {lan: {match: {macaddress: "52:54:00:00:00:01"}, addresses: [10.0.0.11/24]}}\n' >"$tmp/new/network-config"
nobody customize --user-data "$tmp/new/user-data" --network "$tmp/new/network-config" --dest-disk serial=S1 \
  --out "$tmp/site/site.iso" "$tmp/delivered.iso" >"$tmp/said" || fail "iso customize: $(cat "$tmp/said")"
grep -q 'onto the disk with serial S1' "$tmp/said" || fail "iso customize says $(cat "$tmp/said")"
place=$(tools/enter.sh xorriso -indev "$tmp/site/site.iso" -find /site.img -exec report_lba -- 2>/dev/null | awk -F, '/^File data lba/ { print $2 * 2048, $4 }')
set -- $place
cmp -l "$tmp/delivered.iso" "$tmp/site/site.iso" | awk -v from="${1:-0}" -v bytes="${2:-0}" \
  '$1 <= from || $1 > from + bytes { outside++ } { all++ } END { exit !(all > 0 && !outside) }' || fail "more than site.img has changed (at ${1:-?}, ${2:-?} bytes)"
nobody reset --out "$tmp/site/reset.iso" "$tmp/site/site.iso" && cmp "$tmp/delivered.iso" "$tmp/site/reset.iso" || fail "iso reset leaves something"

# What is refused leaves nothing.
refused() { # what it says, arguments
  words=$1
  shift
  status=0
  nobody "$@" --out "$tmp/site/no.iso" "$medium" >"$tmp/said" 2>&1 || status=$?
  [ "$status" = 65 ] && grep -q -- "$words" "$tmp/said" && [ ! -e "$tmp/site/no.iso" ] || fail "\`iso $*\` ends with $status: $(cat "$tmp/said")"
}
medium=$tmp/delivered.iso
sed 's/size: 1/size: 2/' "$tmp/new/user-data" >"$tmp/new/two"
refused 'cluster.size: 2 voters survive no more' customize --user-data "$tmp/new/two" --dest-disk serial=S1
refused 'it names no disk' customize --user-data "$tmp/new/user-data"
echo 'version: 3' >"$tmp/new/three"
refused 'version' customize --user-data "$tmp/new/user-data" --network "$tmp/new/three" --dest-disk serial=S1
head -c 1000000 "$tmp/delivered.iso" >"$tmp/short.iso"
medium=$tmp/short.iso
refused 'is not an installation medium of this program' customize --user-data "$tmp/new/user-data" --dest-disk serial=S1
medium=$tmp/new/user-data
refused 'is not an installation medium of this program: it is no ISO 9660' customize --user-data "$tmp/new/user-data" --dest-disk serial=S1
[ "$failed" = 0 ]
