#!/bin/sh
# Searches for bytes that make one of our parsers panic, hang or take memory: tests/fuzz/run.sh MINUTES [TARGET…]
# libFuzzer with AddressSanitizer and overflow checks; each target until 10 million executions, or 30 minutes without new
# coverage. What was done is noted in out/fuzz.tsv and corpora grow in out/fuzz/, where the next run goes on.
set -eu
cd "$(dirname "$0")/../.."
. tools/lib.sh
repo=$(pwd -P)
minutes=${1:?how many minutes?}
shift
most=10000000 silence=1800
out=$repo/out/fuzz

command -v c++ >/dev/null || install_here g++
say "building the targets with AddressSanitizer"
coverage='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares'
# A named target keeps build scripts and macros free of all this; both are for nightly compilers, or one that is told so.
RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address $coverage -Ccodegen-units=1" tools/cargo.sh build --quiet --release \
  --manifest-path tests/fuzz/Cargo.toml --target x86_64-unknown-linux-gnu --target-dir target/fuzz
fuzz=$repo/target/fuzz/x86_64-unknown-linux-gnu/release/fuzz
mkdir -p "$out"
# libFuzzer takes it for a fault that a target ends the process, and keeps the input.
targets=$(FUZZ_TARGET='list' "$fuzz" -runs=0 -artifact_prefix="$out/list-" 2>/dev/null) || true
rm -f "$out"/list-*
[ -n "$targets" ] || die "$fuzz names no targets"
for name in "$@"; do
  echo "$targets" | cut -f 1 | grep -Fqx -e "$name" || die "there is no target $name; there are $(echo "$targets" | cut -f 1 | tr '\n' ' ')"
done
# What has failed before is tried again: perhaps it was mended.
for noted in "$out"/*.tsv; do [ ! -e "$noted" ] || sed -i 's/FAILED$/not yet/' "$noted"; done

# A line: name, executions, seconds, coverage, seconds since it grew, how it stands.
noted() { sed -n "s/^$1	//p" "$out/$1.tsv" 2>/dev/null; }
is_open() { case $(noted "$1") in *'	searched' | *'	no new coverage' | *'	FAILED') return 1 ;; esac; }

one() { # name, seconds, seeds...
  name=$1 seconds=$2
  shift 2
  mkdir -p "$out/$name"
  # Not every target has a corpus of its own, and libFuzzer refuses a directory that is not there.
  for seeds in "$@"; do
    shift
    [ ! -d "$seeds" ] || set -- "$@" "$seeds"
  done
  # shellcheck disable=SC2046
  IFS='	' read -r before spent covered quiet state <<EOF
$(noted "$name" | grep . || printf '0\t0\t0\t0\tnew\n')
EOF
  began=$(date +%s) status=0
  # The limit of memory is the allocator's, see src/main.rs; these two are for what it does not see. It sees what is never
  # given back as well: looking for that after each input takes most of the time, as do backtraces in errors.
  FUZZ_TARGET=$name RUST_LIB_BACKTRACE=0 ASAN_OPTIONS=quarantine_size_mb=16 "$fuzz" -max_total_time="$seconds" \
    -runs=$((most - before)) -timeout=10 -malloc_limit_mb=64 -rss_limit_mb=1024 -max_len=49152 -print_final_stats=1 \
    -detect_leaks=0 \
    -artifact_prefix="$out/$name-" "$out/$name" "$@" >"$out/$name.log" 2>&1 || status=$?
  took=$(($(date +%s) - began))
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$name.log" | tail -n 1)
  now=$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' "$out/$name.log" | tail -n 1)
  before=$((before + ${runs:-0})) spent=$((spent + took))
  if [ "${now:-0}" = "$covered" ]; then quiet=$((quiet + took)); else quiet=0 covered=${now:-0}; fi
  state='not yet'
  [ "$before" -lt $most ] || state=searched
  [ "$quiet" -lt $silence ] || state='no new coverage'
  if [ "$status" != 0 ]; then
    state=FAILED
    say "FAILED  $name: the input is beside out/fuzz/$name.log, which ends with"
    tail -n 25 "$out/$name.log" >&2
  fi
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$before" "$spent" "$covered" "$quiet" "$state" >"$out/$name.tsv"
  say "$name: $before executions in $spent s, coverage $covered, the same for $quiet s: $state"
}

end=$(($(date +%s) + minutes * 60)) processors=$(nproc)
while [ "$(date +%s)" -lt "$end" ]; do
  open=0
  for name in $(echo "$targets" | cut -f 1); do
    case " $* " in '  ' | *" $name "*) is_open "$name" && open=$((open + 1)) ;; esac
  done
  [ "$open" -gt 0 ] || { say "every target has ended"; break; }
  left=$((end - $(date +%s)))
  # Each has its turn in what is left, and none so long that nothing is noted for hours.
  slice=$((left * processors / open))
  [ $slice -le 600 ] || slice=600
  [ $slice -ge 10 ] || slice=10
  running=0
  while IFS='	' read -r name seeds; do
    case " $* " in '  ' | *" $name "*) ;; *) continue ;; esac
    is_open "$name" || continue
    # shellcheck disable=SC2086
    one "$name" $slice $seeds &
    running=$((running + 1))
    if [ $running -ge "$processors" ]; then wait; running=0; fi
  done <<EOF
$targets
EOF
  wait
done
cat "$out"/*.tsv >"$repo/out/fuzz.tsv"
! grep -q 'FAILED$' "$repo/out/fuzz.tsv"
