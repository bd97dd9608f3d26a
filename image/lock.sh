#!/bin/sh
# Holds what is in the image against packages.lock: name, version, architecture, sha256, path below a mirror, flavours.
#   lock.sh write               builds both flavours from the newest packages; writes the lock, and what changed into CHANGELOG.md
#   lock.sh list TREES ETCD     prints, in the lock's first five columns, what a build has installed in TREES and took from ETCD
#   lock.sh drift LIST FLAVOUR  says where such a list is not what the lock says; fails if it says anything
#   lock.sh fetch FLAVOUR DIR   brings the locked packages there, from the cache or DEBIAN_SNAPSHOT (URLs), nothing else
#   lock.sh changes OLD NEW     says, in no order, what another lock has in its place
# PACKAGES_LOCK names another lock.
set -eu
. "$(dirname "$0")/../tools/lib.sh"
lock=${PACKAGES_LOCK:-$repo/image/packages.lock}
export LC_ALL=C

list() { # trees, etcd
  control=$2/control
  # An archive of upstream's is no package.
  [ -f "$control" ] || control=/dev/null
  for index in "$1"/*.metadata.cache/lib/apt/lists/*_Packages "$control"; do
    [ ! -f "$index" ] || awk -F': ' '
      $1 == "Package" { name = $2 } $1 == "Version" { version = $2 } $1 == "Architecture" { arch = $2 }
      $1 == "Filename" { path = $2 } $1 == "SHA256" { sum = $2 }
      /^$/ && name { print name, version, arch, sum, path; name = "" }' "$index"
  done >"$1/index"
  # What was built from the lock has no other index.
  [ -z "${DEBIAN_SNAPSHOT:-}" ] || cut -d' ' -f1-5 "$lock" >>"$1/index"
  # A package is in the tree even if mkosi.postinst takes it out again: its scripts have run.
  awk -F': ' '
    FILENAME == ARGV[1] { split($0, p, " "); known[p[1] " " p[2] " " p[3]] = $0; next }
    $1 == "Package" { name = $2 } $1 == "Version" { version = $2 } $1 == "Architecture" { arch = $2 } $1 == "Status" { status = $2 }
    /^$/ { id = name " " version " " arch
      if (name == "" || status !~ /^(install ok installed)?$/) { } else if (id in known) print known[id]
      else { print "lock.sh: no mirror says the sha256 of " id > "/dev/stderr"; bad = 1 }
      name = status = "" }
    END { exit bad }' "$1/index" "$1"/*.cache/var/lib/dpkg/status "$control" >"$1/listed"
  # By a file, since a pipe ends as sort does, whatever awk has found.
  sort -u "$1/listed"
}

drift() { # list, flavour
  awk -v flavour="$2" -v etcd="${ETCD_SOURCE:-debian}" '
    FILENAME == ARGV[1] { if ("," $6 "," ~ "," flavour "," && (etcd == "debian" || $1 !~ /^etcd-/)) { version[$1] = $2; sum[$1] = $4 } next }
    !($1 in version) { print $1 ": not locked, built " $2; bad = 1 }
    $1 in version && $4 != sum[$1] { print $1 ": locked " version[$1] ", built " $2 (version[$1] == $2 ? " of other content" : ""); bad = 1 }
    { delete version[$1] }
    END { for (name in version) { print name ": locked " version[name] ", not built"; bad = 1 } exit bad }' "$lock" "$1"
}

fetch() { # flavour, dir
  mkdir -p "$2"
  awk -v flavour="$1" '"," $6 "," ~ "," flavour "," { file = $1 "_" $2 "_" $3 ".deb"; gsub(":", "%3a", file); print file, $4, $5 }' "$lock" >"$2/wanted"
  [ -s "$2/wanted" ] || die "$lock locks nothing for $1"
  for deb in "$2"/*.deb; do grep -qF "${deb##*/} " "$2/wanted" || rm -f "$deb"; done
  while read -r file sum path; do
    is() { [ -f "$1" ] && [ "$(sha256sum <"$1")" = "$sum  -" ]; }
    ! is "$2/$file" || continue
    for have in "$cache/image/packages/cache/apt/archives/$file" "$cache"/etcd-*/"$file"; do
      if is "$have"; then cp "$have" "$2/$file" && continue 2; fi
    done
    for url in $DEBIAN_SNAPSHOT; do
      ! /usr/lib/apt/apt-helper -o APT::Sandbox::User=root -o Acquire::Retries=3 download-file "$url/$path" "$2/$file.new" "SHA256:$sum" >"$2/log" 2>&1 || break
    done
    is "$2/$file.new" || die "$path with sha256 $sum is locked, and is not at $DEBIAN_SNAPSHOT: $(grep '^E:' "$2/log" | head -n 1)"
    mv "$2/$file.new" "$2/$file"
  done <"$2/wanted"
}

changes() { # old lock, new lock
  awk '
    { n = split($6, flavours, ",") }
    FILENAME == ARGV[1] { was[$1]; for (i = 1; i <= n; i++) old[$1 "," flavours[i]] = $2; next }
    { is[$1]
      for (i = 1; i <= n; i++) {
        id = $1 "," flavours[i]
        now[id]
        if (!($1 in was)) print $1 " " $2 " (new)"
        else if (!(id in old)) print $1 " " $2 " (new in " flavours[i] ")"
        else if (old[id] != $2) print $1 " " old[id] " → " $2
      } }
    END { for (id in old) {
      split(id, name, ",")
      if (!(name[1] in is)) print name[1] " (gone)"
      else if (!(id in now)) print name[1] " (gone from " name[2] ")"
    } }' "$1" "$2"
}

write() {
  new=$(mktemp -d)
  trap 'rm -rf "$new"' EXIT
  [ -z "${DEBIAN_SNAPSHOT:-}${ETCD_SOURCE:-}" ] || die "the lock is of the newest packages: unset DEBIAN_SNAPSHOT and ETCD_SOURCE"
  # etcd comes with the tools, which are as old as it.
  rm -rf --one-file-system "$("$repo/tools/toolroot.sh")"
  for flavour in minimal cloud-init; do
    "$repo/image/build.sh" --flavour $flavour --out "$new/$flavour" --force
  done
  for flavour in minimal cloud-init; do sed "s/$/ $flavour/" "$new/$flavour"/*.packages; done | sort | awk '
    { id = $1 " " $2 " " $3 " " $4 " " $5; if (id == last) line = line "," $6; else { if (line) print line; line = $0 } last = id }
    END { print line }' >"$new/lock"
  changes "$lock" "$new/lock" >"$new/changes"
  changed=$(sort -u "$new/changes" | sed 's/$/;/' | xargs -d '\n' | fold -s -w 118)
  if [ -s "$lock" ] && [ -n "$changed" ]; then
    # At the end of the section that is on top.
    entry=$(printf -- '- Packages of the image: %s' "${changed%;}." | sed '2,$s/^/  /; s/ *$//')
    entry=$entry awk '/^## / && ++n == 2 { print ENVIRON["entry"] "\n" } { print } END { if (n < 2) print ENVIRON["entry"] }' \
      "$repo/CHANGELOG.md" >"$new/changelog"
    cat "$new/changelog" >"$repo/CHANGELOG.md"
  fi
  cat "$new/lock" >"$lock"
  say "${changed:-nothing changed}"
}

case ${1:-} in
  write) touch "$lock"; write ;;
  list) list "$2" "$3" ;;
  drift) drift "$2" "$3" ;;
  fetch) fetch "$2" "$3" ;;
  changes) changes "$2" "$3" ;;
  *) sed -n '2,8s/^# //p' "$0" >&2; exit 64 ;;
esac
