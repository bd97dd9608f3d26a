#!/bin/sh
# Makes the smoke test's NoCloud volume: the user-data of a cluster of one, as `config new` writes it.
# 10.0.2.15 is the address that QEMU's user network gives to its only guest.
set -eu
. "$(dirname "$0")/../tools/lib.sh"
binary=$1 volume=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$binary" config new --name smoke --size 1 --peer etcd-1=https://10.0.2.15:2380 --secrets inline --out "$dir/new" >/dev/null
mkdir "$dir/seed"
cp "$dir/new/user-data" "$dir/seed/user-data"
printf 'instance-id: smoke\nlocal-hostname: etcd-1\n' >"$dir/seed/meta-data"
"$repo/tools/enter.sh" xorriso -as mkisofs -quiet -V cidata -J -R -o "$volume" "$dir/seed" 2>"$dir/log" ||
  { cat "$dir/log" >&2; exit 1; }
