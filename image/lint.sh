#!/bin/sh
# Says what must not be in an image: lint.sh DIR, as unpack.sh makes it. One line for each find, `rule: path`; fails if there is one.
set -eu
export LC_ALL=C
ids=$(realpath "$(dirname "$0")/ids")
cd "$1"
found=$(mktemp)
trap 'rm -f "$found"' EXIT
finds() { # rule: paths come from stdin
  sed "s/^/$1: /; s,: \./,: ," >>"$found"
}

# Present and empty: the firmware says who a machine is.
find . -size +0 \( -path '*/etc/machine-id' -o -path '*/var/lib/dbus/machine-id' \) | finds machine-id
find . -name 'ssh_host_*' | finds host-key
find . -name random-seed -o -name credential.secret | finds random-seed
find . -name '*.wal' -o -path '*/member/snap' -o -path '*/var/lib/etcd/*' | finds data-dir
# Ours would be there; a configuration may hold them, or the CA's key.
find . -type f \( -path '*/etc/etcd-bootstrapper/*' -o -path '*/var/lib/etcd-bootstrapper/*' \) | finds configuration
# Python's and cloud-init's programs know the words.
grep -rlIE --exclude='*.py' -e '-----BEGIN ([A-Z]+ )*PRIVATE KEY-----|AGE-SECRET-KEY-1|minisign encrypted secret key' . | finds private-key || true
# What Debian's ca-certificates brings is public.
grep -rlIE --exclude='*.py' -e '-----BEGIN (TRUSTED )?CERTIFICATE-----' . |
  grep -vE '^\./root/(etc/ssl/certs/|usr/share/ca-certificates/)' | finds certificate || true
find . -type f \( -path '*/var/log/*' -o -name '*.journal' -o -name '*.log' \) | finds log
# The initrd's two are Debian's own, and nobody but root is there.
find . -type f -perm /6000 ! -path ./initrd/usr/bin/mount ! -path ./initrd/usr/bin/umount | finds setuid
getcap -r . 2>/dev/null | finds capability || true
find . -name '.*_history' -o -name .lesshst -o -name .viminfo -o -name .wget-hsts | finds history
find . ! -type l -perm -0002 ! \( -type d -perm -1000 \) ! -path './initrd/dev/*' ! -path './esp/*' | finds world-writable
find . \( -path '*bin/dpkg' -o -path '*bin/apt' -o -path '*bin/apt-*' -o -path '*bin/pip*' -o -path '*/var/lib/dpkg' -o -path '*/var/lib/apt' \
  -o -path '*/var/cache/*' -o -path '*/etc/apt' \) | finds package-manager
for file in ./*/etc/shadow ./*/etc/shadow- ./*/etc/passwd ./*/etc/passwd- ./*/etc/gshadow ./*/etc/gshadow-; do
  [ ! -f "$file" ] || awk -F: -v file="$file" '$2 !~ /^([*!]+|x)$/ && !(file ~ /gshadow/ && $2 == "") { print file " (" $1 ")" }' "$file"
done | finds password
for file in ./*/etc/passwd; do
  [ ! -f "$file" ] || awk -F: -v file="$file" '$7 !~ /\/(nologin|false|sync)$/ { print file " (" $1 ")" }' "$file"
done | finds login-shell
# Debian fixes those below 100, and nobody's.
for file in ./*/etc/passwd ./*/etc/group; do
  [ ! -f "$file" ] || awk -F'[: ]' -v file="$file" 'FILENAME == ARGV[1] { if (!/^#/) id[$2] = $3; next }
    $1 in id ? $3 != id[$1] : $3 >= 100 && $3 != 65534 { print file " (" $1 " " $3 ")" }' "$ids" "$file"
done | finds numeric-id
find . -name 'authorized_keys*' -o -path '*/.ssh/*' | finds login-key
# For labs, and nobody's release.
for file in ./*/usr/lib/os-release; do
  [ ! -f "$file" ] || grep -lE '^VARIANT_ID="?debug' "$file" || true
done | finds debug-image
sort -u "$found"
[ ! -s "$found" ]
