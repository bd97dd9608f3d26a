#!/bin/sh
# What goes into an image: the lock of its packages, and the etcd that is taken. No image is built for it.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
tmp=$(mktemp -d /tmp/lock-test-XXXXXX)
trap 'rm -rf "$tmp"' EXIT
# What is not to be had is asked for again at once.
echo 'Acquire::Retries::Delay "false";' >"$tmp/apt.conf"
export APT_CONFIG="$tmp/apt.conf"
failed=0
fail() { say "FAILED: $*"; failed=1; }
sum() { sha256sum <"$1" | cut -c1-64; }
line() { xargs -d '\n' printf '%s;'; }
said() { grep -qF "$1" "$tmp/said"; }

# What the lock is held against says so where it cannot be.
list() {
  packages=$tmp/trees/x.metadata.cache/lib/apt/lists status=$tmp/trees/x.cache/var/lib/dpkg
  mkdir -p "$packages" "$status"
  printf 'Package: a\nVersion: 1\nArchitecture: all\nFilename: pool/a.deb\nSHA256: aa\n\n' >"$packages/mirror_Packages"
  printf 'Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n' >"$status/status"
  lists() { DEBIAN_SNAPSHOT='' image/lock.sh list "$tmp/trees" "$tmp" 2>"$tmp/said"; }
  [ "$(lists)" = 'a 1 all aa pool/a.deb' ] || fail "lock.sh lists \"$(lists)\""
  printf 'Package: b\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n' >>"$status/status"
  if lists >/dev/null || ! said 'no mirror says the sha256 of b 1 all'; then fail "lock.sh list drops a package whose sha256 nobody knows"; fi
}

changes() {
  printf '%s\n' 'a 1 all aa pool/a minimal' 'b 1 all bb pool/b cloud-init,minimal' 'c 1 all cc pool/c cloud-init,minimal' 'd 1 all dd pool/d minimal' >"$tmp/old"
  printf '%s\n' 'a 1 all aa pool/a cloud-init,minimal' 'b 2 all b2 pool/b cloud-init,minimal' 'c 1 all cc pool/c cloud-init' 'e 1 all ee pool/e minimal' >"$tmp/new"
  found=$(image/lock.sh changes "$tmp/old" "$tmp/new" | sort -u | line)
  [ "$found" = 'a 1 (new in cloud-init);b 1 → 2;c (gone from minimal);d (gone);e 1 (new);' ] || fail "lock.sh says that these have changed: $found"
}

drift() {
  printf '%s\n' 'a 1 all aa pool/a minimal' 'b 1 all bb pool/b minimal' 'c 1 all cc pool/c cloud-init,minimal' 'd 1 all dd pool/d minimal' \
    'e 1 all ee pool/e cloud-init' 'etcd-server 1 all ff pool/f minimal' >"$tmp/locked"
  drifts() { PACKAGES_LOCK=$tmp/locked image/lock.sh drift "$tmp/built" minimal >"$tmp/said"; }
  grep minimal "$tmp/locked" | cut -d' ' -f1-5 >"$tmp/built"
  drifts && [ ! -s "$tmp/said" ] || fail "of what is locked, lock.sh says: $(cat "$tmp/said")"
  sed -i '/^etcd/d' "$tmp/built"
  ETCD_SOURCE=archive drifts || fail "beside an archive of upstream's, lock.sh says: $(cat "$tmp/said")"
  printf '%s\n' 'a 1 all aa pool/a' 'c 2 all c2 pool/c' 'd 1 all d2 pool/d' 'e 1 all ee pool/e' 'etcd-server 1 all ff pool/f' >"$tmp/built"
  if drifts; then fail "lock.sh takes anything for what is locked"; fi
  found=$(sort "$tmp/said" | line)
  [ "$found" = 'b: locked 1, not built;c: locked 1, built 2;d: locked 1, built 1 of other content;e: not locked, built 1;' ] ||
    fail "of what is not locked, lock.sh says: $found"
}

# Every package comes from where it is to be had with its sum, and nothing else stays beside them.
fetch() {
  mkdir -p "$tmp/one/pool" "$tmp/two/pool" "$tmp/cache/etcd-x" "$tmp/debs"
  for package in kept cached first second; do
    echo $package >"$tmp/$package"
    version=1
    [ $package != first ] || version=2:1
    echo "$package $version all $(sum "$tmp/$package") pool/$package.deb minimal"
  done >"$tmp/locked"
  cp "$tmp/kept" "$tmp/debs/kept_1_all.deb"
  cp "$tmp/cached" "$tmp/cache/etcd-x/cached_1_all.deb"
  cp "$tmp/first" "$tmp/one/pool/first.deb"
  cp "$tmp/second" "$tmp/two/pool/second.deb"
  # Each of these is another package.
  cp "$tmp/kept" "$tmp/debs/first_2%3a1_all.deb"
  cp "$tmp/kept" "$tmp/cache/etcd-x/second_1_all.deb"
  cp "$tmp/kept" "$tmp/one/pool/second.deb"
  cp "$tmp/kept" "$tmp/debs/stranger_1_all.deb"
  fetches() { # flavour
    PACKAGES_LOCK=$tmp/locked ETCD_BOOTSTRAPPER_CACHE=$tmp/cache DEBIAN_SNAPSHOT="file://$tmp/one file://$tmp/two" \
      image/lock.sh fetch "$1" "$tmp/debs" 2>"$tmp/said"
  }
  fetches minimal || fail "lock.sh fetch: $(cat "$tmp/said")"
  for package in kept_1 cached_1 first_2%3a1 second_1; do
    cmp "$tmp/${package%%_*}" "$tmp/debs/${package}_all.deb" || fail "lock.sh has fetched something else for $package"
  done
  [ ! -e "$tmp/debs/stranger_1_all.deb" ] || fail "lock.sh fetch leaves a package that is not locked"

  # Where it should be there is another one, or none.
  for package in first absent; do
    echo "$package 3 all $(sum "$tmp/kept") pool/$package.deb minimal" >"$tmp/locked"
    if fetches minimal || ! said "pool/$package.deb with sha256 $(sum "$tmp/kept") is locked, and is not at file://$tmp/one file://$tmp/two: E: "; then
      fail "lock.sh fetch, where there is no such package: $(cat "$tmp/said")"
    fi
    [ ! -e "$tmp/debs/${package}_3_all.deb" ] || fail "lock.sh fetch leaves what is not locked"
  done
  if fetches cloud-init || ! said 'locks nothing for cloud-init'; then fail "lock.sh fetches nothing, and says nothing: $(cat "$tmp/said")"; fi
}

# In a tree of its own, whose build.sh only says of what it would build.
write() {
  mkdir -p "$tmp/tree/image" "$tmp/tree/tools"
  cp image/lock.sh "$tmp/tree/image/"
  cp tools/lib.sh "$tmp/tree/tools/"
  # etcd comes from there: what an earlier day made of it is not the newest.
  # shellcheck disable=SC2016
  printf '%s\n' '#!/bin/sh' 'mkdir -p "${0%/*}/root" && echo "${0%/*}/root"' >"$tmp/tree/tools/toolroot.sh"
  chmod +x "$tmp/tree/tools/toolroot.sh"
  # shellcheck disable=SC2016
  printf '%s\n' '#!/bin/sh' 'mkdir -p "$4"' 'cp "$(dirname "$0")/$2" "$4/image.packages"' >"$tmp/tree/image/build.sh"
  chmod +x "$tmp/tree/image/build.sh"
  built() { # flavour, package...
    flavour=$1
    shift
    for package in "$@"; do echo "${package% *} ${package#* } all sum-of-${package#* } pool/${package% *}"; done >"$tmp/tree/image/$flavour"
  }
  writes() { env -u PACKAGES_LOCK -u DEBIAN_SNAPSHOT -u ETCD_SOURCE "$@" "$tmp/tree/image/lock.sh" write 2>"$tmp/said"; }
  holds() { # file, what
    [ "$(cat "$tmp/tree/$1")" = "$2" ] || fail "lock.sh write has made this of $1: $(cat "$tmp/tree/$1")"
  }
  changelog() { # what is added
    printf '# Changelog\n\n## 0.2.0\n\n- New.\n\n%b## 0.1.0\n\n- Old.' "$1"
  }
  changelog '' >"$tmp/tree/CHANGELOG.md"
  built minimal 'a 1' 'b 1'
  built cloud-init 'a 1' 'c 1'
  for _ in first again; do
    touch "$("$tmp/tree/tools/toolroot.sh")/old"
    writes && said 'nothing changed' || [ "$_" = first ] || fail "of the same packages, lock.sh write says: $(cat "$tmp/said")"
    holds image/packages.lock "$(printf '%s\n' 'a 1 all sum-of-1 pool/a cloud-init,minimal' 'b 1 all sum-of-1 pool/b minimal' 'c 1 all sum-of-1 pool/c cloud-init')"
    holds CHANGELOG.md "$(changelog '')"
    [ ! -e "$tmp/tree/tools/root/old" ] || fail "lock.sh write takes etcd from the tools of an earlier day"
  done
  long=a-package-with-a-name-so-long-that-three-of-them-fill-a-line
  for flavour in minimal cloud-init; do built $flavour 'a 2' 'c 1' "$long-1 1" "$long-2 1"; done
  writes || fail "lock.sh write: $(cat "$tmp/said")"
  holds CHANGELOG.md "$(changelog "- Packages of the image: a 1 → 2; $long-1 1 (new);\n  $long-2 1 (new); b (gone); c 1 (new in minimal).\n\n")"
  before=$(cat "$tmp/tree/image/packages.lock")
  if writes DEBIAN_SNAPSHOT=x || ! said 'unset DEBIAN_SNAPSHOT and ETCD_SOURCE'; then fail "lock.sh write locks what is not the newest"; fi
  holds image/packages.lock "$before"
}

# A release archive of upstream's has the three programs in a directory of its name.
etcd() {
  debian=$(tools/etcd.sh)
  name=etcd-v$("$debian/etcd" --version | sed -n 's/^etcd Version: //p')-linux-amd64
  mkdir "$tmp/$name"
  packed() { tar -I 'gzip -1' -cf "$tmp/$name.tar.gz" -C "$tmp" "$name" && sum "$tmp/$name.tar.gz"; }
  takes() { # sum
    ETCD_BOOTSTRAPPER_CACHE=$tmp/cache ETCD_SOURCE=$tmp/$name.tar.gz ETCD_SHA256=$1 image/etcd.sh 2>"$tmp/said"
  }
  for program in etcd etcdctl; do printf '#!/bin/sh\nexit 1\n' >"$tmp/$name/$program"; done
  if takes "$(packed)" || ! said 'has no etcdutl where'; then fail "an archive without etcdutl is taken: $(cat "$tmp/said")"; fi
  cp "$tmp/$name/etcd" "$tmp/$name/etcdutl"
  if takes "$(packed)" || ! said 'does not say its version'; then fail "an etcd that does not run is taken: $(cat "$tmp/said")"; fi

  cp "$debian/etcd" "$debian/etcdctl" "$debian/etcdutl" "$tmp/$name/"
  right=$(packed) wrong=$(sum /dev/null)
  if takes "$wrong" || ! said "$name.tar.gz with sha256 $wrong was not to be had: E: "; then fail "an archive of another sum is taken: $(cat "$tmp/said")"; fi
  taken=$(takes "$right") || { fail "an archive like upstream's is not taken: $(cat "$tmp/said")"; return; }
  for program in etcd etcdctl etcdutl; do cmp "$debian/$program" "$taken/$program" || fail "$program is not the archive's"; done
  [ "$(cat "$taken/archive-source" "$taken/archive-sha256" | line)" = "$name.tar.gz;$right;" ] || fail "what was taken does not say of which archive it is"
}

list
changes
drift
fetch
write
etcd
[ "$failed" = 0 ]
