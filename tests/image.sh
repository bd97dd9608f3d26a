#!/bin/sh
# What an image must be, shown on the one in a directory (default: out): image.sh [DIR]
# Nothing of a machine, a person or a secret is in it; it is small; and who builds it anew from its packages gets its bytes.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
tmp=$(mktemp -d /tmp/image-test-XXXXXX)
trap 'rm -rf "$tmp"' EXIT
failed=0
fail() { say "FAILED: $*"; failed=1; }
of() { tools/enter.sh jq -r "$1" "$manifest"; }

# Every rule has to find what it is for, and nothing else, in a tree that is clean without it.
rules() {
  while IFS='|' read -r rule plant; do
    rm -rf "$tmp/tree"
    mkdir -p "$tmp/tree/root/etc/ssl/certs" "$tmp/tree/root/usr/bin" "$tmp/tree/root/tmp" "$tmp/tree/esp/loader" "$tmp/tree/var/lib" "$tmp/tree/initrd/etc"
    chmod 1777 "$tmp/tree/root/tmp"
    : >"$tmp/tree/root/etc/machine-id"
    echo 'root:x:0:0::/root:/usr/sbin/nologin' >"$tmp/tree/root/etc/passwd"
    echo 'root:*::0:99999:7:::' >"$tmp/tree/root/etc/shadow"
    echo 'root:*::' >"$tmp/tree/root/etc/gshadow"
    echo '-----BEGIN CERTIFICATE-----' >"$tmp/tree/root/etc/ssl/certs/x.pem"
    (cd "$tmp/tree" && umask 022 && eval "$plant")
    said=$(image/lint.sh "$tmp/tree") || true
    case "$rule $(printf %s "$said" | grep -c '')" in
      'nothing 0') ;;
      "${said%%:*} 1") ;;
      *) fail "after \`$plant\` the lint says \"$said\", not \"$rule: …\"" ;;
    esac
  done <<'END'
nothing|:
nothing|echo 'etcd:x:870:870::/var/lib/etcd:/usr/sbin/nologin' >>root/etc/passwd; echo 'etcd:x:870:' >root/etc/group
numeric-id|echo 'etcd:x:871:870::/var/lib/etcd:/usr/sbin/nologin' >>root/etc/passwd
numeric-id|echo 'etcd:x:99:' >root/etc/group
numeric-id|echo 'newcomer:x:988:' >root/etc/group
machine-id|echo 6f0e4c1a52bd4d399a830c4de7b1e870 >root/etc/machine-id
machine-id|mkdir -p root/var/lib/dbus; echo 6f0e4c1a52bd4d399a830c4de7b1e870 >root/var/lib/dbus/machine-id
host-key|mkdir root/etc/ssh; echo x >root/etc/ssh/ssh_host_ed25519_key
random-seed|echo x >esp/loader/random-seed
data-dir|mkdir -p var/lib/etcd/data
data-dir|mkdir -p root/srv/member/wal; echo x >root/srv/member/wal/0000000000000000-0000000000000000.wal
configuration|mkdir root/etc/etcd-bootstrapper; echo x >root/etc/etcd-bootstrapper/config.yaml
private-key|echo '-----BEGIN EC PRIVATE KEY-----' >root/etc/ssl/certs/y.pem
private-key|echo 'AGE-SECRET-KEY-1QQQ' >initrd/etc/key
certificate|echo '-----BEGIN CERTIFICATE-----' >root/etc/ca.crt
log|mkdir -p root/var/log; echo x >root/var/log/dpkg
log|echo x >var/lib/system.journal
setuid|echo x >root/usr/bin/su; chmod 4755 root/usr/bin/su
setuid|echo x >root/usr/bin/wall; chmod 2755 root/usr/bin/wall
setuid|mkdir -p initrd/usr/bin; echo x | tee initrd/usr/bin/su >initrd/usr/bin/mount; chmod 4755 initrd/usr/bin/*
capability|echo x >root/usr/bin/ping; setcap cap_net_raw+ep root/usr/bin/ping
history|echo x >root/.bash_history
world-writable|echo x >root/etc/motd; chmod 666 root/etc/motd
world-writable|mkdir -m 777 root/srv
package-manager|echo x >root/usr/bin/dpkg
package-manager|mkdir -p root/var/lib/dpkg
password|echo 'root:$y$j9T$x:1:0:99999:7:::' >root/etc/shadow
password|echo 'root::1:0:99999:7:::' >root/etc/shadow
login-shell|echo 'root:x:0:0::/root:/bin/sh' >root/etc/passwd
debug-image|mkdir -p root/usr/lib; echo VARIANT_ID=debug >root/usr/lib/os-release
login-key|mkdir -p root/root/.ssh; echo x >root/root/.ssh/authorized_keys
END
}

limit() { # what, value, most, unit
  if [ "$2" -le "$3" ]; then echo "note: $1: $2 $4, at most $3"; else fail "$1: $2 $4, more than $3"; fi
}

sizes() {
  limit "$name.raw.zst" "$(tools/enter.sh zstd -q -T0 -c "$dir/$name.raw" | wc -c | awk '{ print int($1 / 1e6 + 1) }')" 150 MB
  # What stands in the way of 90 MB.
  du -k --apparent-size "$tmp/first/root/usr/bin/"etcd* | sort -rn | awk '{ sub(".*/", "", $2); printf "note: of which /usr/bin/%s: %d MB unpacked\n", $2, $1 / 1000 }'
  for part in usr/lib/modules usr/lib/firmware usr/lib/systemd; do
    [ ! -d "$tmp/first/root/$part" ] || echo "note: of which /$part: $(($(du -sk --apparent-size "$tmp/first/root/$part" | cut -f1) / 1000)) MB unpacked"
  done
  limit "$name.efi" $(($(stat -c %s "$dir/$name.efi") / 1000000 + 1)) 32 MB
  [ "$(of .flavour)" != minimal ] || limit packages "$(of '.packages | length')" 140 packages
}

# What systemd thinks of how our services are confined, in tenths.
exposure() {
  for entry in etcd=15 etcd-bootstrapper=35 etcd-bootstrapper-finish=35; do
    said=$(tools/enter.sh systemd-analyze security --offline=true --root="$tmp/first/root" --threshold=${entry#*=} --no-pager "${entry%=*}.service" 2>&1) ||
      fail "${entry%=*}.service is not confined as it must be, by systemd-analyze: $(echo "$said" | grep -E 'Overall|✗')"
    echo "note: ${entry%=*}.service: $(echo "$said" | sed -n 's/.*Overall exposure level.*: //p'), at most ${entry#*=} tenths"
  done
}

# The table of image/README.md: partitions of disks that are in use can never be changed.
layout() {
  sed -n 's/^| \([0-9]\) | `\(.*\)` | `\(.*\)` | \([0-9]*\) MiB.*/\1 \2 \3 \4/p' image/README.md | sed "s/<version>/$(of .version)/" >"$tmp/published"
  tools/enter.sh sfdisk --json "$dir/$name.raw" | tools/enter.sh jq -r '.partitiontable | .sectorsize as $s | .partitions | to_entries[] |
    "\(.key + 1) \(.value | "\(.name) \(.type) \(.size * $s / 1048576)")"' |
    while read -r number label type size; do echo "$number $label $(tools/enter.sh systemd-id128 show --no-legend "$type" | cut -d' ' -f1) $size"; done >"$tmp/found"
  said=$(diff "$tmp/published" "$tmp/found") || fail "the disk is not what image/README.md says (<) but this (>): $said"
}

# One image for clouds, hypervisors and metal: mkosi.conf leaves none of their disks and cards out, and the initrd finds a root behind
# any of the first.
drivers() {
  disks='aacraid ahci ata_piix ehci_pci hpsa hv_storvsc hv_vmbus megaraid_sas mpi3mr mpt3sas nvme pci_hyperv sd_mod smartpqi uas usb_storage
    virtio_blk virtio_pci virtio_scsi vmd vmw_pvscsi xen_blkfront xhci_pci'
  cards='atlantic be2net bnx2x bnxt_en cxgb4 e1000 e1000e ena enic gve hv_netvsc i40e iavf ice igb igc ionic ixgbe ixgbevf mana
    mlx4_en mlx5_core qede r8169 sfc tg3 virtio_net vmxnet3 xen_netfront'
  for tree in root initrd; do
    wanted=$disks
    [ $tree = initrd ] || wanted="$disks $cards"
    (cd "$tmp/first/$tree/usr/lib/modules" && { find . -name '*.ko*'; cat ./*/modules.builtin; }) | sed 's,.*/,,; s,\.ko.*,,' | tr - _ | sort >"$tmp/modules"
    missing=$(echo "$wanted" | xargs -n 1 | sort | comm -23 - "$tmp/modules" | xargs)
    [ -z "$missing" ] || fail "these drivers are not in the $tree: $missing"
  done
}

# Who is in image/ids has that number, also where no package of this image asks for it.
numbers() {
  sed 's/^[ug]!\? \([^ ]*\) \([0-9]*\).*/\1 \2/; /^#/d' image/ids | while read -r who number; do
    cat "$tmp/first/root/etc/passwd" "$tmp/first/root/etc/group" | grep -q "^$who:[^:]*:$number:" || echo "$who $number"
  done >"$tmp/lacking"
  [ ! -s "$tmp/lacking" ] || fail "not in the image: $(xargs <"$tmp/lacking")"
}

# What the repository adds to the initrd is in it as it is, and nothing is started there that `masked` has.
initrd() {
  lacks=$(cd image/initrd && find . -type f -o -type l | while read -r file; do
    [ "$(stat -c %F "$file") $(readlink "$file")" = "$(stat -c %F "$tmp/first/initrd/$file") $(readlink "$tmp/first/initrd/$file")" ] &&
      { [ -L "$file" ] || cmp -s "$file" "$tmp/first/initrd/$file"; } || echo "$file"
  done 2>/dev/null)
  [ -z "$lacks" ] || fail "the initrd lacks, or has otherwise: $lacks"
  loose=$(grep -v '^#' image/masked | while read -r unit; do
    [ -z "$unit" ] || [ -n "$(find "$tmp/first/initrd/etc" -name "$unit" -lname /dev/null)" ] || echo "$unit"
  done)
  [ -z "$loose" ] || fail "not masked in the initrd: $loose"
}

# What etcd it says it has, and of which one it takes over data: its own minor version's, and the one's before.
etcd() {
  version=$("$tmp/first/root/usr/bin/etcd" --version | sed -n 's/^etcd Version: //p')
  case $version in
    3.5.*) oldest=3.4 ;;
    3.6.*) oldest=3.5 ;;
    *) oldest="not known here for $version" ;;
  esac
  [ "$(of '"\(.etcd.version) \(.etcd.oldest_data)"')" = "$version $oldest" ] || fail "of etcd $version and data of $oldest, $manifest says: $(of .etcd)"
}

# Both bills of materials are what their formats say, and name what is in the image; the provenance speaks of these files.
bills() {
  "$(tools/debsbom.sh)/bin/python" - "$dir" "$name" <<'END' || fail "the bills of materials, or the provenance"
import hashlib, json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

path = f"{sys.argv[1]}/{sys.argv[2]}"
manifest = json.load(open(sys.argv[1] + "/manifest.json"))
cdx, spdx = (json.load(open(path + end)) for end in (".cdx.json", ".spdx.json"))
bad = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(cdx))
assert bad is None, f"CycloneDX: {bad}"
bad = validate_full_spdx_document(parse_file(path + ".spdx.json"))
assert not bad, f"SPDX: {len(bad)} faults, the first is {bad[0].validation_message}"
for named in (
    {(c["name"], c["version"]) for c in cdx["components"]},
    {(p["name"], p["versionInfo"]) for p in spdx["packages"]},
):
    missing = [p["name"] for p in manifest["packages"] if (p["name"], p["version"]) not in named]
    assert not missing, f"not named: {missing}"
    names = {name for name, _ in named}
    # A crate that is linked in, one of Go's modules inside etcd, the compiler whose runtime is in etcd.
    assert {"rustls", "etcd-bootstrapper"} <= names, "no crates"
    assert any("bbolt" in name for name in names), "no modules of etcd"
    # These only build it.
    assert not {"syn", "prost-build", "windows-sys"} & names, "crates that are not linked in"
# Those of the initrd, too: what it is made of is among what was fetched, and locked.
unknown = [c["purl"] for c in cdx["components"] if c.get("purl", "").startswith("pkg:deb/") and "arch=source" not in c["purl"] and not c.get("hashes")]
assert not unknown, f"in the image, and nobody knows from where: {unknown}"
linked = {r["relationshipType"] for r in spdx["relationships"]}
assert {"STATIC_LINK", "CONTAINS"} <= linked, linked
said = json.load(open(path + ".provenance.json"))
assert said["predicateType"] == "https://slsa.dev/provenance/v1"
for subject in said["subject"]:
    digest = hashlib.file_digest(open(f"{sys.argv[1]}/{subject['name']}", "rb"), "sha256").hexdigest()
    assert subject["digest"]["sha256"] == digest, f"{subject['name']} is not what the provenance says"
packages = [d for d in said["predicate"]["buildDefinition"]["resolvedDependencies"] if d.get("uri", "").startswith("pkg:deb/")]
assert len(packages) == sum(1 for _ in open(path + ".packages")), "the provenance names other packages"
print(f"note: {len(cdx['components'])} components in CycloneDX, {len(spdx['packages'])} packages in SPDX")
END
}

# What is handed out, of a disk that is small: signed where there is a key, and said so where there is none.
published() {
  mkdir "$tmp/publish" "$tmp/keys"
  (
    cd "$tmp/publish"
    truncate -s 1M "$name.raw"
    for end in efi pcrs.json packages spdx.json cdx.json provenance.json; do echo $end >"$name.$end"; done
    cp "$manifest" .
    echo SMOKE-PASS >smoke-evidence.log
  )
  touch -d '1 minute ago' "$tmp/publish/$name.raw"
  tools/enter.sh minisign -G -W -p "$tmp/keys/pub" -s "$tmp/keys/sec" >/dev/null
  packer/qemu/publish.sh "$tmp/publish" "$name" 2>"$tmp/said" || fail "nothing was published: $(cat "$tmp/said")"
  grep -q 'not signed' "$tmp/said" && [ ! -e "$tmp/publish/SHA256SUMS.minisig" ] || fail "without a key: $(cat "$tmp/said")"
  # As a person says it who is where the key is.
  (cd "$tmp/keys" && MINISIGN_KEY=sec "$repo/packer/qemu/publish.sh" "$tmp/publish" "$name") >"$tmp/said" 2>&1 || fail "nothing was signed: $(cat "$tmp/said")"
  (cd "$tmp/publish" && sha256sum --quiet -c SHA256SUMS) || fail "SHA256SUMS"
  verify() { tools/enter.sh minisign -V -q -p "$tmp/keys/pub" -m "$tmp/publish/SHA256SUMS" >/dev/null 2>&1; }
  verify || fail "the signature of SHA256SUMS is not the key's"
  echo >>"$tmp/publish/SHA256SUMS"
  ! verify || fail "a changed SHA256SUMS passes for signed"
}

# Signed by a key of one's own, it is another disk: all that is beside it says so, and of which disk it was made.
signed() {
  lab=$tmp/keys/secure-boot signed=$tmp/signed
  image/secure-boot.sh keys "$tmp/keys" 2>"$tmp/said" && SECURE_BOOT_KEY=$lab.key SECURE_BOOT_CERT=$lab.crt image/secure-boot.sh sign "$dir" "$signed" 2>"$tmp/said" ||
    { fail "no disk was signed: $(cat "$tmp/said")"; return; }
  # A file of which they say different things is listed twice, and is one of them.
  {
    tools/enter.sh jq -r '.files | to_entries[] | "\(.value.sha256)  \(.key)"' "$signed/manifest.json"
    tools/enter.sh jq -r '.subject[] | "\(.digest.sha256)  \(.name)"' "$signed/$name.provenance.json"
  } | sort -u >"$tmp/sums"
  (cd "$signed" && "$repo/tools/enter.sh" sha256sum --quiet -c "$tmp/sums" && [ "$(wc -l <"$tmp/sums")" = 6 ]) || fail "signed files are not what stands beside them: $(cat "$tmp/sums")"
  by=$(openssl x509 -in "$lab.crt" -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | tr A-F a-f)
  unsigned=$(of ".files[\"$name.raw\"].sha256")
  tools/enter.sh jq --null-input --exit-status --arg by "$by" --arg raw "$name.raw" --arg unsigned "$unsigned" '[inputs] as [$manifest, $provenance]
    | $provenance.predicate.buildDefinition as $built
    | all($manifest, $built.externalParameters; .secure_boot == {certificate_sha256: $by})
      and any($built.resolvedDependencies[]; . == {name: $raw, digest: {sha256: $unsigned}})' \
    "$signed/manifest.json" "$signed/$name.provenance.json" >/dev/null || fail "they do not say that $by has signed $unsigned"
  tools/enter.sh mcopy -i "$signed/$name.raw@@1M" "::/EFI/Linux/*.efi" "$tmp/uki" && cmp "$tmp/uki" "$signed/$name.efi" || fail "the UKI in the signed disk is another"
  verifies() { tools/enter.sh sbverify --cert "$lab.crt" "$1" >"$tmp/said" 2>&1; }
  verifies "$signed/$name.efi" || fail "$name.efi is not signed by the key: $(cat "$tmp/said")"
  ! verifies "$dir/$name.efi" || fail "what nobody has signed passes for signed"
  rm -rf "$signed"
}

# Another folder, umask, time zone and locale; and nothing of the first build but the packages, each by its sha256.
again() {
  mirrors
  binary=$(realpath "${BOOTSTRAPPER_BIN:-out/etcd-bootstrapper}")
  date=$(of .source_date_epoch) flavour=$(of .flavour)
  mkdir -m 700 "$tmp/somewhere else"
  git ls-files -z | tar --null -T - -c | (umask 077 && tar -x --no-same-permissions -C "$tmp/somewhere else")
  sed "s/$/ $flavour/" "$dir/$name.packages" >"$tmp/lock"
  (umask 077 && cd / && TZ=Pacific/Kiritimati LC_ALL=tr_TR.UTF-8 PACKAGES_LOCK=${tmp#/}/lock DEBIAN_SNAPSHOT=${DEBIAN_SNAPSHOT:-$DEBIAN_MIRROR $DEBIAN_SECURITY_MIRROR} \
    SOURCE_DATE_EPOCH=$date BOOTSTRAPPER_BIN=$binary IMAGE_WORK=$tmp/work \
    "$tmp/somewhere else/image/build.sh" --flavour "$flavour" --out "$tmp/second") || { fail "no second image was built"; return; }
  same=1
  for file in raw efi pcrs.json spdx.json cdx.json; do
    if [ "$(sha256sum <"$dir/$name.$file")" = "$(sha256sum <"$tmp/second/$name.$file")" ]; then
      echo "note: $name.$file built twice: sha256 $(sha256sum <"$dir/$name.$file" | cut -c1-64)"
    else
      fail "$name.$file built twice differs"
      same=
    fi
  done
  [ -n "$same" ] || differences
}

differences() {
  cmp "$dir/$name.raw" "$tmp/second/$name.raw" || true
  tools/enter.sh sfdisk --json "$dir/$name.raw" | tools/enter.sh jq -r '.partitiontable.partitions[] | "\(.start) \(.size) \(.name)"' |
    while read -r start sectors label; do
      cmp -s -i $((start * 512)) -n $((sectors * 512)) "$dir/$name.raw" "$tmp/second/$name.raw" || say "partition $label differs"
    done
  mkdir "$tmp/other"
  image/unpack.sh "$tmp/second/$name.raw" "$tmp/other"
  rm -rf "$tmp/first/initrd/dev" "$tmp/other/initrd/dev"
  diff -rq --no-dereference "$tmp/first" "$tmp/other" | sed "s,$tmp/,,g" | head -n 20 || true
  # What is taken apart as it was keeps its dates, too.
  for tree in first other; do
    (cd "$tmp/$tree" && find root -printf '%p %M %U:%G %t\n' && find esp var initrd -printf '%p %M %U:%G\n') | sort >"$tmp/$tree.list"
  done
  diff "$tmp/first.list" "$tmp/other.list" | head -n 20 || true
}

if [ "${1:-}" = rules ]; then
  rules
  exit "$failed"
fi
dir=$(realpath "${1:-out}")
manifest=$dir/manifest.json
name=$(of .name)
tools/enter.sh tests/image.sh rules || failed=1
tests/lock.sh || failed=1
mkdir "$tmp/first"
image/unpack.sh "$dir/$name.raw" "$tmp/first"
tools/enter.sh image/lint.sh "$tmp/first" || fail "$name.raw has in it what no image may have"
layout
drivers
numbers
initrd
etcd
sizes
exposure
bills
published
signed
again
[ "$failed" = 0 ]
