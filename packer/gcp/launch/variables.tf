variable "project" {
  type = string
}

variable "region" {
  type = string
}

variable "zones" {
  type        = list(string)
  description = "As many as there are voters."
}

variable "cluster" {
  type        = string
  description = "cluster.name of the user-data."
  validation {
    condition     = length(var.cluster) <= 25
    error_message = "A service account's name, etcd-CLUSTER, has 30 characters at most."
  }
}

variable "size" {
  type        = number
  default     = 3
  description = "cluster.size of the user-data."
  validation {
    condition     = contains([1, 3, 5, 7], var.size)
    error_message = "etcd has 1, 3, 5 or 7 voters."
  }
}

variable "image" {
  type        = string
  description = "The name that packer/gcp gave it, etcd-bootstrapper-<version>."
}

variable "machine_type" {
  type    = string
  default = "n2-standard-2"
}

variable "user_data" {
  type        = string
  description = "A file as cloud-init/examples/gce-group.yaml."
}

variable "ca_key_secret" {
  type        = string
  description = "The secret of Secret Manager that the user-data names."
}

variable "network" {
  type = string
}

variable "subnetwork" {
  type        = string
  description = "With Private Google Access, since the members have no public address."
}

variable "clients" {
  type        = list(string)
  description = "The networks that may ask etcd."
}

variable "data_size" {
  type    = number
  default = 20
}

variable "kms_key" {
  type        = string
  default     = null
  description = "The key of the disks; Google's own by default. Compute Engine's service agent must be allowed to use another one."
}
