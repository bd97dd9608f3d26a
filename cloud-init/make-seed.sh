#!/bin/sh
# Makes a NoCloud seed: an ISO 9660 image labelled cidata with one machine's configuration.
set -eu

usage() {
    cat >&2 <<'END'
usage: make-seed.sh -o SEED.iso [-i INSTANCE-ID] [-n HOSTNAME] [-N NETWORK-CONFIG] FILE
  FILE  user-data (#cloud-config or #etcd-bootstrapper), which needs -i; or a bare document, which every machine may share
  -i    a name that no other machine has
  -n    the machine's host name
  -N    its network, where there is no DHCP: cloud-init's network-config, version 1 or 2
END
    exit 64
}

out='' id='' name='' network=''
while getopts o:i:n:N: option; do
    case $option in
        o) out=$OPTARG ;;
        i) id=$OPTARG ;;
        n) name=$OPTARG ;;
        N) network=$OPTARG ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ -n "$out" ] && [ $# -eq 1 ] || usage
for file in "$1" ${network:+"$network"}; do
    [ -r "$file" ] || { echo "make-seed.sh: cannot read $file" >&2; exit 65; }
done

for maker in "xorriso -as mkisofs" genisoimage mkisofs ''; do
    [ -n "$maker" ] || { echo "make-seed.sh: install xorriso (or genisoimage, or mkisofs)" >&2; exit 69; }
    if command -v "${maker%% *}" >/dev/null; then break; fi
done

umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $(head -n 1 "$1") in
    '#cloud-config'* | '#etcd-bootstrapper'*)
        [ -n "$id" ] || { echo "make-seed.sh: user-data needs an instance ID: -i NAME" >&2; exit 64; }
        cp "$1" "$work/user-data"
        ;;
    '{'*) cp "$1" "$work/etcd-bootstrapper.json" ;;
    *) cp "$1" "$work/etcd-bootstrapper.yaml" ;;
esac
{
    if [ -n "$id" ]; then printf 'instance-id: "%s"\n' "$id"; fi
    if [ -n "$name" ]; then printf 'local-hostname: "%s"\n' "$name"; fi
} >"$work/meta-data"
[ -z "$network" ] || cp "$network" "$work/network-config"
# shellcheck disable=SC2086 # the maker is a command with arguments
$maker -quiet -output "$out" -volid cidata -joliet -rational-rock "$work"
