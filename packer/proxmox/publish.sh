#!/bin/sh
# A blank UEFI machine starts the ISO, which installs and powers off; what is left becomes the template.
# PROXMOX_TOKEN is USER@REALM!NAME=SECRET of an API token with the role of role.json.
set -eu
. "$(dirname "$0")/../lib.sh"
need_variables "ISO=of this project (-var iso=FILE)" "NAME=of the template" "URL=https://HOST:8006 (-var url=URL)" "NODE=that makes it (-var node=NAME)" \
  "VM_ID=a free number (-var vm_id=NUMBER)" "STORAGE=of the disks (-var storage=NAME)" "ISO_STORAGE=of the ISO (-var iso_storage=NAME)" \
  "BRIDGE=of its network (-var bridge=NAME)" "DISK_GIB=of the system disk (-var disk_size=GIB)" "TIMEOUT=in seconds (-var timeout=SECONDS)" \
  "PROXMOX_TOKEN=USER@REALM!NAME=SECRET of an API token, in the environment"
need_tools "curl=install curl" "jq=install jq"
[ -f "$ISO" ] || die "there is no ISO $ISO"

header=$(mktemp)
trap 'rm -f "$header"' EXIT
# In a file, so that the process list does not show it.
printf 'Authorization: PVEAPIToken=%s\n' "$PROXMOX_TOKEN" >"$header"
api() { # method, path, argument...
  method=$1 path=$2
  shift 2
  curl --silent --show-error --fail-with-body --connect-timeout 10 ${CA:+--cacert "$CA"} --header "@$header" \
    --request "$method" "$@" "$URL/api2/json$path" || die "Proxmox does not take $method $path"
}
machine=/nodes/$NODE/qemu/$VM_ID
# Proxmox answers with the number of a task, and works on.
done_by() { # answer
  task=$(printf %s "$1" | jq -er .data) || die "Proxmox names no task: $1"
  deadline=$(($(date +%s) + TIMEOUT))
  while :; do
    state=$(api GET "/nodes/$NODE/tasks/$task/status" --max-time 60)
    [ "$(printf %s "$state" | jq -r .data.status)" = running ] || break
    [ "$(date +%s)" -lt $deadline ] || die "the task $task has not ended within $TIMEOUT s"
    sleep 2
  done
  result=$(printf %s "$state" | jq -r .data.exitstatus)
  [ "$result" = OK ] || die "the task $task failed: $result"
}

say "uploading $ISO"
file=$(basename "$ISO")
answer=$(api POST "/nodes/$NODE/storage/$ISO_STORAGE/upload" --max-time "$TIMEOUT" --form content=iso --form "filename=@$ISO;filename=$file")
done_by "$answer"
say "making the machine $VM_ID"
answer=$(api POST "/nodes/$NODE/qemu" --max-time 60 --data-urlencode "vmid=$VM_ID" --data-urlencode "name=$NAME" --data-urlencode ostype=l26 \
  --data-urlencode bios=ovmf --data-urlencode machine=q35 --data-urlencode "efidisk0=$STORAGE:1,efitype=4m,pre-enrolled-keys=0" \
  --data-urlencode "tpmstate0=$STORAGE:1,version=v2.0" --data-urlencode cores=2 --data-urlencode memory=2048 --data-urlencode cpu=x86-64-v2-AES \
  --data-urlencode scsihw=virtio-scsi-single --data-urlencode "scsi0=$STORAGE:$DISK_GIB,discard=on,iothread=1,serial=system" \
  --data-urlencode "net0=virtio,bridge=$BRIDGE" --data-urlencode serial0=socket --data-urlencode "ide2=$ISO_STORAGE:iso/$file,media=cdrom" \
  ${CONFIG_ISO:+--data-urlencode "ide3=$CONFIG_ISO,media=cdrom"} --data-urlencode 'boot=order=scsi0;ide2')
done_by "$answer"
done_by "$(api POST "$machine/status/start" --max-time 60 --data '')"
say "waiting up to $TIMEOUT s until it has installed and powered itself off"
deadline=$(($(date +%s) + TIMEOUT))
while :; do
  state=$(api GET "$machine/status/current" --max-time 60)
  [ "$(printf %s "$state" | jq -r .data.status)" = running ] || break
  [ "$(date +%s)" -lt $deadline ] || die "the machine $VM_ID still runs after $TIMEOUT s: look at its console, then remove it"
  sleep 5
done
api PUT "$machine/config" --max-time 60 --data-urlencode delete="ide2${CONFIG_ISO:+,ide3}" --data-urlencode boot=order=scsi0 >/dev/null
answer=$(api POST "$machine/template" --max-time 60 --data '')
done_by "$answer"
say "the template $NAME is $VM_ID"
