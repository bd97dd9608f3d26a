#!/bin/sh
# Runs the machine tests: `tests/vm.sh run`, `test [CASE…]`, `soak --minutes N`, `bench`, `clean`; `help` says more.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
tools/setup.sh
tools/cargo.sh build --quiet --test vm
binary=$(tools/cargo.sh build --test vm --message-format=json 2>/dev/null |
  sed -n 's/.*"name":"vm".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
exec "$binary" "$@"
