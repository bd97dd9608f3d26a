#!/bin/sh
# Writes NAME.provenance.json beside an image: an in-toto statement with SLSA's provenance v1 of how it was built, from what.
#   provenance.sh DIR NAME BINARY, as build.sh has them. BUILDER_ID says who builds.
# It speaks of what its name says; who signs SHA256SUMS vouches for it.
set -eu
. "$(dirname "$0")/../tools/lib.sh"
dir=$1 name=$2 binary=$3
cd "$dir"
sums=$(sha256sum "$name.raw" "$name.efi" "$name.pcrs.json" "$name.spdx.json" "$name.cdx.json" manifest.json | awk '{ printf "%s{\"name\":\"%s\",\"digest\":{\"sha256\":\"%s\"}}", (NR > 1 ? "," : ""), $2, $1 }')
packages=$(awk '{ v = $2; gsub("[+]", "%2B", v); printf "%s{\"uri\":\"pkg:deb/debian/%s@%s?arch=%s\",\"digest\":{\"sha256\":\"%s\"}}", (NR > 1 ? "," : ""), $1, v, $3, $4 }' "$name.packages")
root=$("$repo/tools/toolroot.sh")
tools=$(chroot "$root" dpkg-query -W -f '${Package} ${Version}\n' dosfstools e2fsprogs erofs-utils mkosi mtools reprepro systemd-boot-efi systemd-repart systemd-ukify |
  awk '{ printf "%s\"%s\":\"%s\"", (NR > 1 ? "," : ""), $1, $2 }')
"$repo/tools/enter.sh" jq --sort-keys --slurpfile manifest manifest.json \
  --argjson subject "[$sums]" --argjson packages "[$packages]" --argjson tools "{$tools}" --arg builder "${BUILDER_ID:-urn:etcd-bootstrapper:builder:unnamed}" \
  --arg binary "$(sha256sum <"$binary" | cut -c1-64)" --null-input '
  $manifest[0] as $m |
  {_type: "https://in-toto.io/Statement/v1", subject: $subject, predicateType: "https://slsa.dev/provenance/v1", predicate: {
    buildDefinition: {
      buildType: "urn:etcd-bootstrapper:image/build.sh:v1",
      externalParameters: {flavour: $m.flavour, version: $m.version, etcd: $m.etcd},
      internalParameters: {source_date_epoch: $m.source_date_epoch, tools: $tools},
      resolvedDependencies: (
        [{uri: "git+urn:etcd-bootstrapper:source", digest: {gitCommit: ($m.git_revision | rtrimstr("-dirty"))}, annotations: {dirty: ($m.git_revision | endswith("-dirty"))}},
         {name: "etcd-bootstrapper", digest: {sha256: $binary}}]
        + (if $m.etcd.archive then [{(if $m.etcd.archive | test("://") then "uri" else "name" end): $m.etcd.archive, digest: {sha256: $m.etcd.archive_sha256}}] else [] end)
        + $packages)},
    runDetails: {builder: {id: $builder}}}}' >"$name.provenance.json"
