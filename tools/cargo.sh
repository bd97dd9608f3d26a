#!/bin/sh
# Runs cargo: the one on PATH, else the one that tools/setup.sh installed.
set -eu
. "$(dirname "$0")/lib.sh"
if ! command -v cargo >/dev/null; then
  for bin in "$cache"/rustup/toolchains/*/bin; do PATH=$bin:$PATH; done
  export PATH CARGO_HOME="$cache/cargo"
fi
exec cargo "$@"
