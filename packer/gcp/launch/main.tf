# A cluster as a regional managed instance group: one template, one user-data for all members. Not applied here.
terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 5.20"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

locals {
  name = "etcd-${var.cluster}"
  role = jsondecode(file("${path.module}/../../../docs/policies/gce.json"))
}

data "google_compute_image" "etcd" {
  name = var.image
}

resource "google_compute_instance_template" "etcd" {
  name_prefix    = "${local.name}-"
  machine_type   = var.machine_type
  can_ip_forward = false

  disk {
    source_image = data.google_compute_image.etcd.self_link
    boot         = true
    auto_delete  = true
    disk_size_gb = 10
    disk_type    = "pd-balanced"
    dynamic "disk_encryption_key" {
      for_each = var.kms_key == null ? [] : [var.kms_key]
      content {
        kms_key_self_link = disk_encryption_key.value
      }
    }
  }
  # The data disk: the only blank one, so the image takes it without being told. Encrypted in any case, by this key if given.
  disk {
    device_name  = "etcd-data"
    boot         = false
    auto_delete  = true
    disk_size_gb = var.data_size
    disk_type    = "pd-ssd"
    dynamic "disk_encryption_key" {
      for_each = var.kms_key == null ? [] : [var.kms_key]
      content {
        kms_key_self_link = disk_encryption_key.value
      }
    }
  }

  # Without an access_config there is no public address.
  network_interface {
    subnetwork = var.subnetwork
    nic_type   = "GVNIC"
  }

  # For Secure Boot the image is signed (image/secure-boot.sh) and made with the certificate as its signature database.
  shielded_instance_config {
    enable_secure_boot          = false
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  metadata = {
    user-data              = file(var.user_data)
    block-project-ssh-keys = "true"
  }
  tags = [local.name]

  service_account {
    email  = google_service_account.etcd.email
    scopes = ["cloud-platform"]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_region_instance_group_manager" "etcd" {
  name                      = local.name
  base_instance_name        = local.name
  region                    = var.region
  distribution_policy_zones = var.zones
  target_size               = var.size

  version {
    instance_template = google_compute_instance_template.etcd.self_link_unique
  }

  # A regional group replaces as many at once as it has zones, and knows nothing of votes: nobody is replaced until a
  # person says so, one by one, when `etcdctl member list` shows the last one as a voter.
  update_policy {
    type                         = "OPPORTUNISTIC"
    minimal_action               = "REPLACE"
    instance_redistribution_type = "NONE"
    max_surge_fixed              = 0
    max_unavailable_fixed        = length(var.zones)
  }

  # Not before the machines may ask who the others are, and for the CA's key.
  depends_on = [google_project_iam_member.members, google_secret_manager_secret_iam_member.ca_key]
}

resource "google_service_account" "etcd" {
  account_id   = local.name
  display_name = "members of the etcd cluster ${var.cluster}"
}

resource "google_project_iam_custom_role" "members" {
  # One for each cluster of the project; a role's ID has no dashes.
  role_id     = "etcdMembers_${replace(var.cluster, "-", "_")}"
  title       = local.role.title
  description = local.role.description
  permissions = local.role.includedPermissions
}

resource "google_project_iam_member" "members" {
  project = var.project
  role    = google_project_iam_custom_role.members.id
  member  = "serviceAccount:${google_service_account.etcd.email}"
}

resource "google_secret_manager_secret_iam_member" "ca_key" {
  secret_id = var.ca_key_secret
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.etcd.email}"
}

resource "google_compute_firewall" "clients" {
  name          = "${local.name}-clients"
  network       = var.network
  source_ranges = var.clients
  target_tags   = [local.name]
  allow {
    protocol = "tcp"
    ports    = ["2379"]
  }
}

resource "google_compute_firewall" "members" {
  name        = "${local.name}-members"
  network     = var.network
  source_tags = [local.name]
  target_tags = [local.name]
  allow {
    protocol = "tcp"
    ports    = ["2379", "2380"]
  }
}
