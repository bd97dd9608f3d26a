packer {
  required_version = ">= 1.6.6"
}

variable "image" {
  type        = string
  description = "The raw disk, beside the SHA256SUMS that says it has passed the smoke test."
}

variable "version" {
  type        = string
  description = "Of the image in the gallery: three numbers."
}

variable "resource_group" {
  type        = string
  description = "Of the gallery and the storage account."
}

variable "location" {
  type        = string
  description = "A region, such as westeurope."
}

variable "storage_account" {
  type        = string
  description = "Where the blob lies from which the version is made."
}

variable "container" {
  type        = string
  default     = "images"
  description = "Of that account; it is there already."
}

variable "gallery" {
  type        = string
  description = "A gallery of Azure Compute Gallery; it is there already."
}

variable "definition" {
  type        = string
  default     = "etcd-bootstrapper"
  description = "The image definition; made if there is none."
}
