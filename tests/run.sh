#!/bin/sh
# All tests in order of their cost, then the ten slowest. Exits non-zero when any failed.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
times=$(mktemp)
trap 'rm -f "$times"' EXIT
failed=0 passed=0

# libtest knows how long each test took and says so only to nightly compilers, or when told that this is one.
suite() { # name, binary, arguments...
  name=$1 binary=$2
  shift 2
  say "$name"
  log=$(mktemp)
  status=0
  RUSTC_BOOTSTRAP=1 "$binary" "$@" >"$log" 2>&1 || status=$?
  ok=$(grep -cE '^test .* \.\.\. ok' "$log" || true) bad=$(grep -cE '^test .* \.\.\. FAILED' "$log" || true)
  sed -nE 's/^test (.*) \.\.\. (ok|FAILED) <([0-9.]+)s>$/\3 '"$name"' \1/p' "$log" >>"$times"
  if [ "$status" = 0 ]; then grep -E '^note: ' "$log" || true; else cat "$log"; [ "$bad" -gt 0 ] || bad=1; fi
  rm -f "$log"
  say "$name: $ok passed, $bad failed"
  passed=$((passed + ok)) failed=$((failed + bad))
}

tests='-Zunstable-options --report-time'
say "building the tests"
binaries=$(tools/cargo.sh test --workspace --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1=\2/p') || { tools/cargo.sh test --workspace --no-run; exit 1; }
for pair in $binaries; do
  name=${pair%%=*} binary=${pair#*=}
  case $name in
    etcd-bootstrapper | vm | bench) ;;
    # shellcheck disable=SC2086
    it) ETCD_BIN_DIR=$(tools/etcd.sh) suite it "$binary" $tests --test-threads=2 ;;
    # shellcheck disable=SC2086
    *) suite "$name" "$binary" $tests ;;
  esac
done

vm() { # name, arguments of tests/vm.sh...
  name=$1
  shift
  began=$(date +%s)
  if tests/vm.sh "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  echo "$(($(date +%s) - began)) vm $name" >>"$times"
}
if [ -z "${SKIP_VM:-}" ]; then
  make --no-print-directory image
  vm cases test
fi

echo
echo "The ten slowest tests:"
sort -rn "$times" | head -n 10 | awk '{printf "%8.1f s  %s\n", $1, substr($0, index($0, $2))}'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
