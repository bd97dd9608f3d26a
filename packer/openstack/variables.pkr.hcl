packer {
  required_version = ">= 1.6.6"
}

variable "image" {
  type        = string
  description = "The raw disk, beside the SHA256SUMS that says it has passed the smoke test."
}

variable "version" {
  type        = string
  description = "Of etcd-bootstrapper, for the image's name and properties."
}

variable "name" {
  type        = string
  default     = ""
  description = "Of the image; etcd-bootstrapper_<version> by default."
}

variable "format" {
  type        = string
  default     = "qcow2"
  description = "qcow2, or raw where the images lie in Ceph, which clones nothing else."
}

variable "vtpm" {
  type        = bool
  default     = false
  description = "A TPM by hw_tpm_version: the cloud's hypervisors must have swtpm, or nothing is scheduled."
}

variable "openstack" {
  type        = string
  default     = "openstack"
  description = "The client; it takes its cloud from OS_CLOUD or the other OS_ variables."
}
