#!/bin/sh
# Prints s3s-fs, an S3 for tests that checks signatures, of the Rust registry.
set -eu
. "$(dirname "$0")/lib.sh"
version=0.14.1
dir=$cache/s3s-fs-$version
if ! [ -x "$dir/bin/s3s-fs" ]; then
  lock_install s3s-fs
fi
if ! [ -x "$dir/bin/s3s-fs" ]; then
  say "building s3s-fs $version"
  rm -rf "$dir.new"
  # In this repository, whose toolchain it is built with.
  (cd "$repo" && CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$dir.new/target" tools/cargo.sh install --quiet --debug --locked \
    --root "$dir.new" --features binary "s3s-fs@$version" >&2)
  rm -rf "$dir.new/target" "$dir"
  mv "$dir.new" "$dir"
fi
echo "$dir/bin/s3s-fs"
