#!/bin/sh
# The image for labs: made with a key of this run, looked through, booted and logged in to.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
for program in ssh ssh-keygen; do command -v $program >/dev/null || die "there is no $program: \`apt-get install openssh-client\`"; done
tmp=$(mktemp -d /tmp/debug-test-XXXXXX)
trap 'rm -rf "$tmp"' EXIT
build() { # file of keys
  DEBUG_SSH_KEYS=$1 BOOTSTRAPPER_BIN=out/etcd-bootstrapper image/build.sh --flavour debug --out "$tmp/out"
}
ssh-keygen -q -t ed25519 -N '' -f "$tmp/key"
: >"$tmp/nothing"
for wrong in key nothing; do
  if build "$tmp/$wrong" 2>"$tmp/said" || ! grep -q 'has to have public keys' "$tmp/said"; then
    die "an image is made with a private key, or none: $(cat "$tmp/said")"
  fi
done
build "$tmp/key.pub"
raw=$(echo "$tmp"/out/*.raw)
# What the lint says of this image it says of no other one; all else is as closed.
mkdir "$tmp/parts"
image/unpack.sh "$raw" "$tmp/parts"
said=$(tools/enter.sh image/lint.sh "$tmp/parts") || true
rules=$(echo "$said" | cut -d: -f1 | sort -u | xargs)
[ "$rules" = 'debug-image login-key login-shell numeric-id' ] || die "the lint says of $raw: $said"
rm -rf "$tmp/parts"
DEBUG_SSH_KEY=$tmp/key tests/vm.sh test debug --image "$raw"
