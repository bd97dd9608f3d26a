#!/bin/sh
# Prints kvm if QEMU can boot a stock kernel with it, else tcg. /dev/kvm alone proves nothing: some hosts offer one
# that no unmodified kernel survives. The answer holds until this host boots again.
set -eu
. "$(dirname "$0")/lib.sh"
[ -z "${ACCEL:-}" ] || { echo "$ACCEL"; exit 0; }
known=$cache/accel-$(cat /proc/sys/kernel/random/boot_id)
if [ ! -s "$known" ]; then
  found=tcg
  if [ -w /dev/kvm ]; then
    say "/dev/kvm is there; trying to boot a kernel with it"
    # The kernel has no root file system, so reaching that panic (and leaving by it) is a full success.
    log=$(timeout -k 1 10 "$repo/tools/enter.sh" qemu-system-x86_64 -machine q35,accel=kvm -cpu host -smp 2 -m 256 \
      -nodefaults -display none -no-reboot -serial stdio \
      -kernel /usr/share/etcd-bootstrapper/probe-vmlinuz -append 'console=ttyS0 panic=-1' 2>&1 </dev/null | tr -d '\0') || true
    case $log in *'Unable to mount root fs'*) found=kvm ;; esac
  fi
  mkdir -p "$cache"
  rm -f "$cache"/accel-*
  echo $found >"$known"
fi
cat "$known"
