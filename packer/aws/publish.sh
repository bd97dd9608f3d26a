#!/bin/sh
# Makes sure that all is there, and that the disk is the one that was booted, before anything is sent.
set -eu
. "$(dirname "$0")/../lib.sh"
need_variables "IMAGE=the raw disk (-var image=FILE)" "NAME=the image's name" "VERSION=of etcd-bootstrapper" "REGION=where (-var region=REGION)"
python=${PYTHON:-python3}
need_tools "$python=install python3, or give -var python=FILE"
"$python" -c 'import boto3' 2>/dev/null || die "$python has no boto3: install python3-boto3 (Debian), or give -var python=FILE of one that has it"
need_passed "$IMAGE"
set -- --image "$IMAGE" --sha256 "$sha256" --name "$NAME" --version "$VERSION" --region "$REGION"
[ "${TPM:-true}" = true ] || set -- "$@" --no-tpm
[ -z "${KMS_KEY:-}" ] || set -- "$@" --kms-key "$KMS_KEY"
[ -z "${ENDPOINT:-}" ] || set -- "$@" --endpoint "$ENDPOINT"
exec "$python" "$(dirname "$0")/ami.py" "$@"
