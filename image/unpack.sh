#!/bin/sh
# Takes a built disk apart, for looking at it: unpack.sh RAW DIR makes root/, esp/, var/ and initrd/ in DIR;
# unpack.sh --initrd UKI DIR only the last.
set -eu
. "$(dirname "$0")/../tools/lib.sh"
[ -n "${IN_TOOL_ROOT:-}" ] || IN_TOOL_ROOT=1 exec "$repo/tools/enter.sh" "$repo/image/unpack.sh" "$@"
initrd() { # UKI
  mkdir initrd
  python3 - "$1" <<'END' | zstd -dcq | (cd initrd && cpio --quiet -idm --no-absolute-filenames)
import pefile, sys
pe = pefile.PE(sys.argv[1], fast_load=True)
data = next(s for s in pe.sections if s.Name.rstrip(b"\0") == b".initrd")
sys.stdout.buffer.write(data.get_data()[:data.Misc_VirtualSize])
END
}
if [ "$1" = --initrd ]; then
  uki=$(realpath "$2")
  cd "$3"
  initrd "$uki"
  exit
fi
raw=$(realpath "$1")
cd "$2"
mkdir root esp var
partition() { # label, program of jq: where it is, in bytes
  sfdisk --json "$raw" | jq -r --arg label "$1" \
    '.partitiontable | .sectorsize as $s | .partitions[] | select(.name | test($label)) | '"$2"
}
fsck.erofs -d0 --xattrs --extract=root --overwrite --offset="$(partition '^etcd-bootstrapper.*[0-9]$' '.start * $s')" "$raw"
mcopy -s -p -m -Q -i "$raw@@$(partition '^esp$' '.start * $s')" ::'*' esp
# debugfs knows no offset.
dd if="$raw" of=var.ext4 bs=1M iflag=skip_bytes,count_bytes conv=sparse status=none \
  skip="$(partition '^etcd-var$' '.start * $s')" count="$(partition '^etcd-var$' '.size * $s')"
debugfs -R 'rdump / var' var.ext4 2>&1 | grep -v '^debugfs [0-9]' >&2 || true
# debugfs ends well whatever becomes of its requests; every ext4 has this.
[ -d var/lost+found ] || die "debugfs took nothing out of the partition etcd-var of $raw"
rm var.ext4
initrd esp/EFI/Linux/*.efi
