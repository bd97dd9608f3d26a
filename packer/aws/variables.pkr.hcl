packer {
  required_version = ">= 1.6.6"
}

variable "image" {
  type        = string
  description = "The raw disk, beside the SHA256SUMS that says it has passed the smoke test."
}

variable "version" {
  type        = string
  description = "Of etcd-bootstrapper, for the image's name and tags."
}

variable "region" {
  type        = string
  description = "Where the image is registered; copy it from there to others."
}

variable "name" {
  type        = string
  default     = ""
  description = "Of the image; etcd-bootstrapper_<version> by default. One name is registered once."
}

variable "tpm" {
  type        = bool
  default     = true
  description = "NitroTPM: the instance types must have it (no t2, no metal before Nitro)."
}

variable "kms_key" {
  type        = string
  default     = ""
  description = "The ARN of the key that encrypts the snapshot; none by default, so that other accounts may be given the image."
}

variable "endpoint" {
  type        = string
  default     = ""
  description = "Who answers in the place of AWS, for tests."
}

variable "python" {
  type        = string
  default     = "python3"
  description = "A Python 3.9 or later with boto3 1.26 or later."
}
