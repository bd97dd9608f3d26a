#!/bin/sh
# Runs while mmdebstrap makes the tool root: adds what trixie does not have. $1 is the new root, $2 the cache.
# Packer left Debian after bookworm and needs only libc6; etcd 3.5.30 has not reached trixie.
set -eu
root=$1 cache=$2
list=$root/etc/apt/sources.list.d/other-suites.list
key=/usr/share/keyrings/debian-archive-keyring.gpg
# A mirror's copy of forky may be older than its release file allows; the lowest version below takes that check's place.
printf "deb [signed-by=$key check-valid-until=no] $DEBIAN_MIRROR %s main\n" bookworm forky >"$list"
# Downloaded by name, never installed: nothing of another suite may enter the root's own dependencies.
printf 'Package: *\nPin: release n=%s\nPin-Priority: -1\n\n' bookworm forky >"$root/etc/apt/preferences.d/other-suites"
chroot "$root" apt-get -q update
mkdir "$root/debs"
fetch() { chroot "$root" sh -c 'cd /debs && mkdir "$1" && cd "$1" && shift && apt-get -q -o APT::Sandbox::User=root download "$@"' _ "$@"; }
fetch packer packer/bookworm
dpkg-deb -x "$root"/debs/packer/packer_*.deb "$root/debs/packer/x"
install -m 755 "$root/debs/packer/x/usr/bin/packer" "$root/usr/bin/packer"
# A stock kernel, for tools/accel.sh to boot.
fetch kernel "$(chroot "$root" apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)"
dpkg-deb -x "$root"/debs/kernel/*.deb "$root/debs/kernel/x"
install -D -m 644 "$root"/debs/kernel/x/boot/vmlinuz-* "$root/usr/share/etcd-bootstrapper/probe-vmlinuz"
for suite in forky trixie; do
  case $suite in forky) least=3.5.30 ;; trixie) least=3.5.16 ;; esac
  fetch $suite etcd-server/$suite etcd-client/$suite
  for deb in "$root"/debs/$suite/*.deb; do dpkg-deb -x "$deb" "$root/debs/$suite/x"; done
  package=$(dpkg-deb -f "$root"/debs/$suite/etcd-server_*.deb Version)
  version=${package%%-*} version=${version%%+*}
  case $version in 3.5.*) ;; *) echo "etcd $version in $suite: this project is made for etcd 3.5" >&2; exit 1 ;; esac
  dpkg --compare-versions "$version" ge $least || { echo "etcd $version in $suite: at least $least is known to be there" >&2; exit 1; }
  # Of this very package: a rebuild of the same etcd may have other modules in it.
  dir=$cache/etcd-$package-$suite
  if [ ! -d "$dir" ]; then
    rm -rf "$dir.new"
    mkdir "$dir.new"
    install -m 755 "$root/debs/$suite/x/usr/bin/etcd" "$root/debs/$suite/x/usr/bin/etcdctl" \
      "$root/debs/$suite/x/usr/bin/etcdutl" "$dir.new/"
    echo "$package" >"$dir.new/debian-version"
    # For the image's lock and its bill of materials: the packages, and what was linked into them.
    cp "$root/debs/$suite/"*.deb "$dir.new/"
    chroot "$root" apt-cache show "etcd-server=$package" "etcd-client=$package" >"$dir.new/control"
    mv "$dir.new" "$dir"
  fi
  echo "${dir##*/}" >"$root/etc/etcd-of-$suite"
done
rm -rf "$root/debs" "$list" "$root/etc/apt/preferences.d/other-suites" "$root"/var/lib/apt/lists/*
