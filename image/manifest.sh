#!/bin/sh
# Writes manifest.json: what the image is, what is in it, and the sums of its files. With SOURCE_DATE_EPOCH, of the build.
set -eu
. "$(dirname "$0")/../tools/lib.sh"
dir=$1 name=$2 etcd=$3 flavour=$4
revision=$(git -C "$repo" rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git -C "$repo" status --porcelain -- image tools bootstrapper cloud-init Cargo.toml Cargo.lock rust-toolchain.toml 2>/dev/null)" ] || revision=$revision-dirty
version=$("$etcd/etcd" --version | sed -n 's/^etcd Version: //p')
if [ -f "$etcd/debian-version" ]; then
  origin=$(printf '{"debian_package": "%s"}' "$(cat "$etcd/debian-version")")
else
  origin=$(printf '{"archive": "%s", "archive_sha256": "%s"}' "$(cat "$etcd/archive-source")" "$(cat "$etcd/archive-sha256")")
fi
# An etcd takes over data of its own minor version and of the one before: etcd.io's upgrade guides go one at a time.
minor=${version#3.} minor=${minor%%.*}
sum() { sha256sum "$1" | cut -d' ' -f1; }
"$repo/tools/enter.sh" jq --sort-keys \
  --arg name "$name" --arg revision "$revision" --arg flavour "$flavour" --arg etcd "$version" --argjson origin "$origin" \
  --arg oldest "3.$((minor - 1))" --argjson epoch "$SOURCE_DATE_EPOCH" \
  --arg raw "$(sum "$dir/$name.raw")" --arg efi "$(sum "$dir/$name.efi")" --argjson bytes "$(stat -c %s "$dir/$name.raw")" \
  '{name: $name, version: .config.version, architecture: .config.architecture, flavour: $flavour, git_revision: $revision,
    source_date_epoch: $epoch,
    etcd: ({version: $etcd, oldest_data: $oldest} + $origin),
    files: {"\($name).raw": {sha256: $raw, bytes: $bytes}, "\($name).efi": {sha256: $efi}},
    packages: (.packages | map({name, version, architecture}) | sort_by(.name))}' \
  "$dir/$name.manifest" >"$dir/manifest.json"
