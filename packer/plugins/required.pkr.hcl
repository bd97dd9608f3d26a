# For `packer init packer/plugins` of Packer 1.7 and later. It has a directory of its own because Packer 1.6.6 rejects
# the block, and reads only the directory it is given. The other targets need no plugin.
packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.0.0"
    }
    googlecompute = {
      source  = "github.com/hashicorp/googlecompute"
      version = ">= 1.0.0"
    }
    vsphere = {
      source  = "github.com/hashicorp/vsphere"
      version = ">= 1.0.0"
    }
  }
}
