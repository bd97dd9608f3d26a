# Packer orchestrates; it never changes a root file system. `assemble` builds the image from nothing, `publish` derives
# what is handed out, after smoke.pkr.hcl has booted the very same bytes.
source "null" "assemble" {
  communicator = "none"
}

source "null" "publish" {
  communicator = "none"
}

build {
  name    = "image"
  sources = ["source.null.assemble"]

  provisioner "shell-local" {
    environment_vars = ["BOOTSTRAPPER_BIN=${var.bootstrapper_bin}"]
    inline           = ["'${path.root}/../../image/build.sh' --flavour '${var.image_flavour}' --out '${var.output_dir}'"]
  }
}

build {
  name    = "publish"
  sources = ["source.null.publish"]

  provisioner "shell-local" {
    inline = ["'${path.root}/publish.sh' '${var.output_dir}' '${var.name}'"]
  }

  post-processors {
    post-processor "artifice" {
      files = [
        "${var.output_dir}/${var.name}.raw",
        "${var.output_dir}/${var.name}.qcow2",
        "${var.output_dir}/${var.name}.efi",
        "${var.output_dir}/${var.name}.pcrs.json",
        "${var.output_dir}/${var.name}.packages",
        "${var.output_dir}/${var.name}.spdx.json",
        "${var.output_dir}/${var.name}.cdx.json",
        "${var.output_dir}/${var.name}.provenance.json",
        "${var.output_dir}/manifest.json",
        "${var.output_dir}/SHA256SUMS",
      ]
      keep_input_artifact = true
    }
    # A log of this run; the image's own manifest.json is the reproducible one.
    post-processor "manifest" {
      output     = "${var.output_dir}/packer-manifest.json"
      strip_path = true
    }
  }
}
