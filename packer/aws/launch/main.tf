# A cluster as an Auto Scaling group: one launch template, one user-data for all members. Not applied here.
terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40"
    }
  }
}

provider "aws" {
  region = var.region
}

locals {
  # The policies of docs/policies name groups and secrets by this beginning.
  name     = "etcd-${var.cluster}"
  policies = "${path.module}/../../../docs/policies"
}

data "aws_ami" "etcd" {
  owners = ["self"]
  filter {
    name   = "name"
    values = [var.image]
  }
  # An image without it boots by BIOS, and this one cannot.
  filter {
    name   = "boot-mode"
    values = ["uefi"]
  }
}

resource "aws_launch_template" "etcd" {
  name          = local.name
  image_id      = data.aws_ami.etcd.id
  instance_type = var.instance_type
  ebs_optimized = true
  user_data     = filebase64(var.user_data)

  iam_instance_profile {
    arn = aws_iam_instance_profile.etcd.arn
  }

  # Sessions only, and not further than this machine: user-data may name secrets.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  network_interfaces {
    associate_public_ip_address = false
    delete_on_termination       = true
    security_groups             = [aws_security_group.etcd.id]
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size           = 8
      volume_type           = "gp3"
      encrypted             = true
      kms_key_id            = var.kms_key
      delete_on_termination = true
    }
  }
  # The data disk: the only blank one, so the image takes it without being told.
  block_device_mappings {
    device_name = "/dev/sdf"
    ebs {
      volume_size           = var.data_size
      volume_type           = "gp3"
      iops                  = 3000
      throughput            = 125
      encrypted             = true
      kms_key_id            = var.kms_key
      # No successor takes it up; what outlives all members is the store of `backup` (var.store).
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags = {
      Name = local.name
    }
  }
  tag_specifications {
    resource_type = "volume"
    tags = {
      Name = local.name
    }
  }
}

resource "aws_autoscaling_group" "etcd" {
  name                = local.name
  vpc_zone_identifier = var.subnets
  desired_capacity    = var.size
  min_size            = var.size
  # One more while an instance is refreshed.
  max_size = var.size + 1
  # A cluster without a quorum must not lose its survivors: only a broken machine is replaced.
  health_check_type         = "EC2"
  default_instance_warmup   = 0
  wait_for_capacity_timeout = "30m"
  # It would end members that are well.
  suspended_processes = ["AZRebalance"]

  # Of the group itself, since a hook that is made after it misses the first machines. `finish` completes it once the
  # member votes, and gives signs of life from the time that `run` is through: until then this must last.
  initial_lifecycle_hook {
    name                 = "voter"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    default_result       = "ABANDON"
    heartbeat_timeout    = 3600
  }

  launch_template {
    id      = aws_launch_template.etcd.id
    version = aws_launch_template.etcd.latest_version
  }

  # A new member votes before an old one goes, one at a time.
  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 100 + ceil(100 / var.size)
      instance_warmup        = 0
      skip_matching          = true
    }
  }

  tag {
    key                 = "etcd-cluster"
    value               = var.cluster
    propagate_at_launch = true
  }

  # Not before the machines may ask who the others are, and for the CA's key.
  depends_on = [aws_iam_role_policy.members, aws_iam_role_policy.secrets, aws_iam_role_policy.store]
}

resource "aws_iam_role" "etcd" {
  name = local.name
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "members" {
  name   = "members"
  role   = aws_iam_role.etcd.id
  policy = file("${local.policies}/aws.json")
}

resource "aws_iam_role_policy" "secrets" {
  name   = "secrets"
  role   = aws_iam_role.etcd.id
  policy = file("${local.policies}/aws-secrets.json")
}

resource "aws_iam_role_policy" "store" {
  count  = var.store == null ? 0 : 1
  name   = "store"
  role   = aws_iam_role.etcd.id
  policy = replace(replace(file("${local.policies}/aws-store.json"), "BUCKET", var.store.bucket), "PREFIX", var.store.prefix)
}


resource "aws_iam_instance_profile" "etcd" {
  name = local.name
  role = aws_iam_role.etcd.name
}

resource "aws_security_group" "etcd" {
  name        = local.name
  description = "etcd: clients, and the members among themselves"
  vpc_id      = var.vpc
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each          = toset(var.clients)
  security_group_id = aws_security_group.etcd.id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 2379
  to_port           = 2379
}

resource "aws_vpc_security_group_ingress_rule" "members" {
  security_group_id            = aws_security_group.etcd.id
  referenced_security_group_id = aws_security_group.etcd.id
  ip_protocol                  = "tcp"
  from_port                    = 2379
  to_port                      = 2380
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.etcd.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}
