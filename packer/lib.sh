# Sourced by the scripts of the targets, which lie one directory deeper than those of tools/.
# shellcheck shell=sh disable=SC2034
. "$(dirname "$0")/../../tools/lib.sh"
repo=${repo%/*}

# All that is missing is told at once, not one run after another.
need_variables() { # NAME=what it is...
  missing=
  for entry in "$@"; do
    name=${entry%%=*}
    eval "value=\${$name:-}"
    [ -n "$value" ] || missing="$missing
  $name: ${entry#*=}"
  done
  [ -z "$missing" ] || die "these variables are not set:$missing"
}

need_tools() { # program=where it comes from...
  missing=
  for entry in "$@"; do
    command -v "${entry%%=*}" >/dev/null || missing="$missing
  ${entry%%=*}: ${entry#*=}"
  done
  [ -z "$missing" ] || die "these programs are not in PATH:$missing"
}

# Where a form of the disk is made: beside it, or where this user keeps things. Root has built it, and who is known to the
# cloud may be somebody else.
form() { # raw disk, ending
  at=$(dirname "$1")
  [ -w "$at" ] || { at=$cache && mkdir -p "$at"; }
  echo "$at/$(basename "$1" .raw).$2"
}

# What root logs in to is for labs.
no_debug() { # directory of an image
  ! grep -qE '"flavour": *"debug"' "$1/manifest.json" || die "$1 has a debug image, into which root logs in by ssh: it is no release, and nothing of it is published"
}

# Nothing leaves that was not booted first: `publish` of packer/qemu sums up what has passed.
need_passed() { # raw disk
  [ -f "$1" ] || die "there is no image $1: \`packer/packer.sh build\` makes it, as root"
  [ ! -f "$(dirname "$1")/manifest.json" ] || no_debug "$(dirname "$1")"
  sums=$(dirname "$1")/SHA256SUMS
  [ -f "$sums" ] || die "$1 has not passed the smoke test: there is no $sums; \`packer/packer.sh build\` makes it"
  line=$(grep -x ".*  $(basename "$1")" "$sums") || die "$sums does not list $(basename "$1")"
  sha256=${line%% *}
  [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$sha256" ] ||
    die "$1 is not what has passed the smoke test: its sha256 is not the one in $sums; run \`packer/packer.sh build\` again"
}
