#!/bin/sh
# Prints the directory of a Python environment with debsbom, which writes bills of materials, and what validates them.
set -eu
. "$(dirname "$0")/lib.sh"
requirements=$repo/tools/debsbom.txt
dir=$cache/debsbom-$(sha256sum <"$requirements" | cut -c1-12)
if ! [ -x "$dir/bin/debsbom" ]; then
  lock_install debsbom
fi
if ! [ -x "$dir/bin/debsbom" ]; then
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_here python3-venv
  say "installing debsbom"
  rm -rf "$dir" "$dir.new"
  python3 -m venv "$dir.new"
  # Nothing is built here, since what builds a package is pinned by nobody.
  "$dir.new/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r "$requirements" >&2
  # The scripts in it begin with its path.
  sed -i "1s,$dir.new,$dir," "$dir.new"/bin/debsbom
  mv "$dir.new" "$dir"
fi
echo "$dir"
