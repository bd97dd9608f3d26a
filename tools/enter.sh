#!/bin/sh
# Runs a command in the tool root: same directory, same network namespace, same process ID (so a kill reaches it).
# A plain chroot is not enough: mkosi's sandbox wants / to be a mount point.
set -eu
. "$(dirname "$0")/lib.sh"
[ $# -gt 0 ] || die "usage: enter.sh COMMAND [ARGUMENT...]"
need_root
root=$("$repo/tools/toolroot.sh")
# Shared both ways, so that `ip netns add` in here outlives the command.
mkdir -p /run/netns
mountpoint -q /run/netns || mount --bind /run/netns /run/netns
mount --make-shared /run/netns
# Every command sees the same pristine root: only what is bound below can be written.
export ROOT="$root" REPO="$repo" CWD="$PWD" ETCD_BOOTSTRAPPER_CACHE="$cache"
exec unshare -m --propagation unchanged sh -c '
set -eu
mount --make-private "$(findmnt -no TARGET -T "$ROOT")"
mount --bind "$ROOT" "$ROOT"
cd "$ROOT"
for d in run var/tmp root mnt; do mount -t tmpfs -o mode=0755 tmpfs $d; done
chmod 1777 var/tmp
mkdir run/netns run/lock
mount --rbind /run/netns run/netns
for d in dev proc sys tmp; do mount --rbind /$d $d; mount --make-rslave $d; done
for f in etc/resolv.conf etc/hosts; do touch $f; mount --bind "$(realpath /$f)" $f; done
for d in "$REPO" "$ETCD_BOOTSTRAPPER_CACHE" ${ENTER_BIND:-}; do mkdir -p ".$d"; mount --bind "$d" ".$d"; mount --make-slave ".$d"; done
mount -o remount,bind,ro .
pivot_root . mnt
cd /
mount --make-rprivate /mnt
umount -l /mnt
cd "$CWD" 2>/dev/null || { echo "enter.sh: $CWD is outside of the repository, the cache and /tmp (ENTER_BIND adds a directory)" >&2; exit 1; }
unset ROOT REPO CWD ENTER_BIND
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
exec "$@"' enter.sh "$@"
