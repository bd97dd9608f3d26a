variable "region" {
  type = string
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
  description = "The name that packer/aws gave it, etcd-bootstrapper_<version>."
}

variable "instance_type" {
  type        = string
  default     = "m6i.large"
  description = "One of Nitro's; burstable ones run out of credits when etcd needs them."
}

variable "user_data" {
  type        = string
  description = "A file as cloud-init/examples/aws-group.yaml."
}

variable "vpc" {
  type = string
}

variable "subnets" {
  type        = list(string)
  description = "Private ones, of as many zones as there are voters, with a way to the APIs of ec2, autoscaling and secretsmanager."
}

variable "clients" {
  type        = list(string)
  description = "The networks that may ask etcd."
}

variable "data_size" {
  type        = number
  default     = 20
  description = "GiB; twice the quota and the snapshots' room at least."
}

variable "kms_key" {
  type        = string
  default     = null
  description = "The ARN of the key of the volumes; the account's own for EBS by default. Another one's policy, or a grant, must let Auto Scaling's service-linked role use it, or no instance starts."
}

variable "store" {
  type        = object({ bucket = string, prefix = string })
  default     = null
  description = "What the user-data's store.url has, s3://BUCKET/PREFIX; the instances may use it then."
}
