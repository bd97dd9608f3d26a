#!/bin/sh
# Runs cargo: the one on PATH, else the one that tools/setup.sh installed.
set -eu
. "$(dirname "$0")/lib.sh"
if ! command -v cargo >/dev/null; then
  for bin in "$cache"/rustup/toolchains/*/bin; do PATH=$bin:$PATH; done
  export PATH CARGO_HOME="$cache/cargo"
fi
# What is shipped is the same whoever builds it, wherever: where it fails it names files below these two.
crates=${CARGO_HOME:-$HOME/.cargo}/registry/src
exec cargo --config "target.x86_64-unknown-linux-musl.rustflags = ['--remap-path-prefix=$crates=/crates', '--remap-path-prefix=$repo=/src']" "$@"
