#!/bin/sh
# Searches for bytes that make one of our parsers panic, hang or take memory: tests/fuzz/run.sh MINUTES [TARGET…]
# libFuzzer with AddressSanitizer and overflow checks; each target until 10 million executions, or 30 minutes without new
# coverage. Corpora grow in out/fuzz/, where the next run goes on; docs/fuzz.md has what was done. Where there is no
# out/fuzz/ a run goes on from that table and from tests/fuzz/grown/, which `tests/fuzz/run.sh keep` writes.
set -eu
cd "$(dirname "$0")/../.."
. tools/lib.sh
repo=$(pwd -P)
usage='tests/fuzz/run.sh MINUTES [TARGET…], or tests/fuzz/run.sh keep'
what=${1:?$usage}
shift
most=10000000 silence=1800
out=$repo/out/fuzz
table=$repo/docs/fuzz.md
grown=$repo/tests/fuzz/grown

command -v c++ >/dev/null || install_here g++
command -v xz >/dev/null || install_here xz-utils
say "building the targets with AddressSanitizer"
# A named target keeps build scripts and macros free of all this; both are for nightly compilers, or one that is told so.
RUSTC_BOOTSTRAP=1 RUSTC_WRAPPER=$repo/tests/fuzz/rustc.sh RUSTFLAGS="-Zsanitizer=address -Ccodegen-units=1" \
  tools/cargo.sh build --quiet --release --locked \
  --manifest-path tests/fuzz/Cargo.toml --target x86_64-unknown-linux-gnu --target-dir target/fuzz
mkdir -p "$out"
# A build while this runs must not change what is run.
fuzz=$out/fuzz.$$
trap 'rm -f "$fuzz"' EXIT
cp "$repo/target/fuzz/x86_64-unknown-linux-gnu/release/fuzz" "$fuzz"
# libFuzzer takes it for a fault that a target ends the process, and keeps the input.
targets=$(FUZZ_TARGET='list' "$fuzz" -runs=0 -artifact_prefix="$out/list-" 2>/dev/null) || true
rm -f "$out"/list-*
[ -n "$targets" ] || die "$fuzz names no targets"
names=$(echo "$targets" | cut -f 1)
for name in "$@"; do
  echo "$names" | grep -Fqx -e "$name" || die "there is no target $name; there are $(echo "$names" | tr '\n' ' ')"
done

# A line: executions, seconds of a processor, coverage, seconds since it grew, how it stands.
noted() {
  if [ -e "$out/$1.tsv" ]; then
    cat "$out/$1.tsv"
  elif [ -e "$table" ]; then
    sed -n "s/^| $1 | \(.*\) |\$/\1/p" "$table" | sed 's/ | /\t/g; s/FAILED$/not yet/'
  fi
}
is_open() { case $(noted "$1") in *'	searched' | *'	no new coverage' | *'	FAILED') return 1 ;; esac; }

# What a target has grown elsewhere.
unpack() {
  [ -d "$out/$1" ] && return
  mkdir -p "$out/$1"
  [ ! -e "$grown/$1.tar.xz" ] || tar -xJf "$grown/$1.tar.xz" -C "$out/$1"
}

# Not every target has a corpus of its own, and libFuzzer refuses a directory that is not there.
seeds() { for seeds in "$@"; do [ ! -d "$seeds" ] || printf '%s ' "$seeds"; done; }

# The limit of memory is the allocator's, see src/main.rs; these two are for what it does not see. It sees what is never
# given back as well: looking for that after each input takes most of the time, as do backtraces in errors. References into
# a stack that has ended are nothing that safe Rust can have. How often a branch was taken is not looked at: it more than
# halves the speed, and in the same time fewer branches are found.
libfuzzer() { # name, most bytes, further arguments...
  name=$1 length=$2
  shift 2
  FUZZ_TARGET=$name RUST_LIB_BACKTRACE=0 \
    ASAN_OPTIONS=quarantine_size_mb=16:malloc_context_size=3:detect_stack_use_after_return=0 "$fuzz" \
    -max_len="$length" -timeout=10 -malloc_limit_mb=64 -rss_limit_mb=1024 -detect_leaks=0 -print_funcs=0 -reload=0 \
    -use_counters=0 "$@"
}

# Whether nothing hangs that took its ten seconds: on a busy host anything may, so it gets them of a processor.
was_late() { # name, most bytes
  for input in "$out/$1"-timeout-*; do
    (ulimit -t 12 && libfuzzer "$1" "$2" -timeout=100000 "$input" >>"$out/$1.log" 2>&1) || return 1
    rm "$input"
  done
}

one() { # name, most bytes, seconds, seeds...
  name=$1 length=$2 seconds=$3
  shift 3
  unpack "$name"
  IFS='	' read -r before cpu covered quiet state <<END
$(noted "$name" | grep . || printf '0\t0\t0\t0\tnot yet\n')
END
  status=0
  # shellcheck disable=SC2046
  libfuzzer "$name" "$length" -max_total_time="$seconds" -runs=$((most - before)) -print_final_stats=1 \
    -artifact_prefix="$out/$name-" "$out/$name" $(seeds "$@") >"$out/$name.log" 2>&1 || status=$?
  # Seconds that what it has started has taken of a processor, so that a busy host does not count.
  times >"$out/$name.times"
  took=$(tail -n 1 "$out/$name.times" | sed 's/[ms]/ /g' | awk '{ print int($1 * 60 + $2 + $3 * 60 + $4) }')
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$name.log" | tail -n 1)
  began=$(sed -nE 's/.*	INITED cov: ([0-9]+) .*/\1/p' "$out/$name.log" | tail -n 1)
  reached=$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' "$out/$name.log" | tail -n 1)
  before=$((before + ${runs:-0})) cpu=$((cpu + took))
  # One that has not come to the end of its seeds says nothing.
  if [ -n "$began" ]; then
    covered=$reached
    if [ "$reached" = "$began" ]; then quiet=$((quiet + took)); else quiet=0; fi
  fi
  # 70: a timeout; 72: somebody has interrupted it.
  case $status in 70) ! was_late "$name" "$length" || status=0 ;; 72) status=0 ;; esac
  state='not yet'
  [ "$before" -lt $most ] || state=searched
  [ "$quiet" -lt $silence ] || state='no new coverage'
  if [ $status != 0 ]; then
    state=FAILED
    say "FAILED  $name: the input is beside out/fuzz/$name.log, which ends with"
    tail -n 25 "$out/$name.log" >&2
  fi
  printf '%s\t%s\t%s\t%s\t%s\n' "$before" "$cpu" "$covered" "$quiet" "$state" >"$out/$name.tsv"
  say "$name: $before executions in $cpu s, coverage $covered, the same for $quiet s: $state"
}

# The table, for those who read it and for the next run.
write_table() {
  {
    cat tests/fuzz/head.md
    echo '| parser | executions | seconds | coverage | the same for: s | ended |'
    echo '| --- | --- | --- | --- | --- | --- |'
    for name in $names; do
      noted "$name" | grep . | sed "s/	/ | /g; s/.*/| $name | & |/" || true
    done
  } >"$table.new"
  mv "$table.new" "$table"
}

# Of each corpus as little as takes it through the same code.
keep() {
  mkdir -p "$grown"
  echo "$targets" | while IFS='	' read -r name length seeds; do
    unpack "$name"
    rm -rf "$out/$name.new"
    mkdir "$out/$name.new"
    # shellcheck disable=SC2046,SC2086
    libfuzzer "$name" "$length" -merge=1 "$out/$name.new" $(seeds $seeds) "$out/$name" \
      </dev/null >"$out/$name.merge.log" 2>&1 || die "$name cannot be merged: $out/$name.merge.log"
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0644 -cC "$out/$name.new" $(ls "$out/$name.new") |
      xz -9e >"$grown/$name.tar.xz"
    rm -r "$out/$name.new"
  done
  write_table
}

if [ "$what" = keep ]; then
  keep
  exit
fi
# What has failed before is tried again: perhaps it was mended.
for noted in "$out"/*.tsv; do [ ! -e "$noted" ] || sed -i 's/FAILED$/not yet/' "$noted"; done
end=$(($(date +%s) + what * 60)) processors=$(nproc)
wanted() { case " $chosen " in '  ' | *" $1 "*) is_open "$1" ;; *) return 1 ;; esac; }
chosen=$*
while [ "$(date +%s)" -lt "$end" ]; do
  open=0
  for name in $names; do ! wanted "$name" || open=$((open + 1)); done
  [ $open -gt 0 ] || { say "every target has ended"; break; }
  left=$((end - $(date +%s)))
  # Each has its turn in what is left, and none so long that nothing is noted for hours.
  slice=$((left * processors / open))
  [ $slice -le 600 ] || slice=600
  [ $slice -ge 10 ] || slice=10
  running=0
  while IFS='	' read -r name length seeds; do
    wanted "$name" || continue
    # shellcheck disable=SC2086
    one "$name" "$length" $slice $seeds &
    running=$((running + 1))
    if [ $running -ge "$processors" ]; then
      wait
      running=0
      write_table
    fi
  done <<END
$targets
END
  wait
  write_table
done
! grep -q 'FAILED |$' "$table"
