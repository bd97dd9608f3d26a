#!/bin/sh
# Prints the path of the tool root, making it first if this list of packages and this script never made one.
set -eu
umask 022
. "$(dirname "$0")/lib.sh"
tools=$repo/tools
hash=$(cat "$tools/toolroot.pkgs" "$tools/toolroot.sh" "$tools/toolroot-extra.sh" | sha256sum | cut -c1-12)
root=$cache/toolroot-$hash
if [ -d "$root" ]; then echo "$root"; exit 0; fi

need_root
mkdir -p "$cache"
exec 9>"$cache/toolroot.lock"
flock -n 9 || { say "another build of the tool root is running, waiting for it"; flock 9; }
if [ -d "$root" ]; then echo "$root"; exit 0; fi

start=$(date +%s)
if ! command -v mmdebstrap >/dev/null; then
  say "installing mmdebstrap on this machine"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -qqy --no-install-recommends mmdebstrap >&2 ||
    { apt-get update -qq >&2; apt-get install -qqy --no-install-recommends mmdebstrap >&2; }
fi
mirrors
say "making the tool root from $DEBIAN_MIRROR (about a minute)"
work=$cache/toolroot.new
rm -rf "$work" "$work.apt" "$work.log"
host_apt_conf >"$work.apt"
# The names in the log are the progress a person can follow; the rest is for whoever must find a fault.
if ! mmdebstrap --mode=root --variant=apt --aptopt="$work.apt" --aptopt='APT::Install-Recommends "false"' \
  --include="$(grep -v '^#' "$tools/toolroot.pkgs" | xargs | tr ' ' ,)" \
  --customize-hook="DEBIAN_MIRROR=$DEBIAN_MIRROR sh $tools/toolroot-extra.sh \"\$1\" $cache" \
  trixie "$work" \
  "deb $DEBIAN_MIRROR trixie main" "deb $DEBIAN_MIRROR trixie-updates main" \
  "deb $DEBIAN_SECURITY_MIRROR trixie-security main" >"$work.log" 2>&1; then
  tail -n 30 "$work.log" >&2
  die "mmdebstrap failed; the whole log is $work.log"
fi
sync -f "$work"
mv "$work" "$root"
rm -f "$work.apt" "$work.log"
say "tool root made in $(($(date +%s) - start)) s, $(du -sm "$root" | cut -f1) MB"
echo "$root"
