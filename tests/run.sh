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

step() { # name, command...
  name=$1
  shift
  say "$name"
  began=$(date +%s)
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); say "$name: failed"; fi
  echo "$(($(date +%s) - began)) $name" >>"$times"
}
small() { [ "$(stat -c %s out/etcd-bootstrapper)" -le $((5 << 20)) ]; }
machines() {
  status=0
  tests/vm.sh test >"$vm" || status=$?
  sed -nE 's/^(ok|FAILED) +([a-z-]+) \(([0-9.]+) s\)$/\3 vm \2/p' "$vm" >>"$times"
  cat "$vm"
  return $status
}
if [ -z "${SKIP_VM:-}" ]; then
  vm=$(mktemp)
  step "the program, static" make --no-print-directory program
  step "the program is at most 5 MiB" small
  step "image, gate and checksums by Packer" make --no-print-directory packer
  step "booted machines" machines
  rm -f "$vm"
fi

echo
echo "The ten slowest tests:"
sort -rn "$times" | head -n 10 | awk '{printf "%8.1f s  %s\n", $1, substr($0, index($0, $2))}'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
