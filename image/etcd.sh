#!/bin/sh
# Prints a directory with the etcd, etcdctl and etcdutl that go into the image.
#   etcd.sh [DEBS]  DEBS: where lock.sh has put the locked packages
#   ETCD_SOURCE     debian (default), or the path or URL of a release archive of upstream's, etcd-v3.6.5-linux-amd64.tar.gz
#   ETCD_SHA256     that archive's sum, without which none is taken
set -eu
umask 022
. "$(dirname "$0")/../tools/lib.sh"
source=${ETCD_SOURCE:-debian} debs=${1:-}
dir=
case $source in
  debian)
    if [ -z "$debs" ]; then dir=$("$repo/tools/etcd.sh" forky); else
      id=$(cat "$debs"/etcd-server_*.deb "$debs"/etcd-client_*.deb | sha256sum | cut -c1-12)
    fi ;;
  *)
    id=${ETCD_SHA256:?is the sha256 of the archive that ETCD_SOURCE names}
    case $source in
      *://*) ;;
      *) source=file://$(realpath -e "$source") ;;
    esac ;;
esac
dir=${dir:-$cache/etcd-$id}
[ -d "$dir" ] || lock_install "etcd of $source"
if ! [ -d "$dir" ]; then
  rm -rf "$dir.new"
  mkdir -p "$dir.new"
  trap 'rm -rf "$dir.new"' EXIT
  cd "$dir.new"
  if [ "$source" = debian ]; then
    for name in etcd-server etcd-client; do
      dpkg-deb -x "$debs/$name"_*.deb x
      cp "$debs/$name"_*.deb .
      { dpkg-deb -f "$debs/$name"_*.deb; echo; } >>control
    done
    dpkg-deb -f "$debs"/etcd-server_*.deb Version >debian-version
    mv x/usr/bin/etcd x/usr/bin/etcdctl x/usr/bin/etcdutl .
  else
    /usr/lib/apt/apt-helper -o APT::Sandbox::User=root -o Acquire::Retries=3 download-file "$source" archive "SHA256:$ETCD_SHA256" >log 2>&1 ||
      die "$source with sha256 $ETCD_SHA256 was not to be had: $(grep '^E:' log | head -n 1)"
    mkdir x
    tar -xzf archive -C x --strip-components=1 --no-same-owner
    for name in etcd etcdctl etcdutl; do install -m 755 "x/$name" . || die "$source has no $name where upstream's archives have it"; done
    # Where it was on this machine is nobody's business.
    case $source in file://*) echo "${source##*/}" ;; *) echo "$source" ;; esac >archive-source
    echo "$ETCD_SHA256" >archive-sha256
  fi
  rm -rf x archive log
  mv "$dir.new" "$dir"
fi
# What asks it again does so in pipes, which end well without an answer.
"$dir/etcd" --version | grep -q '^etcd Version: [0-9]' || die "$dir/etcd does not say its version: is $source of linux-amd64?"
echo "$dir"
