#!/bin/sh
# Makes the file that Compute Engine imports, of the disk that was booted.
set -eu
. "$(dirname "$0")/../lib.sh"
need_variables "IMAGE=the raw disk (-var image=FILE)" "TAR=the file that is made"
need_passed "$IMAGE"
exec "$repo/packer/convert.sh" gcp "$IMAGE" "$TAR"
