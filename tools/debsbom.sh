#!/bin/sh
# Prints the directory of a Python environment with debsbom, which writes bills of materials, and what validates them.
set -eu
. "$(dirname "$0")/lib.sh"
version=0.10.2
dir=$cache/debsbom-$version
if ! [ -x "$dir/bin/debsbom" ]; then
  lock_install debsbom
fi
if ! [ -x "$dir/bin/debsbom" ]; then
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_here python3-venv
  say "installing debsbom $version"
  rm -rf "$dir" "$dir.new"
  python3 -m venv "$dir.new" &&
    "$dir.new/bin/pip" install --quiet --disable-pip-version-check "debsbom==$version" 'cyclonedx-python-lib[json-validation]==11.12.0' spdx-tools==0.8.5 >&2
  # The scripts in it begin with its path.
  sed -i "1s,$dir.new,$dir," "$dir.new"/bin/debsbom
  mv "$dir.new" "$dir"
fi
echo "$dir"
