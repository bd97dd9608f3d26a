#!/bin/sh
# Derives what is handed out from the image that passed the smoke test.
set -eu
. "$(dirname "$0")/../tools/lib.sh"
dir=$1 name=$2
cd "$dir"
[ smoke-evidence.log -nt "$name.raw" ] && grep -q '^SMOKE-PASS' smoke-evidence.log || die "$name.raw has not passed the smoke test"
"$repo/tools/enter.sh" qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd "$dir/$name.raw" "$dir/$name.qcow2.new"
mv "$name.qcow2.new" "$name.qcow2"
sha256sum "$name.raw" "$name.efi" "$name.qcow2" manifest.json >SHA256SUMS
