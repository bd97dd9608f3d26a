#!/bin/sh
# Prints a Python that has python-hcl2, a reader of Terraform's language for tests, of the Python registry.
set -eu
. "$(dirname "$0")/lib.sh"
version=8.1.4
dir=$cache/hcl2-$version
if ! [ -x "$dir/bin/python" ]; then
  lock_install python-hcl2
fi
if ! [ -x "$dir/bin/python" ]; then
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_here python3-venv
  say "installing python-hcl2 $version"
  rm -rf "$dir" "$dir.new"
  python3 -m venv "$dir.new"
  "$dir.new/bin/pip" install --quiet --disable-pip-version-check "python-hcl2==$version" >&2
  mv "$dir.new" "$dir"
fi
echo "$dir/bin/python"
