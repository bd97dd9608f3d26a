# Packer's own builders for Azure want a machine to log in to, or to run inside of Azure: the finished disk goes up as a blob.
source "null" "azure" {
  communicator = "none"
}

build {
  name    = "azure"
  sources = ["source.null.azure"]

  provisioner "shell-local" {
    environment_vars = [
      "IMAGE=${var.image}",
      "VERSION=${var.version}",
      "RESOURCE_GROUP=${var.resource_group}",
      "LOCATION=${var.location}",
      "STORAGE_ACCOUNT=${var.storage_account}",
      "CONTAINER=${var.container}",
      "GALLERY=${var.gallery}",
      "DEFINITION=${var.definition}",
    ]
    inline = ["'${path.root}/publish.sh'"]
  }
}
