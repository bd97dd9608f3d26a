#!/bin/sh
# Makes the smoke test's NoCloud volume: the user-data of a cluster of one, as `config new` writes it.
# 10.0.2.15 is the address that QEMU's user network gives to its only guest.
set -eu
. "$(dirname "$0")/../lib.sh"
binary=$1 volume=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$binary" config new --name smoke --size 1 --peer etcd-1=10.0.2.15 --out "$dir/new" >/dev/null
"$repo/tools/enter.sh" "$repo/cloud-init/make-seed.sh" -o "$volume" -i smoke -n etcd-1 "$dir/new/user-data" >"$dir/log" 2>&1 ||
  { cat "$dir/log" >&2; exit 1; }
