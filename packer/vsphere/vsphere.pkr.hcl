# Starts our own ISO on a blank machine, the same way as at a site without a network: it installs, and powers off.
source "vsphere-iso" "etcd" {
  vcenter_server      = var.vcenter_server
  username            = var.username
  password            = var.password
  insecure_connection = var.insecure_connection
  datacenter          = var.datacenter
  cluster             = var.cluster
  host                = var.host
  resource_pool       = var.resource_pool
  datastore           = var.datastore
  folder              = var.folder

  vm_name       = var.name != "" ? var.name : "etcd-bootstrapper_${var.version}"
  notes         = "etcd-bootstrapper ${var.version}"
  guest_os_type = "debian11_64Guest"
  vm_version    = var.vm_version
  firmware      = var.secure_boot ? "efi-secure" : "efi"
  CPUs          = var.cpus
  RAM           = var.memory

  disk_controller_type = ["pvscsi"]
  storage {
    disk_size             = var.disk_size
    disk_thin_provisioned = true
  }
  network_adapters {
    network      = var.network
    network_card = "vmxnet3"
  }
  # Without it, a guest sees no serial numbers, and no data disk can be named by one.
  configuration_parameters = {
    "disk.EnableUUID" = "TRUE"
  }

  iso_url      = var.iso
  iso_checksum = var.iso_checksum
  iso_paths    = var.config_iso == "" ? [] : [var.config_iso]
  # The blank disk comes first: after the installation nothing starts the ISO again.
  boot_order   = "disk,cdrom"
  boot_wait    = "1s"
  boot_command = []

  # Nobody can log in: the installer powers the machine off when it is through, and that is waited for.
  communicator        = "none"
  disable_shutdown    = true
  shutdown_timeout    = var.timeout
  remove_cdrom        = true
  convert_to_template = true
}

build {
  name    = "vsphere"
  sources = ["source.vsphere-iso.etcd"]
}
