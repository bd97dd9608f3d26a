packer {
  required_version = ">= 1.6.6"
}

variable "iso" {
  type        = string
  description = "The ISO of this project, uploaded from here. Its configuration names the disk: it writes to no other."
}

variable "iso_checksum" {
  type        = string
  default     = "none"
  description = "sha256:DIGITS, or file:PATH of the SHA256SUMS beside it."
}

variable "config_iso" {
  type        = string
  default     = ""
  description = "A cidata volume that is in a datastore already, [DATASTORE] PATH, where the ISO has no configuration in it."
}

variable "version" {
  type        = string
  description = "Of etcd-bootstrapper, for the template's name."
}

variable "name" {
  type        = string
  default     = ""
  description = "Of the template; etcd-bootstrapper_<version> by default."
}

variable "vcenter_server" {
  type        = string
  description = "The vCenter's host name."
}

variable "username" {
  type        = string
  description = "Who has the role of role.json."
}

variable "password" {
  type        = string
  sensitive   = true
  description = "By PKR_VAR_password, so that it stands in no file and no process list."
}

variable "insecure_connection" {
  type        = bool
  default     = false
  description = "Whether a vCenter of an unknown CA will do."
}

variable "datacenter" {
  type        = string
  default     = ""
  description = "Required where there is more than one."
}

variable "cluster" {
  type        = string
  default     = ""
  description = "The cluster, or else `host`."
}

variable "host" {
  type        = string
  default     = ""
  description = "The ESXi host, or else `cluster`."
}

variable "resource_pool" {
  type        = string
  default     = ""
  description = "The cluster's own by default."
}

variable "datastore" {
  type        = string
  description = "Of the template and of the ISO."
}

variable "folder" {
  type        = string
  default     = ""
  description = "Of the template."
}

variable "network" {
  type        = string
  description = "The port group; the installation needs nothing of it."
}

variable "vm_version" {
  type        = number
  default     = 14
  description = "Hardware version; 14 is vSphere 6.7's."
}

variable "secure_boot" {
  type        = bool
  default     = false
  description = "Only where the image is signed by a key that the host's firmware has."
}

variable "cpus" {
  type        = number
  default     = 2
  description = "Processors."
}

variable "memory" {
  type        = number
  default     = 2048
  description = "MiB."
}

variable "disk_size" {
  type        = number
  default     = 8192
  description = "MiB of the system disk; data belongs on another one, which each machine gets of its own."
}

variable "timeout" {
  type        = string
  default     = "30m"
  description = "After which a machine that has not powered itself off is given up."
}
