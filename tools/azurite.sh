#!/bin/sh
# Prints Azurite's blob server, an Azure for tests, of the npm registry.
set -eu
. "$(dirname "$0")/lib.sh"
version=3.35.0
dir=$cache/azurite-$version
if ! [ -x "$dir/node_modules/.bin/azurite-blob" ]; then
  lock_install Azurite
fi
if ! [ -x "$dir/node_modules/.bin/azurite-blob" ]; then
  command -v npm >/dev/null || install_here nodejs npm
  say "installing Azurite $version"
  rm -rf "$dir.new"
  npm install --prefix "$dir.new" --silent --no-audit --no-fund --omit=dev --ignore-scripts "azurite@$version" >&2
  rm -rf "$dir"
  mv "$dir.new" "$dir"
fi
echo "$dir/node_modules/.bin/azurite-blob"
