packer {
  required_version = ">= 1.6.6"
}

variable "output_dir" {
  type        = string
  description = "Where the image's files go (an absolute path)."
}

variable "name" {
  type        = string
  description = "The image's file name without extension, etcd-bootstrapper_<version>."
}

variable "bootstrapper_bin" {
  type        = string
  description = "The static etcd-bootstrapper binary that goes into the image."
}

variable "image_flavour" {
  type        = string
  default     = "minimal"
  description = "minimal, or cloud-init for an image that has it."
}

variable "accelerator" {
  type        = string
  default     = "tcg"
  description = "kvm or tcg. Always given: Packer takes a /dev/kvm that can be opened for one that works."
}

variable "ovmf_code" {
  type        = string
  default     = "/usr/share/OVMF/OVMF_CODE_4M.fd"
  description = "UEFI firmware for the smoke test."
}

variable "ovmf_vars" {
  type        = string
  default     = "/usr/share/OVMF/OVMF_VARS_4M.fd"
  description = "A copy of the firmware's variables that the smoke test may write."
}

variable "seed" {
  type        = string
  default     = ""
  description = "The NoCloud volume of the smoke test's one-member cluster."
}
