#!/bin/sh
# Writes NAME.spdx.json and NAME.cdx.json beside an image's manifest.json: what is in it, down to what was linked statically.
#   sbom.sh DIR NAME TREES ETCD, as build.sh has them; with SOURCE_DATE_EPOCH
set -eu
. "$(dirname "$0")/../tools/lib.sh"
dir=$1 name=$2 trees=$3 etcd=$4
env=$("$repo/tools/debsbom.sh")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
tree=$(echo "$trees"/*x86-64.cache)
version=$("$repo/tools/enter.sh" jq -r .version "$dir/manifest.json")

# debsbom reads a dpkg database: here of what is left in the root, of what is in the initrd alone, and of the etcd that was
# copied into the root.
mkdir -p "$tmp/root/var/lib/dpkg"
paragraphs() { # names, status
  awk 'FILENAME == ARGV[1] { want[$0]; next } /^Package: / { keep = $2 in want } keep' "$1" "$2"
}
documented() {
  while read -r package; do
    [ ! -e "$tree/usr/share/doc/$package/copyright" ] ||
      { mkdir -p "$tmp/root/usr/share/doc/$package" && cp -L "$tree/usr/share/doc/$package/copyright" "$tmp/root/usr/share/doc/$package/"; }
  done <"$tmp/packages"
}
"$repo/tools/enter.sh" jq -r '.packages[].name' "$dir/manifest.json" | sort >"$tmp/names"
"$repo/image/unpack.sh" --initrd "$dir/$name.efi" "$tmp"
(cd "$tmp/initrd" && find . ! -type d | sed 's,^\.,,; s,^/\(s\?bin\|lib\|lib64\)/,/usr/\1/,') | sort >"$tmp/files"
grep -Fxf "$tmp/files" "$tree"/var/lib/dpkg/info/*.list | sed 's,.*/info/,,; s,\.list:.*,,; s,:.*,,' | sort -u - "$tmp/names" >"$tmp/packages"
{
  paragraphs "$tmp/packages" "$tree/var/lib/dpkg/status"
  for deb in "$etcd"/*.deb; do
    [ ! -f "$deb" ] || { echo 'Status: install ok installed'; dpkg-deb -f "$deb"; echo; }
  done
} | awk '
  FILENAME == ARGV[1] { sum[$1 " " $2 " " $3] = $4; next }
  { print } $1 == "Package:" { name = $2 } $1 == "Architecture:" { arch = $2 }
  $1 == "Version:" && (id = name " " $2 " ") { for (a in sum) if (index(a, id) == 1) print "SHA256: " sum[a] }' \
  "$dir/$name.packages" - >"$tmp/root/var/lib/dpkg/status"
documented
for deb in "$etcd"/*.deb; do [ ! -f "$deb" ] || dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$tmp/root" --wildcards './usr/share/doc/*/copyright'; done

"$env/bin/debsbom" generate --root "$tmp/root" --out "$tmp/sbom" --distro-arch amd64 --with-licenses --no-recommends-deps \
  --distro-name etcd-bootstrapper --distro-version "$version" --timestamp "$(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)" --cdx-schema-version 1.6 \
  --cdx-serialnumber "$("$env/bin/python" -c 'import sys, uuid; print(uuid.uuid5(uuid.NAMESPACE_OID, sys.argv[1]))' "$(sha256sum <"$dir/$name.raw")")" \
  --spdx-namespace "urn:sha256:$(sha256sum <"$dir/$name.raw" | cut -c1-64)" >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "debsbom failed"; }
# What is linked into our program: not what only builds it, and not what only other targets need.
(cd "$repo" && tools/cargo.sh tree --quiet --locked --package etcd-bootstrapper --edges normal,no-proc-macro --target x86_64-unknown-linux-musl \
  --prefix none --format '{p}|{l}') >"$tmp/tree"
sort -u "$tmp/tree" >"$tmp/crates"
"$env/bin/python" "$repo/image/sbom.py" "$tmp/sbom" "$tmp/crates" "$repo/Cargo.lock" "$etcd" "$dir/manifest.json" "$dir/$name"
