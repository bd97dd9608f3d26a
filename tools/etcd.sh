#!/bin/sh
# Prints the directory with etcd, etcdctl and etcdutl of Debian forky (what the image ships) or trixie.
set -eu
. "$(dirname "$0")/lib.sh"
root=$("$repo/tools/toolroot.sh")
dir=$cache/$(cat "$root/etc/etcd-of-${1:-forky}")
[ -x "$dir/etcd" ] || die "$dir is gone; remove $root and run tools/toolroot.sh again"
echo "$dir"
