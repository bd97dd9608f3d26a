# The gate: boots the image on an overlay as a cluster of one. The machine says whether its member serves and no unit
# has failed, and powers itself off; if it does not, Packer gives up at shutdown_timeout. Only a pass is published.
locals {
  smoke_dir = "${var.output_dir}/smoke"
  # systemd takes units from the firmware's tables, so the image itself needs no back door.
  smoke_credentials = {
    "systemd.extra-unit.smoke.service"       = base64encode(file("${path.root}/smoke.service"))
    "systemd.unit-dropin.multi-user.target" = base64encode("[Unit]\nWants=smoke.service\n")
  }
}

source "qemu" "smoke" {
  disk_image       = true
  iso_url          = "${var.output_dir}/${var.name}.raw"
  iso_checksum     = "none"
  format           = "qcow2"
  use_backing_file = true
  skip_compaction  = true
  # QEMU since 6.1 wants the backing file's format, and Packer does not give it.
  qemu_img_args {
    create = ["-F", "raw"]
  }
  disk_size        = "4G"
  machine_type     = "q35"
  accelerator      = var.accelerator
  cpus             = 2
  memory           = 1024
  headless         = true
  communicator     = "none"
  boot_wait        = "1s"
  shutdown_timeout = "5m"
  output_directory = local.smoke_dir
  vm_name          = "smoke.qcow2"
  # Any -drive or -device here replaces all of Packer's own.
  qemuargs = concat([
    ["-cpu", "max"],
    ["-device", "virtio-net-pci,netdev=user.0,romfile="],
    ["-device", "virtio-rng-pci"],
    ["-drive", "if=pflash,format=raw,unit=0,readonly=on,file=${var.ovmf_code}"],
    ["-drive", "if=pflash,format=raw,unit=1,file=${var.ovmf_vars}"],
    ["-drive", "if=virtio,format=qcow2,cache=unsafe,file=${local.smoke_dir}/smoke.qcow2"],
    ["-drive", "if=virtio,format=raw,readonly=on,file=${var.seed}"],
    ["-serial", "file:${var.output_dir}/smoke-console.log"],
    ["-serial", "file:${var.output_dir}/smoke-evidence.log"],
    ["-smbios", "type=1,uuid=5a0ce5ed-0000-4000-8000-000000000001"],
    ], [for name, value in local.smoke_credentials :
    ["-smbios", "type=11,value=io.systemd.credential.binary:${name}=${value}"]
  ])
}

build {
  name    = "smoke"
  sources = ["source.qemu.smoke"]

  post-processor "shell-local" {
    inline = [
      "rm -r '${local.smoke_dir}' '${var.seed}' '${var.ovmf_vars}'",
      "tail -n 20 '${var.output_dir}/smoke-evidence.log'",
      "grep -q '^SMOKE-PASS' '${var.output_dir}/smoke-evidence.log'",
    ]
  }
}
