//! Where `config new` writes that members have the CA's key from, and how it comes to be there.

use plan::source::{Keeper, azure};
use serde_json::Value;

use super::CA_KEY_CREDENTIAL;

/// One of the forms of `tls.ca.key`.
pub(super) enum Form {
    /// The key itself.
    Inline,
    /// A place of the spec: its key, what is written there, and a region of AWS beside it.
    At(&'static str, String, Option<String>),
}

/// What takes a value behind `=`, and is no keeper of secrets.
const PLACES: [&str; 3] = ["file", "credential", "url"];

impl Form {
    /// Reads what stands behind `--secrets`; whether a value can be meant, the whole spec's check tells.
    pub(super) fn parse(text: &str) -> Result<Form, String> {
        match text {
            "inline" => return Ok(Form::Inline),
            "none" => return Ok(Form::At("credential", CA_KEY_CREDENTIAL.into(), None)),
            _ => {}
        }
        let keepers = Keeper::ALL.map(Keeper::key);
        let (form, value) = text.split_once('=').unwrap_or((text, ""));
        let form = PLACES.into_iter().chain(keepers).find(|known| *known == form).filter(|_| !value.is_empty());
        let form = form.ok_or_else(|| {
            let forms: Vec<String> = PLACES.into_iter().chain(keepers).map(|form| format!("{form}=…")).collect();
            format!("--secrets is inline, none or one of {}", forms.join(", "))
        })?;
        match value.rsplit_once(",region=").filter(|_| form.starts_with("aws_")) {
            Some((value, region)) => Ok(Form::At(form, value.into(), Some(region.into()))),
            None => Ok(Form::At(form, value.into(), None)),
        }
    }

    /// Whether the spec is a secret by it: a URL may be one.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Form::Inline | Form::At("url", ..))
    }

    /// Its name, for a machine.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Form::Inline => "inline",
            Form::At(form, ..) => form,
        }
    }

    /// The credential that carries the key, where one does.
    pub(super) fn credential(&self) -> Option<&str> {
        match self {
            Form::At("credential", name, _) => Some(name),
            Form::At(..) | Form::Inline => None,
        }
    }

    /// As YAML behind `key:`, with a comment above that says what is still to be done; none for the key itself.
    pub(super) fn written(&self) -> Option<String> {
        let Form::At(form, value, region) = self else { return None };
        let region = region.as_ref().map(|region| format!(", region: {}", Value::from(region.as_str())));
        // What YAML takes as it is a person reads more easily.
        let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
            && value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
            && value.contains(['-', '/']);
        let value = if plain { value.clone() } else { Value::from(value.as_str()).to_string() };
        Some(format!(
            "    # Not in here: {}.\n    key: {{{form}: {value}{}}}\n",
            match *form {
                "credential" => "deliver ca.key to each member as the systemd credential of this name",
                "file" => "put ca.key there on each member, with mode 0600",
                _ => "put ca.key there, where the members alone may read it",
            },
            region.unwrap_or_default()
        ))
    }

    /// How the key in this directory comes to where the members have it from.
    pub(super) fn deliver(&self, dir: &str) -> String {
        let (form, value, region) = match self {
            Form::Inline => {
                return "   The CA key is in it. Where user-data can be read by more than the member itself (clouds: whoever may\n\
                        \x20  describe instances), use --secrets with one of the other forms.\n"
                    .into();
            }
            Form::At(form, value, region) => (*form, value.as_str(), region),
        };
        let region = region.as_ref().map(|region| format!(" --region {region}")).unwrap_or_default();
        let (command, policy) = match form {
            "credential" => return credential(value, dir),
            "file" => (format!("install -m 0600 ca.key {value}     (on each member, as root)"), ""),
            "url" => ("copy it to where the URL leads, readable by the members alone".into(), ""),
            "aws_secret" if value.starts_with("arn:") => (
                format!(
                    "aws secretsmanager put-secret-value{region} --secret-id {value} --secret-string file://{dir}/ca.key"
                ),
                "aws-secrets.json",
            ),
            "aws_secret" => (
                format!("aws secretsmanager create-secret{region} --name {value} --secret-string file://{dir}/ca.key"),
                "aws-secrets.json",
            ),
            "aws_parameter" => (
                format!("aws ssm put-parameter{region} --type SecureString --name {value} --value file://{dir}/ca.key"),
                "aws-secrets.json",
            ),
            "gcp_secret" => (google(value, dir), "gce-secrets.json"),
            _ => (vault(value, dir), "azure-secrets.json"),
        };
        let mut text = format!("   The CA key is not in it: put {dir}/ca.key there first\n\x20    {command}\n");
        if !policy.is_empty() {
            text.push_str(&format!("\x20  and let the members' identity read it: docs/policies/{policy}\n"));
        }
        text
    }
}

fn credential(name: &str, dir: &str) -> String {
    format!(
        "   The CA key is not in it: deliver {dir}/ca.key to each member as the systemd credential\n\
         \x20  {name}, in one of these ways:\n\
         \x20    QEMU, Proxmox   -fw_cfg name=opt/io.systemd.credentials/{name},file={dir}/ca.key\n\
         \x20    any host        /etc/credstore/{name}, mode 0600; or encrypted for that host, in\n\
         \x20                    /etc/credstore.encrypted (systemd-creds encrypt)\n"
    )
}

fn google(name: &str, dir: &str) -> String {
    let (project, secret) = match name.split_once("/secrets/") {
        Some((of, secret)) => (of.strip_prefix("projects/"), secret.split('/').next().unwrap_or_default()),
        None => (None, name),
    };
    let (project, location) = match project.and_then(|project| project.split_once("/locations/")) {
        Some((project, location)) => (Some(project), format!(" --location={location}")),
        None => (project, String::new()),
    };
    let project = project.map(|project| format!(" --project={project}")).unwrap_or_default();
    format!("gcloud secrets create {secret}{project}{location} --data-file={dir}/ca.key")
}

fn vault(identifier: &str, dir: &str) -> String {
    let Some((host, _, path)) = azure(identifier) else { return "put it into the vault".into() };
    let vault = host.split('.').next().unwrap_or_default();
    let name = path.split('/').nth(2).unwrap_or_default();
    format!("az keyvault secret set --vault-name {vault} --name {name} --file {dir}/ca.key")
}
