#!/bin/sh
# Lays out what build.sh gives to mkosi: the users, the overlay on the root, the binaries, and how this machine reaches a mirror.
set -eu
. "$(dirname "$0")/../tools/lib.sh"
work=$1 binary=$2 etcd=$3 flavour=$4
rm -rf "$work/extra" "$work/skeleton" "$work/sandbox" "$work/out"
mkdir -p "$work/extra/usr/bin" "$work/skeleton/etc" "$work/sandbox/etc/apt/sources.list.d" "$work/sandbox/etc/apt/apt.conf.d" "$work/out"
cp -r "$repo/image/rootfs/." "$work/extra/"
if [ "$flavour" = cloud-init ]; then
  cp -r "$repo/image/cloud-init/rootfs/." "$work/extra/"
  mkdir -p "$work/extra/usr/lib/etcd-bootstrapper/cloud-init"
  cp "$repo/cloud-init/etcd_bootstrapper.py" "$work/extra/usr/lib/etcd-bootstrapper/cloud-init/"
fi
if [ "$flavour" = debug ]; then
  cp -r "$repo/image/debug/rootfs/." "$work/extra/"
  cp "$DEBUG_SSH_KEYS" "$work/extra/usr/lib/etcd-bootstrapper/debug/authorized_keys"
fi
mkdir -p "$work/extra/usr/lib/etcd-bootstrapper"
# Compiled here, so that the image has no parser and no boot waits for one. What the kernel of the image knows of is in a file,
# since this machine's knows other things, or nothing; a later kernel takes what was compiled for it.
features=$repo/image/apparmor/features
"$repo/tools/enter.sh" apparmor_parser --skip-kernel-load --skip-cache --kernel-features "$features" --policy-features "$features" \
  --ofile "$work/extra/usr/lib/etcd-bootstrapper/apparmor" "$repo/image/apparmor/profiles"
# Before the first package, since a package gives whom it does not find there the next number that is free. Some look for root
# before base-passwd has made it.
for file in passwd group; do "$repo/tools/enter.sh" cat /usr/share/base-passwd/$file.master >"$work/skeleton/etc/$file"; done
"$repo/tools/enter.sh" systemd-sysusers --root="$work/skeleton" - <"$repo/image/ids" 2>"$work/log" || die "image/ids: $(cat "$work/log")"
rm "$work/skeleton/etc/.pwd.lock"
# A checkout's modes depend on whose umask it was.
chmod -R u=rwX,go=rX "$work/extra"
install -m 755 "$binary" "$work/extra/usr/bin/etcd-bootstrapper"
install -m 755 "$etcd/etcd" "$etcd/etcdctl" "$etcd/etcdutl" "$work/extra/usr/bin/"
# So that a boot need not run etcd to learn what it is.
"$etcd/etcd" --version | sed -n 's/^etcd Version: //p' >"$work/extra/usr/lib/etcd-bootstrapper/etcd-version"
host_apt_conf >"$work/sandbox/etc/apt/apt.conf.d/host.conf"
sources=$work/sandbox/etc/apt/sources.list.d/mkosi.sources
: >"$sources"
# The directory of locked packages is the only source then.
[ -z "${DEBIAN_SNAPSHOT:-}" ] || exit 0
for suites in "$DEBIAN_MIRROR trixie trixie-updates" "$DEBIAN_SECURITY_MIRROR trixie-security"; do
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n' \
    "${suites%% *}" "${suites#* }"
done >"$sources"
