packer {
  required_version = ">= 1.6.6"
}

variable "iso" {
  type        = string
  description = "The ISO of this project, uploaded from here. Its configuration names the disk: it writes to no other."
}

variable "config_iso" {
  type        = string
  default     = ""
  description = "A cidata volume that is in a storage already, STORAGE:iso/NAME, where the ISO has no configuration in it."
}

variable "version" {
  type        = string
  description = "Of etcd-bootstrapper, for the template's name."
}

variable "name" {
  type        = string
  default     = ""
  description = "Of the template; etcd-bootstrapper-<version> by default."
}

variable "url" {
  type        = string
  description = "https://HOST:8006 of any node."
}

variable "ca" {
  type        = string
  default     = ""
  description = "The cluster's CA, /etc/pve/pve-root-ca.pem, where its certificate is of no public one."
}

variable "node" {
  type        = string
  description = "The node that makes the template."
}

variable "vm_id" {
  type        = number
  description = "A number that is free."
}

variable "storage" {
  type        = string
  default     = "local-lvm"
  description = "Of the disks."
}

variable "iso_storage" {
  type        = string
  default     = "local"
  description = "Of the ISO."
}

variable "bridge" {
  type        = string
  default     = "vmbr0"
  description = "The installation needs nothing of it."
}

variable "disk_size" {
  type        = number
  default     = 8
  description = "GiB of the system disk; data belongs on another one, which each machine gets of its own."
}

variable "timeout" {
  type        = number
  default     = 1800
  description = "Seconds after which a machine that has not powered itself off is given up."
}
