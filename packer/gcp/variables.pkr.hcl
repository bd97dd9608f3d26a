packer {
  required_version = ">= 1.6.6"
}

variable "image" {
  type        = string
  description = "The raw disk, beside the SHA256SUMS that says it has passed the smoke test."
}

variable "version" {
  type        = string
  description = "Of etcd-bootstrapper, for the image's name."
}

variable "tar" {
  type        = string
  default     = ""
  description = "The file that is made of the disk and uploaded; beside it by default."
}

variable "project" {
  type        = string
  description = "The project that has the bucket and gets the image."
}

variable "bucket" {
  type        = string
  description = "Where the file lies while it is imported."
}

variable "account_file" {
  type        = string
  default     = null
  description = "The key of a service account; the application default credentials by default."
}

variable "name" {
  type        = string
  default     = ""
  description = "Of the image; etcd-bootstrapper-<version> by default."
}

variable "family" {
  type        = string
  default     = "etcd-bootstrapper"
  description = "The image family, whose newest image an instance template may name."
}
