#!/bin/sh
# cargo's RUSTC_WRAPPER for the targets: coverage is counted in what reads, ours and what it reads with. With counters in
# all that the program is made of, most of the time goes into looking through those that never change.
set -eu
crate=
for argument in "$@"; do
  [ "$crate" != next ] || crate=$argument
  [ "$argument" != --crate-name ] || crate=next
done
case $crate in
bootstrapper | plan | granit_parser | mail_parser | quick_xml | serde_json | simple_dns)
  set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares ;;
esac
exec "$@"
