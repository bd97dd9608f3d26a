#!/bin/sh
# Installs what this host itself needs for building: a C compiler, protoc, and a Rust toolchain if there is none.
# Everything else (QEMU, mkosi, Packer, etcd) lives in the tool root. Does nothing when all of it is there.
set -eu
. "$(dirname "$0")/lib.sh"
missing=
for package in gcc libc6-dev musl-tools protobuf-compiler libprotobuf-dev iproute2 mount mmdebstrap ca-certificates; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' $package 2>/dev/null)" = installed ] || missing="$missing $package"
done
# shellcheck disable=SC2086
[ -z "$missing" ] || install_here $missing
target=x86_64-unknown-linux-musl
channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$repo/rust-toolchain.toml")
cd "$repo"
if command -v rustup >/dev/null; then
  # Whoever has rustup may have told it to install nothing by itself, and may have this toolchain without its target.
  if ! cargo --version >/dev/null 2>&1 || ! [ -d "$(rustc --print target-libdir --target $target)" ]; then
    say "installing Rust $channel by rustup"
    rustup toolchain install "$channel" --no-self-update --profile minimal --component clippy,rustfmt --target $target
  fi
elif ! tools/cargo.sh --version >/dev/null 2>&1; then
  say "installing Rust into $cache/rustup"
  # Debian trixie's rustup, so that a host without one needs no download page; this host's roots, for a site's own CA.
  cp /etc/ssl/certs/ca-certificates.crt "$cache/ca-certificates.crt"
  SSL_CERT_FILE=$cache/ca-certificates.crt CARGO_HOME=$cache/cargo RUSTUP_HOME=$cache/rustup tools/enter.sh \
    rustup toolchain install "$channel" --no-self-update --profile minimal --component clippy,rustfmt --target $target
fi
