#!/bin/sh
# All tests in order of their cost, then the ten slowest. Exits non-zero when any failed. What would not end
# within TEST_MINUTES is not begun with machines; most hosts do not need them. What a slow one leaves out is told, and soaks show it.
#   SINCE: when it all began, in seconds since the epoch
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
logs=out/test-logs
mkdir -p "$logs"
# What an earlier run printed is no word on this one.
rm -f "$logs"/*.log
times=$(mktemp)
trap 'rm -f "$times"; [ -z "${building:-}" ] || kill "$building" 2>/dev/null || true' EXIT
failed=0 passed=0 since=${SINCE:-$(date +%s)} left=
end=$((since + ${TEST_MINUTES:-60} * 60))

# What a failed suite says of its failures; its end, when it did not live to say so.
failures() { # log
  lines=$(sed -n '/^failures:$/,$p' "$1" | tee "$times.failures" | wc -l)
  [ "$lines" -gt 0 ] || tail -n 40 "$1" >"$times.failures"
  head -n 200 "$times.failures"
  [ "$lines" -le 200 ] || echo "[... $((lines - 200)) more lines]"
  rm -f "$times.failures"
}

# Each once: a test that runs itself again, in a network of its own, is told of twice.
named() { # ok or FAILED
  sed -nE "s/^test (.*) \.\.\. $1.*/\1/p" "$log" | sort -u | wc -l
}

# libtest knows how long each test took and says so only to nightly compilers, or when told that this is one.
suite() { # name, binary, arguments...
  name=$1 binary=$2
  shift 2
  say "$name"
  log=$logs/$name.log
  status=0
  RUSTC_BOOTSTRAP=1 "$binary" "$@" >"$log" 2>&1 || status=$?
  ok=$(named ok) bad=$(named FAILED)
  sed -nE 's/^test (.*) \.\.\. (ok|FAILED) <([0-9.]+)s>$/\3 '"$name"' \1/p' "$log" >>"$times"
  if [ "$status" = 0 ]; then grep -E '^note: ' "$log" || true; else failures "$log"; [ "$bad" -gt 0 ] || bad=1; fi
  say "$name: $ok passed, $bad failed$([ "$status" = 0 ] || echo "; all it printed is in $log")"
  passed=$((passed + ok)) failed=$((failed + bad))
}

# The program as it ships is for the machines, which come last: it is built beside the tests, of what they leave of the
# processors.
building=
program_beside() {
  [ -z "${SKIP_VM:-}" ] || return 0
  nice -n 19 make --no-print-directory program >"$logs/program.log" 2>&1 </dev/null &
  building=$!
}
program_built() {
  status=0
  wait "$building" || { status=$?; tail -n 40 "$logs/program.log"; }
  building=
  return $status
}

tests='-Zunstable-options --report-time --show-output'
# The crash matrix needs a program that dies on demand; without its variable it is the same program.
features='--features etcd-bootstrapper/fault-injection'
say "building the tests"
# shellcheck disable=SC2086
binaries=$(tools/cargo.sh test --workspace $features --no-run --message-format=json 2>/dev/null |
  sed -n 's/"kind":\["lib"\].*"name":"[^"]*/&-lib/; s/.*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1=\2/p') || { tools/cargo.sh test --workspace $features --no-run; exit 1; }
program_beside
for pair in $binaries; do
  name=${pair%%=*} binary=${pair#*=}
  case $name in
    etcd-bootstrapper | vm | bench) ;;
    # shellcheck disable=SC2086
    it) ETCD_BIN_DIR=$(tools/etcd.sh) suite it "$binary" $tests --test-threads=3 ;;
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
nameless() { ! grep -qaE "$repo/|${CARGO_HOME:-$HOME/.cargo}/" out/etcd-bootstrapper; }
# Tests' names are sentences; a test that has moved is named by its old place.
documented() {
  lacking=$(grep -rohE '([a-z_0-9]+::)+[a-z_0-9]{20,}' docs ./*.md | sort -u | while read -r test; do
    grep -qsE "^test $test \.\.\. " "$logs"/*.log || echo "$test"
  done)
  [ -z "$lacking" ] || { say "no test of this name has run: $(echo "$lacking" | xargs)"; return 1; }
}
small() { [ "$(stat -c %s out/etcd-bootstrapper)" -le $((10 << 20)) ]; }
# Told as it happens: it takes most of the time. A pipeline ends as tee does, so the status goes through a file.
machines() {
  within=$((end - $(date +%s)))
  [ "$within" -gt 0 ] || within=0
  { status=0; tests/vm.sh test --within "$within" 2>&1 || status=$?; echo $status >"$times.status"; } | tee "$logs/vm.log"
  sed -nE 's/^[0-9] (ok|FAILED) +([a-z-]+) \(([0-9.]+) s\)$/\3 vm \2/p' "$logs/vm.log" >>"$times"
  left=$(sed -nE 's/^[0-9] left +([a-z-]+): .*/\1/p' "$logs/vm.log" | paste -sd' ')
  status=$(cat "$times.status")
  rm -f "$times.status"
  return "$status"
}
step "every test that the docs name has run" documented
if [ -z "${SKIP_VM:-}" ]; then
  step "the program, static: what was left to build" program_built
  step "the program is at most 10 MiB" small
  step "the program does not say where it was built" nameless
  step "image, gate and checksums by Packer" make --no-print-directory packer
  step "the image, and the same one built again" tests/image.sh out
  step "the installation medium, and the same one made again" tests/iso.sh out
  step "booted machines" machines
fi

echo
echo "The ten slowest tests:"
sort -rn "$times" | head -n 10 | awk '{printf "%8.1f s  %s\n", $1, substr($0, index($0, $2))}'
took=$(($(date +%s) - since))
[ -z "$left" ] || echo "Left out, since too little time was left: $left"
echo "$passed passed, $failed failed, in $((took / 60)) min $((took % 60)) s"
[ "$failed" = 0 ]
