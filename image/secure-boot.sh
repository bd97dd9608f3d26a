#!/bin/sh
# Secure Boot with keys of one's own: makes such keys, and signs a built image with them.
#   secure-boot.sh keys DIR               a key and its certificate for a laboratory: DIR/secure-boot.key and .crt
#   secure-boot.sh sign IMAGE_DIR OUT     IMAGE_DIR as build.sh fills it; OUT gets the same, signed
#   secure-boot.sh disk RAW OUT           the disk alone: OUT/disk.raw, OUT/uki.efi and OUT/pcrs.json
# Of the environment, for `sign` and `disk`:
#   SECURE_BOOT_KEY, SECURE_BOOT_CERT: PEM files
#   SECURE_BOOT_ENROLL=1: firmware in setup mode is to take the certificate as its PK, KEK and db. systemd-boot does that by
#     itself on virtual machines, on others by an entry of its menu; nothing else starts there then, not even Microsoft's
set -eu
umask 022
. "$(dirname "$0")/../tools/lib.sh"
usage='usage: secure-boot.sh keys DIR | sign IMAGE_DIR OUT | disk RAW OUT'
enter() { ENTER_BIND=$bind "$repo/tools/enter.sh" "$@"; }

keys() { # directory
  mkdir -p "$1"
  [ ! -e "$1/secure-boot.key" ] || die "$1/secure-boot.key is there: machines may trust it; name another directory, or remove it"
  said=$(umask 077 && openssl req -x509 -newkey rsa:2048 -noenc -sha256 -days 3650 -subj '/CN=etcd-bootstrapper laboratory/' \
    -keyout "$1/secure-boot.key" -out "$1/secure-boot.crt" 2>&1) || die "openssl has made no key in $1: $said"
  say "$1/secure-boot.key and $1/secure-boot.crt made; whoever has the key can sign what these machines start"
}

# A directory of its own for what is in the making, in the one that is named; and what may be seen in the tool root.
begin() { # out
  key=$(realpath -e "${SECURE_BOOT_KEY:?names the key that signs; \`secure-boot.sh keys DIR\` makes one for a laboratory}")
  cert=$(realpath -e "${SECURE_BOOT_CERT:?names the certificate of SECURE_BOOT_KEY}")
  mkdir -p "$1"
  to=$(realpath "$1") work=$(realpath "$1")/work
  rm -rf "$work"
  trap 'rm -rf "$work"' EXIT
  mkdir "$work"
  bind="$to ${key%/*} ${cert%/*}"
}

signed() { # file
  enter /usr/lib/systemd/systemd-sbsign sign --private-key "$key" --certificate "$cert" --output "$1.signed" "$1" >"$work/said" 2>&1 ||
    die "$1 could not be signed by $key and $cert: $(cat "$work/said")"
  mv "$1.signed" "$1"
}

# Makes disk.raw, uki.efi and pcrs.json.
disk() { # raw
  cp --sparse=always --reflink=auto "$1" "$work/disk.raw"
  start=$(enter sfdisk --json "$work/disk.raw" | enter jq '.partitiontable.partitions[] | select(.type == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B").start')
  [ -n "$start" ] || die "$1 has no ESP: is it an image of build.sh?"
  esp=$work/disk.raw@@$((start * 512))
  uki=$(enter mdir -b -i "$esp" '::/EFI/Linux/*.efi') || die "$1 has no UKI: is it an image of build.sh?"
  enter mcopy -i "$esp" ::/EFI/BOOT/BOOTX64.EFI "$work/loader.efi"
  enter mcopy -i "$esp" "$uki" "$work/uki.efi"
  signed "$work/loader.efi"
  signed "$work/uki.efi"
  # Both places have the same loader: the first is for firmware that knows no other.
  enter mcopy -o -i "$esp" "$work/loader.efi" ::/EFI/BOOT/BOOTX64.EFI
  enter mcopy -o -i "$esp" "$work/loader.efi" ::/EFI/systemd/systemd-bootx64.efi
  enter mcopy -o -i "$esp" "$work/uki.efi" "$uki"
  [ -z "${SECURE_BOOT_ENROLL:-}" ] || enrolled
  # What was replaced is still there, and would be packed and handed out with the disk.
  truncate -s "$(enter mdir -i "$esp" :: | sed -n 's/bytes free$//p' | tr -d ' ')" "$work/zeros"
  enter mcopy -i "$esp" "$work/zeros" ::/zeros
  enter mdel -i "$esp" ::/zeros
  fallocate --dig-holes "$work/disk.raw"
  enter python3 "$repo/image/pcrs.py" "$work/disk.raw" >"$work/pcrs.json"
}

# Variables that sign themselves: the certificate is the platform's, the exchange's and the database's at once.
enrolled() {
  mkdir -p "$work/tree/efi" "$work/tree/etc"
  echo ID=etcd-bootstrapper >"$work/tree/etc/os-release"
  enter env SYSTEMD_ESP_PATH=/efi SYSTEMD_RELAX_ESP_CHECKS=1 bootctl --quiet install --root="$work/tree" --install-source=host \
    --no-variables --make-entry-directory=no --secure-boot-auto-enroll=yes --private-key="$key" --certificate="$cert" >"$work/said" 2>&1 ||
    die "bootctl has made no variables to enrol: $(cat "$work/said")"
  enter mcopy -s -i "$esp" "$work/tree/efi/loader/keys/auto" ::/loader/keys/
}

# The manifest and the provenance speak of the signed files, and say by whose certificate they are.
sign() { # image directory
  from=$(realpath -e "$1")
  [ -f "$from/manifest.json" ] || die "$from has no image: build.sh makes one"
  [ "$to" != "$from" ] || die "$to has the image that is to be signed: name another directory for the signed one"
  name=$(enter jq -r .name <"$from/manifest.json")
  say "signing $name"
  disk "$from/$name.raw"
  for end in packages spdx.json cdx.json; do cp "$from/$name.$end" "$work/"; done
  mv "$work/disk.raw" "$work/$name.raw"
  mv "$work/uki.efi" "$work/$name.efi"
  mv "$work/pcrs.json" "$work/$name.pcrs.json"
  # By the tool root, which is three times as fast as an older host.
  sum() { enter sha256sum <"$1" | cut -c1-64; }
  by=$(openssl x509 -in "$cert" -outform DER | sha256sum | cut -d' ' -f1)
  raw=$(sum "$work/$name.raw") efi=$(sum "$work/$name.efi") unsigned=$(sum "$from/$name.raw")
  enter jq --sort-keys --arg name "$name" --arg raw "$raw" --arg efi "$efi" --arg by "$by" \
    '.files["\($name).raw"].sha256 = $raw | .files["\($name).efi"].sha256 = $efi | .secure_boot = {certificate_sha256: $by}' \
    <"$from/manifest.json" >"$work/manifest.json"
  enter jq --sort-keys --arg by "$by" --arg name "$name" --arg raw "$raw" --arg efi "$efi" --arg unsigned "$unsigned" --arg pcrs "$(sum "$work/$name.pcrs.json")" --arg manifest "$(sum "$work/manifest.json")" \
    '({"\($name).raw": $raw, "\($name).efi": $efi, "\($name).pcrs.json": $pcrs, "manifest.json": $manifest}) as $sums
      | .subject |= map(.digest.sha256 = ($sums[.name] // .digest.sha256))
      | .predicate.buildDefinition.externalParameters.secure_boot = {certificate_sha256: $by}
      | .predicate.buildDefinition.resolvedDependencies |= [{name: "\($name).raw", digest: {sha256: $unsigned}}] + .' \
    <"$from/$name.provenance.json" >"$work/$name.provenance.json"
  rm -f "$to/SHA256SUMS" "$to/SHA256SUMS.minisig" "$to/$name.qcow2"
  for file in "$name".efi "$name".pcrs.json "$name".packages "$name".spdx.json "$name".cdx.json "$name".provenance.json "$name".raw manifest.json; do
    mv "$work/$file" "$to/"
  done
  say "$to/$name.raw is signed"
}

bind=''
case "${1:-} $#" in
  'keys 2') keys "$2" ;;
  'sign 3')
    begin "$3"
    sign "$2"
    ;;
  'disk 3')
    begin "$3"
    disk "$(realpath -e "$2")"
    mv "$work/disk.raw" "$work/uki.efi" "$work/pcrs.json" "$to/"
    ;;
  *) die "$usage" ;;
esac
