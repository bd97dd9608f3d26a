source "null" "gcp" {
  communicator = "none"
}

locals {
  # Names of Compute Engine have no dots and no underscores.
  name = var.name != "" ? var.name : "etcd-bootstrapper-${replace(var.version, ".", "-")}"
  tar  = var.tar != "" ? var.tar : "${var.image}.tar.gz"
}

build {
  name    = "gcp"
  sources = ["source.null.gcp"]

  provisioner "shell-local" {
    environment_vars = [
      "IMAGE=${var.image}",
      "TAR=${local.tar}",
    ]
    inline = ["'${path.root}/pack.sh'"]
  }

  post-processors {
    post-processor "artifice" {
      files = [local.tar]
    }
    # Uploads the file, makes an image of it and removes the object again.
    post-processor "googlecompute-import" {
      account_file = var.account_file
      project_id = var.project
      bucket = var.bucket
      gcs_object_name = "${local.name}.tar.gz"
      image_name = local.name
      image_family = var.family
      image_description = "etcd-bootstrapper ${var.version}"
      # Without the first, the machine has a BIOS and does not boot.
      image_guest_os_features = ["UEFI_COMPATIBLE", "GVNIC", "VIRTIO_SCSI_MULTIQUEUE"]
    }
  }
}
