#!/bin/sh
# Runs the machine tests: `tests/vm.sh run`, `test [CASE…]`, `soak --minutes N`, `bench`, `clean`; `help` says more.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
tools/setup.sh
# As tests/run.sh has built it.
build='build --workspace --features etcd-bootstrapper/fault-injection --test vm'
# shellcheck disable=SC2086
tools/cargo.sh $build --quiet
# shellcheck disable=SC2086
binary=$(tools/cargo.sh $build --message-format=json 2>/dev/null |
  sed -n 's/.*"name":"vm".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
exec "$binary" "$@"
