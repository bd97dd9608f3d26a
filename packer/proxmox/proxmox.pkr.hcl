# The proxmox-iso builder of 1.6.6 makes machines with a BIOS only, and never waits for one to power itself off: the
# script asks Proxmox for the same itself.
source "null" "proxmox" {
  communicator = "none"
}

build {
  name    = "proxmox"
  sources = ["source.null.proxmox"]

  provisioner "shell-local" {
    environment_vars = [
      "ISO=${var.iso}",
      "CONFIG_ISO=${var.config_iso}",
      "NAME=${var.name != "" ? var.name : "etcd-bootstrapper-${replace(var.version, ".", "-")}"}",
      "URL=${var.url}",
      "NODE=${var.node}",
      "VM_ID=${var.vm_id}",
      "STORAGE=${var.storage}",
      "ISO_STORAGE=${var.iso_storage}",
      "BRIDGE=${var.bridge}",
      "DISK_GIB=${var.disk_size}",
      "TIMEOUT=${var.timeout}",
      "CA=${var.ca}",
    ]
    inline = ["'${path.root}/publish.sh'"]
  }
}
