# Packer's own builders for EC2 want a machine to log in to, and 1.6.6 registers no image that boots by UEFI: the finished
# disk goes up as a snapshot, and the image is registered of it.
source "null" "aws" {
  communicator = "none"
}

build {
  name    = "aws"
  sources = ["source.null.aws"]

  provisioner "shell-local" {
    environment_vars = [
      "IMAGE=${var.image}",
      "NAME=${var.name != "" ? var.name : "etcd-bootstrapper_${var.version}"}",
      "VERSION=${var.version}",
      "REGION=${var.region}",
      "TPM=${var.tpm}",
      "KMS_KEY=${var.kms_key}",
      "ENDPOINT=${var.endpoint}",
      "PYTHON=${var.python}",
    ]
    inline = ["'${path.root}/publish.sh'"]
  }
}
