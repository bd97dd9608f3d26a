#!/bin/sh
# Derives what is handed out from the image that passed the smoke test, and signs it by minisign with the key file that
# MINISIGN_KEY names (one without a password, as `minisign -G -W` makes it).
set -eu
. "$(dirname "$0")/../lib.sh"
dir=$1 name=$2
key=
[ -z "${MINISIGN_KEY:-}" ] || key=$(realpath -e "$MINISIGN_KEY")
cd "$dir"
no_debug "$dir"
[ smoke-evidence.log -nt "$name.raw" ] && grep -q '^SMOKE-PASS' smoke-evidence.log || die "$name.raw has not passed the smoke test"
"$repo/packer/convert.sh" qcow2 "$dir/$name.raw" "$dir/$name.qcow2"
set -- "$name.raw" "$name.efi" "$name.qcow2" "$name.pcrs.json" "$name.packages" "$name.spdx.json" "$name.cdx.json" "$name.provenance.json" manifest.json
sha256sum "$@" >SHA256SUMS.new
if [ -f "$name.iso" ]; then
  # The manifest of what it installs is in it as it is.
  grep -qaF "$(sed -n "s/  $name.raw$//p" SHA256SUMS.new)" "$name.iso" ||
    die "$dir/$name.iso does not install this $name.raw: \`make iso\` makes one that does, or remove it"
  sha256sum "$name.iso" >>SHA256SUMS.new
fi
rm -f SHA256SUMS.minisig
if [ -n "$key" ]; then
  # minisign would ask whoever is at the terminal.
  ENTER_BIND=${key%/*} "$repo/tools/enter.sh" minisign -S -W -s "$key" -m "$dir/SHA256SUMS.new" -x "$dir/SHA256SUMS.minisig" \
    -t "$name sha256=$(sha256sum <"$name.raw" | cut -c1-64)" </dev/null >&2 || die "$key could not sign: is it minisign's, and without a password?"
else
  say "SHA256SUMS is not signed: MINISIGN_KEY names no key"
fi
mv SHA256SUMS.new SHA256SUMS
