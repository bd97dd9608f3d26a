//! The launch examples, as text: Terraform and its providers are not here. What a cluster's safety hangs on is asserted.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use serde_json::{Value, json};

use super::{repository, said};

const READ: &str = "import hcl2, json, sys; print(json.dumps(hcl2.load(open(sys.argv[1]))))";

/// A file of an example.
fn read(target: &str, file: &str) -> Value {
    hcl(&format!("{target}/launch/{file}"))
}

/// A file below `packer/`, without the reader's own marks and quotes.
pub(super) fn hcl(file: &str) -> Value {
    let python = Command::new(repository().join("tools/hcl2.sh")).output().expect("tools/hcl2.sh runs");
    assert!(python.status.success(), "{}", said(&python));
    let path = repository().join("packer").join(file);
    let output = Command::new(String::from_utf8_lossy(&python.stdout).trim()).args(["-c", READ]).arg(&path).output();
    let output = output.expect("Python runs");
    assert!(output.status.success(), "{}: {}", path.display(), said(&output));
    plain(serde_json::from_slice(&output.stdout).expect("JSON"))
}

fn plain(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(unquoted(&text).to_owned()),
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| !name.starts_with("__"))
            .map(|(name, value)| (unquoted(&name).to_owned(), plain(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// The only resource of a type, or the one of this name.
fn resource<'a>(main: &'a Value, kind: &str, name: &str) -> &'a Value {
    let all = main["resource"].as_array().expect("resources");
    all.iter().find_map(|each| each.get(kind)?.get(name)).unwrap_or_else(|| panic!("there is no {kind}.{name}"))
}

/// The user-data that a target's example is launched with.
fn example(target: &str) -> String {
    let name = format!("cloud-init/examples/{}-group.yaml", target.replace("gcp", "gce"));
    std::fs::read_to_string(repository().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Some fields of a value.
fn of(value: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), value[*name].clone())).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn an_auto_scaling_group_is_launched_with_imdsv2_a_hook_and_encrypted_disks() {
    let main = read("aws", "main.tf");
    let template = resource(&main, "aws_launch_template", "etcd");
    assert_eq!(
        template["metadata_options"][0],
        json!({
            "http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1,
            "instance_metadata_tags": "enabled",
        })
    );
    assert_eq!(template["network_interfaces"][0]["associate_public_ip_address"], false);
    let disks = template["block_device_mappings"].as_array().expect("disks");
    let names: Vec<&Value> = disks.iter().map(|disk| &disk["device_name"]).collect();
    assert_eq!(names, ["/dev/xvda", "/dev/sdf"]);
    assert!(disks.iter().all(|disk| disk["ebs"][0]["encrypted"] == true), "{disks:?}");
    assert_eq!(template["image_id"], "${data.aws_ami.etcd.id}");
    let boots = json!({"name": "boot-mode", "values": ["uefi"]});
    assert!(main["data"][0]["aws_ami"]["etcd"]["filter"].as_array().expect("filters").contains(&boots), "{main}");

    let group = resource(&main, "aws_autoscaling_group", "etcd");
    let hook = &group["initial_lifecycle_hook"][0];
    assert_eq!(hook["lifecycle_transition"], "autoscaling:EC2_INSTANCE_LAUNCHING");
    assert_eq!(hook["default_result"], "ABANDON");
    assert_eq!(hook["heartbeat_timeout"], 3600);
    assert_eq!(group["health_check_type"], "EC2");
    assert_eq!(group["suspended_processes"], json!(["AZRebalance"]));
    assert_eq!(group["desired_capacity"], "${var.size}");
    assert_eq!(group["max_size"], "${var.size + 1}");
    let refresh = &group["instance_refresh"][0];
    assert_eq!(refresh["strategy"], "Rolling");
    assert_eq!(refresh["preferences"][0]["min_healthy_percentage"], 100);
}

#[test]
fn an_instance_has_the_policies_that_the_program_was_tested_with_and_a_name_that_they_cover() {
    let main = read("aws", "main.tf");
    assert_eq!(main["locals"][0]["name"], "etcd-${var.cluster}");
    assert_eq!(main["locals"][0]["policies"], "${path.module}/../../../docs/policies");
    for (name, file, covered) in
        [("members", "aws.json", ":autoScalingGroupName/etcd-*"), ("secrets", "aws-secrets.json", ":secret:etcd-*")]
    {
        let policy = &resource(&main, "aws_iam_role_policy", name)["policy"];
        assert_eq!(policy, &format!("${{file(\"${{local.policies}}/{file}\")}}"));
        let text = std::fs::read(repository().join("docs/policies").join(file)).expect("a policy");
        let policy: Value = serde_json::from_slice(&text).expect("JSON");
        let statements = policy["Statement"].as_array().expect("statements");
        let mut resources = statements.iter().filter_map(|statement| statement["Resource"].as_str());
        assert!(resources.any(|resource| resource.ends_with(covered)), "{file} does not cover {covered}");
    }
    assert!(example("aws").contains("aws_secret: etcd-"), "the example's secret is not covered");
    let store = &resource(&main, "aws_iam_role_policy", "store")["policy"].to_string();
    assert!(store.contains("/aws-store.json") && store.contains("var.store.bucket"), "{store}");
    let policy = std::fs::read_to_string(repository().join("docs/policies/aws-store.json")).expect("a policy");
    assert!(policy.contains("\"arn:aws:s3:::BUCKET/PREFIX/*\""), "{policy}");
    for (target, files) in [("gcp", &["gce.json"][..]), ("azure", &["azure.json", "azure-secrets.json"])] {
        let text =
            std::fs::read_to_string(repository().join("packer").join(target).join("launch/main.tf")).expect("a file");
        for file in files {
            assert!(
                text.contains(&format!("file(\"${{path.module}}/../../../docs/policies/{file}\")")),
                "{target}: {file}"
            );
            assert!(repository().join("docs/policies").join(file).exists(), "{file}");
        }
    }
}

/// A machine asks at once. Who is refused for the whole of `timeouts.metadata` gives up, and rights take minutes to be known.
#[test]
fn no_machine_starts_before_its_rights_are_given_or_gives_up_before_they_are_known() {
    for (target, kind, rights) in [
        (
            "aws",
            "aws_autoscaling_group",
            &["aws_iam_role_policy.members", "aws_iam_role_policy.secrets", "aws_iam_role_policy.store"][..],
        ),
        (
            "gcp",
            "google_compute_region_instance_group_manager",
            &["google_project_iam_member.members", "google_secret_manager_secret_iam_member.ca_key"],
        ),
        ("azure", "azapi_resource", &["azurerm_role_assignment.members", "azurerm_role_assignment.secrets"]),
    ] {
        let main = read(target, "main.tf");
        let rights: Vec<String> = rights.iter().map(|right| format!("${{{right}}}")).collect();
        assert_eq!(resource(&main, kind, "etcd")["depends_on"], json!(rights), "{target}");
        assert!(example(target).contains("\n      timeouts: {metadata: 15m}\n"), "{target}");
    }
}

/// A project and a directory take each name of a role once.
#[test]
fn a_second_cluster_has_roles_of_its_own_in_the_scope_of_what_they_open() {
    let gcp = read("gcp", "main.tf");
    let role = &resource(&gcp, "google_project_iam_custom_role", "members")["role_id"];
    assert_eq!(
        role.as_str().map(|id| id.replace('"', "")),
        Some("etcdMembers_${replace(var.cluster, -, _)}".to_owned())
    );
    let azure = read("azure", "main.tf");
    assert_eq!(azure["locals"][0]["whose"], "${var.cluster} in ${var.resource_group}");
    for name in ["members", "secrets"] {
        let role = resource(&azure, "azurerm_role_definition", name)["name"].as_str().expect("a name");
        assert!(role.ends_with(".roleName}: ${local.whose}"), "{role}");
    }
    assert_eq!(
        of(resource(&azure, "azurerm_role_definition", "secrets"), &["scope", "assignable_scopes"]),
        json!({"scope": "${local.vault_group}", "assignable_scopes": ["${local.vault_group}"]})
    );
}

#[test]
fn a_managed_instance_group_replaces_nobody_by_itself() {
    let main = read("gcp", "main.tf");
    let template = resource(&main, "google_compute_instance_template", "etcd");
    let network = &template["network_interface"][0];
    assert_eq!(network.get("access_config"), None, "a public address");
    assert_eq!(network["nic_type"], "GVNIC");
    let shielded = &template["shielded_instance_config"][0];
    assert_eq!(
        of(shielded, &["enable_vtpm", "enable_secure_boot"]),
        json!({"enable_vtpm": true, "enable_secure_boot": false})
    );
    let disks = template["disk"].as_array().expect("disks");
    assert_eq!(disks.len(), 2);
    assert!(disks.iter().all(|disk| disk["dynamic"][0]["disk_encryption_key"]["for_each"] != Value::Null), "{disks:?}");
    assert_eq!(template["metadata"]["user-data"], "${file(var.user_data)}");
    let policy = &resource(&main, "google_compute_region_instance_group_manager", "etcd")["update_policy"][0];
    assert_eq!(
        of(policy, &["type", "minimal_action", "instance_redistribution_type"]),
        json!({"type": "OPPORTUNISTIC", "minimal_action": "REPLACE", "instance_redistribution_type": "NONE"})
    );
    assert_eq!(
        resource(&main, "google_project_iam_custom_role", "members")["permissions"],
        "${local.role.includedPermissions}"
    );
}

#[test]
fn a_scale_set_has_as_many_machines_as_the_cluster_and_no_user() {
    let main = read("azure", "main.tf");
    let body = &resource(&main, "azapi_resource", "etcd")["body"];
    let set = &body["properties"];
    assert_eq!(
        of(set, &["orchestrationMode", "overprovision"]),
        json!({"orchestrationMode": "Uniform", "overprovision": false})
    );
    assert_eq!(set["upgradePolicy"]["mode"], "Manual");
    let machine = &set["virtualMachineProfile"];
    assert_eq!(machine.get("osProfile"), None, "a user");
    assert_eq!(machine["userData"], "${filebase64(var.user_data)}");
    assert_eq!(machine["securityProfile"]["securityType"], "TrustedLaunch");
    assert_eq!(machine["securityProfile"]["encryptionAtHost"], true);
    assert_eq!(machine["securityProfile"]["uefiSettings"], json!({"secureBootEnabled": false, "vTpmEnabled": true}));
    assert_eq!(machine["storageProfile"]["dataDisks"][0]["createOption"], "Empty");
    let interface = &machine["networkProfile"]["networkInterfaceConfigurations"][0]["properties"];
    assert_eq!(
        interface["ipConfigurations"][0]["properties"].get("publicIPAddressConfiguration"),
        None,
        "a public address"
    );
}

#[test]
fn every_variable_is_declared_once_and_used() {
    let used = Regex::new(r"\bvar\.([a-z_]+)").expect("a pattern");
    for target in ["aws", "azure", "gcp"] {
        let folder = repository().join("packer").join(target).join("launch");
        let text = std::fs::read_to_string(folder.join("main.tf")).expect("an example");
        let used: BTreeSet<String> = used.captures_iter(&text).map(|found| found[1].to_owned()).collect();
        let declared = read(target, "variables.tf");
        let declared: Vec<&String> = declared["variable"]
            .as_array()
            .expect("variables")
            .iter()
            .flat_map(|each| each.as_object().expect("one").keys())
            .collect();
        assert_eq!(declared.iter().map(|name| (*name).clone()).collect::<BTreeSet<_>>(), used, "{target}");
        assert_eq!(declared.len(), used.len(), "{target}: {declared:?}");
        assert!(example(target).starts_with("#cloud-config\n"), "{target}");
    }
}
