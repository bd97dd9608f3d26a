# A cluster as a uniform scale set: one model, one user-data for all members. Not applied here.
terraform {
  required_version = ">= 1.5"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 4.0"
    }
    azapi = {
      source  = "Azure/azapi"
      version = ">= 2.0"
    }
  }
}

provider "azurerm" {
  subscription_id = var.subscription
  features {}
}

provider "azapi" {
  subscription_id = var.subscription
}

locals {
  name    = "etcd-${var.cluster}"
  role    = jsondecode(file("${path.module}/../../../docs/policies/azure.json")).properties
  secrets = jsondecode(file("${path.module}/../../../docs/policies/azure-secrets.json")).properties
  # A directory has no two roles of one name.
  whose = "${var.cluster} in ${var.resource_group}"
  # The vault may be in another group than the machines, and a role is assigned only in the scopes that it names.
  vault_group = split("/providers/", var.ca_key_secret)[0]
}

data "azurerm_resource_group" "etcd" {
  name = var.resource_group
}

# By azapi, since azurerm's scale sets want a user and a password, which an image without logins has no place for.
resource "azapi_resource" "etcd" {
  type      = "Microsoft.Compute/virtualMachineScaleSets@2024-03-01"
  name      = local.name
  parent_id = data.azurerm_resource_group.etcd.id
  location  = data.azurerm_resource_group.etcd.location

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.etcd.id]
  }

  body = {
    zones = var.zones
    sku = {
      name     = var.machine_size
      capacity = var.size
    }
    properties = {
      orchestrationMode = "Uniform"
      # More machines than were asked for, of which some are deleted again, can never found.
      overprovision        = false
      singlePlacementGroup = true
      # A new model reaches a machine when a person says so, one by one, when the last one votes.
      upgradePolicy = {
        mode = "Manual"
      }
      virtualMachineProfile = {
        # Specialized: no osProfile, so no user, and nobody waits for an agent. user-data comes by the metadata service.
        userData = filebase64(var.user_data)
        securityProfile = {
          encryptionAtHost = true
          securityType     = "TrustedLaunch"
          # For Secure Boot the image is signed (image/secure-boot.sh) and its version has the certificate among its UEFI keys.
          uefiSettings = {
            secureBootEnabled = false
            vTpmEnabled       = true
          }
        }
        storageProfile = {
          imageReference = {
            id = var.image
          }
          osDisk = {
            createOption = "FromImage"
            caching      = "ReadOnly"
            managedDisk = {
              storageAccountType = "Premium_LRS"
            }
          }
          # The only blank one, so the image takes it without being told.
          dataDisks = [{
            lun          = 0
            createOption = "Empty"
            caching      = "None"
            diskSizeGB   = var.data_size
            managedDisk = {
              storageAccountType = "Premium_LRS"
            }
          }]
        }
        networkProfile = {
          networkInterfaceConfigurations = [{
            name = "etcd"
            properties = {
              primary = true
              networkSecurityGroup = {
                id = azurerm_network_security_group.etcd.id
              }
              # Without a publicIPAddressConfiguration there is no public address.
              ipConfigurations = [{
                name = "etcd"
                properties = {
                  primary = true
                  subnet = {
                    id = var.subnet
                  }
                }
              }]
            }
          }]
        }
        diagnosticsProfile = {
          bootDiagnostics = {
            enabled = true
          }
        }
      }
    }
  }

  # Not before the machines may ask who the others are, and for the CA's key.
  depends_on = [azurerm_role_assignment.members, azurerm_role_assignment.secrets]
}

resource "azurerm_user_assigned_identity" "etcd" {
  name                = local.name
  resource_group_name = data.azurerm_resource_group.etcd.name
  location            = data.azurerm_resource_group.etcd.location
}

resource "azurerm_role_definition" "members" {
  name        = "${local.role.roleName}: ${local.whose}"
  description = local.role.description
  scope       = data.azurerm_resource_group.etcd.id
  permissions {
    actions      = local.role.permissions[0].actions
    data_actions = local.role.permissions[0].dataActions
  }
}

resource "azurerm_role_assignment" "members" {
  scope              = data.azurerm_resource_group.etcd.id
  role_definition_id = azurerm_role_definition.members.role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.etcd.principal_id
}

resource "azurerm_role_definition" "secrets" {
  name        = "${local.secrets.roleName}: ${local.whose}"
  description = local.secrets.description
  scope       = local.vault_group
  permissions {
    actions      = local.secrets.permissions[0].actions
    data_actions = local.secrets.permissions[0].dataActions
  }
  assignable_scopes = [local.vault_group]
}

resource "azurerm_role_assignment" "secrets" {
  scope              = var.ca_key_secret
  role_definition_id = azurerm_role_definition.secrets.role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.etcd.principal_id
}

resource "azurerm_network_security_group" "etcd" {
  name                = local.name
  resource_group_name = data.azurerm_resource_group.etcd.name
  location            = data.azurerm_resource_group.etcd.location

  security_rule {
    name                       = "clients"
    priority                   = 100
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefixes    = var.clients
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "2379"
  }
  security_rule {
    name                       = "members"
    priority                   = 110
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefixes    = var.members
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_ranges    = ["2379", "2380"]
  }
  # The default rules let in all of the virtual network.
  security_rule {
    name                       = "nobody-else"
    priority                   = 4096
    direction                  = "Inbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }
}
