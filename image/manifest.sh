#!/bin/sh
# Writes manifest.json: what the image is, what is in it, and the sums of its files.
set -eu
. "$(dirname "$0")/../tools/lib.sh"
dir=$1 name=$2 etcd=$3 kernel=$4 flavour=$5
revision=$(git -C "$repo" rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git -C "$repo" status --porcelain -- image tools bootstrapper Cargo.toml Cargo.lock 2>/dev/null)" ] || revision=$revision-dirty
sum() { sha256sum "$1" | cut -d' ' -f1; }
"$repo/tools/enter.sh" jq --sort-keys \
  --arg name "$name" --arg revision "$revision" --arg kernel "$kernel" --arg flavour "$flavour" --arg etcd "$(cat "$etcd/debian-version")" \
  --arg raw "$(sum "$dir/$name.raw")" --arg efi "$(sum "$dir/$name.efi")" --argjson bytes "$(stat -c %s "$dir/$name.raw")" \
  '{name: $name, version: .config.version, architecture: .config.architecture, kernel: $kernel, flavour: $flavour, git_revision: $revision,
    etcd: {version: ($etcd | split("-")[0]), debian_package: $etcd},
    files: {"\($name).raw": {sha256: $raw, bytes: $bytes}, "\($name).efi": {sha256: $efi}},
    packages: (.packages | map({name, version, architecture}) | sort_by(.name))}' \
  "$dir/$name.manifest" >"$dir/manifest.json"
