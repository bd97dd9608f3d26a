variable "subscription" {
  type = string
}

variable "resource_group" {
  type        = string
  description = "Of the scale set; it is there already."
}

variable "zones" {
  type        = list(string)
  default     = ["1", "2", "3"]
  description = "Availability zones of the region."
}

variable "cluster" {
  type        = string
  description = "cluster.name of the user-data."
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
  description = "The ID of the image version that packer/azure printed."
}

variable "machine_size" {
  type        = string
  default     = "Standard_D2s_v5"
  description = "Of the second generation, with premium disks and encryption at the host."
}

variable "user_data" {
  type        = string
  description = "A file as cloud-init/examples/azure-group.yaml."
}

variable "ca_key_secret" {
  type        = string
  description = "The resource ID of the secret of Key Vault that the user-data names."
}

variable "subnet" {
  type        = string
  description = "Its ID; with a way to Azure Resource Manager and Key Vault."
}

variable "clients" {
  type        = list(string)
  description = "The networks that may ask etcd."
}

variable "members" {
  type        = list(string)
  description = "The subnet's own networks."
}

variable "data_size" {
  type        = number
  default     = 32
  description = "GiB."
}
