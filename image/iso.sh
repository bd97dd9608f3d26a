#!/bin/sh
# Makes the installation medium of an image that build.sh has made: iso.sh DIR [--out FILE]
# DIR has NAME.raw, NAME.efi, manifest.json. With MINISIGN_KEY (a key file of `minisign -G -W`) its sums are signed, and with
# MINISIGN_PUBLIC_KEY (minisign.pub) the installer takes nothing that is not signed by that key. With SECURE_BOOT_KEY and
# SECURE_BOOT_CERT (secure-boot.sh) it starts where Secure Boot knows these; what it installs is signed where DIR's image is.
#
# One file, for a CD and for a USB stick: ISO 9660, whose ESP is a partition behind it as well. UEFI starts the installer, which
# is the image's own kernel and initrd with our program; a BIOS says that it cannot, and writes nothing.
set -eu
. "$(dirname "$0")/../tools/lib.sh"
usage='usage: iso.sh DIR [--out FILE]'
[ $# -gt 0 ] && [ -f "$1/manifest.json" ] || die "$usage; DIR has what build.sh made"
if [ -z "${IN_TOOL_ROOT:-}" ]; then
  for variable in MINISIGN_KEY MINISIGN_PUBLIC_KEY SECURE_BOOT_KEY SECURE_BOOT_CERT; do
    file=$(printenv $variable) && [ -n "$file" ] || continue
    file=$(realpath -e "$file")
    ENTER_BIND="${ENTER_BIND:-} ${file%/*}"
    export "$variable=$file"
  done
  [ "${2:-}" != --out ] || ENTER_BIND="${ENTER_BIND:-} $(dirname "$(realpath "$3")")"
  export ENTER_BIND="${ENTER_BIND:-} $(realpath "$1")" IN_TOOL_ROOT=1
  exec "$repo/tools/enter.sh" "$repo/image/iso.sh" "$@"
fi
umask 022
dir=$(realpath "$1")
name=$(jq -r .name "$dir/manifest.json")
[ "$(jq -r .flavour "$dir/manifest.json")" != debug ] || die "$dir has a debug image, which is for labs: no medium installs it, write its disk itself"
out=$dir/$name.iso
if [ $# -gt 1 ]; then
  [ "$2" = --out ] && [ $# = 3 ] || die "$usage"
  out=$(realpath "$3")
fi
SOURCE_DATE_EPOCH=$(jq .source_date_epoch "$dir/manifest.json")
# FAT has local time in it.
export SOURCE_DATE_EPOCH TZ=UTC
work=$(mktemp -d /tmp/iso-XXXXXX)
trap 'rm -rf "$work"' EXIT
start=$(date +%s)
cd "$work"
mkdir tree extra grub

section() { # of the image's UKI
  python3 - "$dir/$name.efi" "$1" <<'PY'
import pefile, sys
pe = pefile.PE(sys.argv[1], fast_load=True)
s = next(s for s in pe.sections if s.Name.rstrip(b"\0") == sys.argv[2].encode())
sys.stdout.buffer.write(s.get_data()[:s.Misc_VirtualSize])
PY
}
section .linux >vmlinuz
section .initrd >initrd.img
section .osrel >osrel
kver=$(section .uname)
cmdline=$(section .cmdline | tr -d '\0' | tr ' ' '\n' | grep -vE '^(ro|root|rootfstype|roothash|systemd\.(verity|machine_id).*)(=|$)' | xargs)

# The payload, and what it must be.
zstd -q -12 --long=24 -T2 "$dir/$name.raw" -o tree/image.zst
jq --arg sum "$(sha256sum <tree/image.zst | cut -c1-64)" --argjson bytes "$(stat -c %s tree/image.zst)" \
  '.files["image.zst"] = {sha256: $sum, bytes: $bytes}' "$dir/manifest.json" >tree/manifest.json
(cd tree && sha256sum image.zst manifest.json >sha256sums)
[ -z "${MINISIGN_KEY:-}" ] || (cd tree && minisign -S -W -s "$MINISIGN_KEY" -m sha256sums -x sha256sums.sig -t "$name.iso" </dev/null >/dev/null)
truncate -s 4M tree/site.img
# The installer looks for this medium and no other: another one has another manifest.
medium=$(sha256sum <tree/manifest.json | cut -c1-32 | sed 's/^\(.\{8\}\)\(.\{4\}\)\(.\{4\}\)\(.\{4\}\)/\1-\2-\3-\4-/')

# Our program, its unit, and the drivers that the image's initrd does without: optical drives, and the file systems of
# configuration volumes and of disks that may hold a member.
"$repo/image/unpack.sh" "$dir/$name.raw" . 2>unpack.log || { cat unpack.log >&2; die "$name.raw cannot be taken apart"; }
cp -r "$repo/image/installer/." extra/
chmod -R u=rwX,go=rX extra
install -D -m 755 root/usr/bin/etcd-bootstrapper extra/usr/bin/etcd-bootstrapper
[ -z "${MINISIGN_PUBLIC_KEY:-}" ] || install -D -m 644 "$MINISIGN_PUBLIC_KEY" extra/etc/etcd-bootstrapper/minisign.pub
modules=usr/lib/modules/$kver
for module in sr_mod isofs vfat nls_ascii nls_cp437 nls_iso8859-1 nls_utf8 xfs ext4 efivarfs usb-storage uas xhci-pci ehci-pci \
  ohci-pci uhci-hcd; do
  modprobe -d "$work/root" -S "$kver" --show-depends --ignore-install "$module" >>depends || die "the image's kernel has no $module"
done
sed -n 's/^insmod \([^ ]*\).*/\1/p' depends | sed "s,^.*/lib/modules/$kver/,," | sort -u >wanted
while read -r file; do
  [ -e "initrd/$modules/$file" ] || install -D -m 644 "root/$modules/$file" "extra/$modules/$file"
done <wanted
mkdir -p merged/usr/lib/modules
ln -s usr/lib merged/lib
cp -a "initrd/$modules" merged/usr/lib/modules/
[ ! -d "extra/$modules" ] || cp -a "extra/$modules/." "merged/$modules/"
cp "root/$modules/modules.builtin" "root/$modules/modules.builtin.modinfo" "root/$modules/modules.order" "merged/$modules/" 2>/dev/null || true
depmod --basedir "$work/merged" "$kver"
mkdir -p "extra/$modules"
for file in dep.bin alias.bin softdep symbols.bin builtin.bin builtin.alias.bin devname; do
  [ ! -e "merged/$modules/modules.$file" ] || cp "merged/$modules/modules.$file" "extra/$modules/"
done
find extra -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
(cd extra && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc --reproducible -R 0:0) | zstd -q -12 -T1 >extra.img

ukify build --linux vmlinuz --initrd initrd.img --initrd extra.img --os-release @osrel --uname "$kver" \
  --cmdline "rd.systemd.unit=etcd-bootstrapper-install.target etcd_bootstrapper.medium=$medium $cmdline" \
  --stub /usr/lib/systemd/boot/efi/linuxx64.efi.stub --output installer.efi >ukify.log 2>&1 || { cat ukify.log >&2; die "ukify failed"; }
if [ -n "${SECURE_BOOT_KEY:-}" ]; then
  /usr/lib/systemd/systemd-sbsign sign --private-key "$SECURE_BOOT_KEY" --certificate "${SECURE_BOOT_CERT:?names the certificate of SECURE_BOOT_KEY}" \
    --output signed.efi installer.efi >sbsign.log 2>&1 || { cat sbsign.log >&2; die "the installer could not be signed"; }
  mv signed.efi installer.efi
fi

# FAT16: OVMF reads no FAT32 that is this small.
mib=$(($(stat -c %s installer.efi) / 1048576 + 4))
truncate -s ${mib}M esp.img
mkfs.vfat --invariant -F 16 -n INSTALL -i 6f0e4c1a esp.img >/dev/null
mmd -i esp.img ::EFI ::EFI/BOOT
touch --date="@$SOURCE_DATE_EPOCH" installer.efi
mcopy -m -i esp.img installer.efi ::EFI/BOOT/BOOTX64.EFI

# GRUB breaks lines of 80 characters.
cat >grub/early.cfg <<END2
serial --unit=0 --speed=115200
terminal_output console serial
echo ""
echo "This machine has started the installation medium by BIOS."
echo "The image starts by UEFI only, and nothing was written."
echo "Set the firmware to UEFI (no CSM, no Legacy), and start this medium again."
echo "It restarts in 10 minutes."
sleep 600
reboot
END2
grub-mkimage -O i386-pc-eltorito -d /usr/lib/grub/i386-pc -c grub/early.cfg -p /boot -o tree/bios.img biosdisk iso9660 serial terminal echo sleep reboot
cat >tree/readme.txt <<END2
$name: the installation medium. It starts by UEFI, as a CD or as a USB stick.

Its configuration is a stick or CD labelled cidata with user-data (and network-config), or what
    etcd-bootstrapper iso customize --user-data FILE [--network FILE] [--dest-disk serial=S] --out NEW.iso THIS.iso
has written into site.img. Without either it writes nothing and says what it looks for.
END2
find tree -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
xorriso -as mkisofs -quiet -V ETCD_INSTALL -volset "$medium" -iso-level 3 \
  -b bios.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info --grub2-mbr /usr/lib/grub/i386-pc/boot_hybrid.img \
  -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
  -append_partition 2 0xef esp.img -appended_part_as_gpt -partition_offset 16 --gpt_disk_guid "$medium" \
  -o new.iso tree 2>xorriso.log || { cat xorriso.log >&2; die "xorriso failed"; }
mv new.iso "$out"
say "$out made in $(($(date +%s) - start)) s, $(($(stat -c %s "$out") / 1000000)) MB"
