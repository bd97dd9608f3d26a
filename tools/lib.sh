# Sourced by the scripts of tools/ and image/: where things are, and which mirror to ask.
# shellcheck shell=sh disable=SC2034
repo=$(cd "$(dirname "$0")/.." && pwd -P)
cache=${ETCD_BOOTSTRAPPER_CACHE:-$HOME/.cache/etcd-bootstrapper}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "needs root (mount namespaces, apt); run it with sudo"; }

# Packages of this host's own Debian.
install_here() { # package...
  need_root
  say "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -qqy --no-install-recommends "$@" >/dev/null 2>&1 ||
    { apt-get update -qq >&2 && apt-get install -qqy --no-install-recommends "$@" >/dev/null; }
}

# Two first runs at once would install over each other: the second waits here, and then looks again.
lock_install() { # what
  mkdir -p "$cache"
  exec 9>"$cache/install.lock"
  flock -n 9 && return
  say "another run is installing something, waiting for it before $1"
  flock -w 900 9 || die "it has not ended within 15 minutes: look for it with \`fuser -v $cache/install.lock\`, end it and try again"
}

# The machine's own mirror, so that a site without internet needs to configure it once.
host_mirror() { # label
  apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n "s,^$1|\(http[^ ]*[^/]\)/*\$,\1,p" | head -n 1
}
mirrors() {
  : "${DEBIAN_MIRROR:=$(host_mirror Debian)}"
  : "${DEBIAN_MIRROR:=http://deb.debian.org/debian}"
  : "${DEBIAN_SECURITY_MIRROR:=$(host_mirror Debian-Security)}"
  : "${DEBIAN_SECURITY_MIRROR:=$DEBIAN_MIRROR-security}"
  export DEBIAN_MIRROR DEBIAN_SECURITY_MIRROR
}
# Proxies, and whether a frozen mirror's old dates are accepted, are this host's decisions as well.
host_apt_conf() {
  apt-config dump | grep -E '^Acquire::(http|https)::(Proxy|CaInfo)|^Acquire::Check-(Date|Valid-Until) ' || true
}
