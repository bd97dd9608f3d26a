# Packer's own builder for OpenStack wants a machine to log in to: the finished disk goes to Glance as it is.
source "null" "openstack" {
  communicator = "none"
}

build {
  name    = "openstack"
  sources = ["source.null.openstack"]

  provisioner "shell-local" {
    environment_vars = [
      "IMAGE=${var.image}",
      "VERSION=${var.version}",
      "NAME=${var.name != "" ? var.name : "etcd-bootstrapper_${var.version}"}",
      "FORMAT=${var.format}",
      "VTPM=${var.vtpm}",
      "OPENSTACK=${var.openstack}",
    ]
    inline = ["'${path.root}/publish.sh'"]
  }
}
