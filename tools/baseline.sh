#!/bin/sh
# Builds what `make bench` compares with: Debian 13 as one launches it without this project. Prints where it is: `root` is
# the tree and `disk.raw` the disk of it; made once for all that goes in.
# It is less than Debian's own cloud image, and boots faster: no shim, no menu to wait for, nothing but errors on the console.
set -eu
umask 022
. "$(dirname "$0")/lib.sh"
here=$repo/tests/bench/baseline
etcd=$("$repo/tools/etcd.sh" forky)
hash=$(cat "$repo/tools/baseline.sh" "$here/packages" "$etcd/debian-version" | sha256sum | cut -c1-12)
made=$cache/baseline-$hash
if [ -d "$made" ]; then echo "$made"; exit 0; fi

need_root
exec 9>"$cache/baseline.lock"
flock 9
if [ -d "$made" ]; then echo "$made"; exit 0; fi
start=$(date +%s)
mirrors
say "making Debian 13 with cloud-init, to compare with (minutes)"
work=$cache/baseline.new
rm -rf "$cache"/baseline-* "$work"
mkdir -p "$work/esp/EFI/BOOT" "$work/esp/EFI/debian"
host_apt_conf >"$work/apt.conf"
mmdebstrap --mode=root --variant=minbase --aptopt="$work/apt.conf" --include="$(grep -v '^#' "$here/packages" | xargs | tr ' ' ,)" \
  --customize-hook="cp $etcd/etcd $etcd/etcdctl $etcd/etcdutl \"\$1/usr/bin/\"" \
  --customize-hook='chroot "$1" systemctl enable systemd-networkd systemd-resolved' \
  --customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname"; : >"$1/etc/machine-id"' \
  trixie "$work/root" "deb $DEBIAN_MIRROR trixie main" "deb $DEBIAN_MIRROR trixie-updates main" \
  "deb $DEBIAN_SECURITY_MIRROR trixie-security main" >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; die "mmdebstrap failed; the whole log is $work/log"; }

# What grub-install and grub-mkconfig make, without a machine to probe.
kernel=$(basename "$work"/root/boot/vmlinuz-*)
[ -s "$work/root/boot/initrd.img-${kernel#vmlinuz-}" ] || die "initramfs-tools has made no initrd for $kernel: see $work/log"
cp "$work/root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$work/esp/EFI/BOOT/BOOTX64.EFI"
cat >"$work/esp/EFI/debian/grub.cfg" <<END
search --no-floppy --label --set=root root
set prefix=(\$root)/boot/grub
configfile \$prefix/grub.cfg
END
mkdir -p "$work/root/boot/grub" "$work/root/boot/efi"
cat >"$work/root/boot/grub/grub.cfg" <<END
set timeout=0
menuentry Debian {
  linux /boot/$kernel root=LABEL=root ro quiet console=tty0 console=ttyS0,115200
  initrd /boot/initrd.img-${kernel#vmlinuz-}
}
END
cat >"$work/root/etc/fstab" <<END
LABEL=root / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
LABEL=ESP /boot/efi vfat umask=0077 0 1
END
# Without a loop device: both file systems are made of a directory each, and put behind one another. MiB.
"$repo/tools/enter.sh" sh -ec '
  cd "$1"
  truncate -s 512M esp.img; mkfs.vfat -n ESP esp.img; mcopy -s -i esp.img esp/* ::
  mkfs.ext4 -q -L root -d root root.img 2G
  truncate -s 2562M disk.raw
  printf "label: gpt\nstart=1MiB, size=512MiB, type=uefi\nstart=513MiB, size=2048MiB, type=linux-root-x86-64\n" | sfdisk disk.raw
  dd if=esp.img of=disk.raw bs=1M seek=1 conv=notrunc,sparse; dd if=root.img of=disk.raw bs=1M seek=513 conv=notrunc,sparse
  rm -r esp esp.img root.img
' sh "$work" >>"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; die "no disk was made; the whole log is $work/log"; }
mv "$work" "$made"
say "made in $(($(date +%s) - start)) s"
echo "$made"
