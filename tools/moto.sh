#!/bin/sh
# Prints moto's server, an S3 for tests, of the Python registry.
set -eu
. "$(dirname "$0")/lib.sh"
version=5.2.5
dir=$cache/moto-$version
if ! [ -x "$dir/bin/moto_server" ]; then
  lock_install moto
fi
if ! [ -x "$dir/bin/moto_server" ]; then
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_here python3-venv
  say "installing moto $version"
  rm -rf "$dir" "$dir.new"
  python3 -m venv "$dir.new"
  "$dir.new/bin/pip" install --quiet --disable-pip-version-check "moto[s3,server]==$version" >&2
  # The scripts in it begin with its path.
  rm -rf "$dir.new"/bin/moto_server.tmp
  sed -i "1s,$dir.new,$dir," "$dir.new"/bin/*_server
  mv "$dir.new" "$dir"
fi
echo "$dir/bin/moto_server"
