//! Secrets that a cloud keeps, asked for as the instance itself.
//!
//! AWS Secrets Manager (`GetSecretValue`) and Parameter Store (`GetParameter`), Google Secret Manager
//! (`projects.secrets.versions.access`), Azure Key Vault (`Get Secret`), each as its reference describes it. No error has
//! anything of an answer but what a refusal says of itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plan::discovery::Amazon;
use plan::source::{self, Keeper, KeptSecret};
use plan::spec::Secret;
use plan::store::Credentials;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::aws::{Aws, Target};
use super::rest::{Method, Rest};
use super::{Trouble, azure, gce};
use crate::exit::Exit;
use crate::paths::Paths;

/// Version of Key Vault's API.
const VAULT: &str = "7.4";

/// What is ever asked of AWS here; the policy allows exactly this.
const TARGETS: [Target; 2] = [
    Target {
        service: "secretsmanager",
        operation: "secretsmanager.GetSecretValue",
        permission: "secretsmanager:GetSecretValue",
        policy: "docs/policies/aws-secrets.json",
    },
    Target {
        service: "ssm",
        operation: "AmazonSSM.GetParameter",
        permission: "ssm:GetParameter",
        policy: "docs/policies/aws-secrets.json",
    },
];

/// What is asked of Google and of Azure, as their roles name it.
pub(super) const PERMISSIONS: [&str; 2] =
    ["secretmanager.versions.access", "Microsoft.KeyVault/vaults/secrets/getSecret/action"];

/// How keepers of secrets are asked from this machine.
pub struct Keepers {
    paths: Paths,
    region: Option<String>,
    credentials: Credentials,
    google: String,
    azure: String,
}

impl Keepers {
    /// As the instance itself, which is in this region where nothing else is written.
    pub fn of(paths: &Paths, region: Option<String>) -> Keepers {
        Keepers {
            paths: paths.clone(),
            region,
            credentials: Credentials::Auto,
            google: gce::METADATA.trim_end_matches("/instance").into(),
            azure: azure::METADATA.into(),
        }
    }

    /// As somebody else, by a metadata service elsewhere.
    #[cfg(test)]
    pub(super) fn at(paths: &Paths, region: Option<&str>, credentials: Credentials, metadata: &str) -> Keepers {
        Keepers {
            credentials,
            google: format!("{metadata}/computeMetadata/v1"),
            azure: format!("{metadata}/metadata"),
            ..Keepers::of(paths, region.map(str::to_owned))
        }
    }

    /// The secret as it is now; every request has its own timeout.
    ///
    /// # Errors
    /// 65 for what is no text or lacks the field, 69 for what is not there or answers nothing, 75 for what may be over soon,
    /// 77 for a permission that is missing.
    pub async fn read(&self, kept: &KeptSecret) -> Result<Secret, Trouble> {
        let text = match kept.keeper {
            Keeper::AwsSecret => self.aws_secret(kept).await?,
            Keeper::AwsParameter => self.aws_parameter(kept).await?,
            Keeper::GcpSecret => self.gcp_secret(kept).await?,
            Keeper::AzureSecret => self.azure_secret(kept).await?,
        };
        match &kept.field {
            None => Ok(Secret::new(text)),
            Some(field) => within(&text, field, &kept.name),
        }
    }

    async fn aws_secret(&self, kept: &KeptSecret) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            secret_string: Option<String>,
            secret_binary: Option<String>,
        }
        let body = json!({"SecretId": kept.name}).to_string();
        let answer: Answer = read(&kept.name, &self.aws(kept)?.json(&TARGETS[0], &kept.name, body).await?)?;
        match (answer.secret_string, answer.secret_binary) {
            (Some(text), _) => Ok(text),
            (None, Some(bytes)) => decoded(&kept.name, &bytes),
            (None, None) => Err(no_text(&kept.name)),
        }
    }

    async fn aws_parameter(&self, kept: &KeptSecret) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            parameter: Parameter,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Parameter {
            value: String,
        }
        let body = json!({"Name": kept.name, "WithDecryption": true}).to_string();
        let answer: Answer = read(&kept.name, &self.aws(kept)?.json(&TARGETS[1], &kept.name, body).await?)?;
        Ok(answer.parameter.value)
    }

    fn aws(&self, kept: &KeptSecret) -> Result<Aws, Trouble> {
        let region = kept.region().map(str::to_owned).or_else(|| self.region.clone()).ok_or_else(|| {
            let why = format!("{}: the platform has not told its region: write `region` beside it", kept.name);
            Trouble::new(Exit::BadInput, why)
        })?;
        let entry = Amazon {
            region,
            endpoint: kept.endpoint.clone(),
            allow_http: kept.allow_http,
            credentials: self.credentials.clone(),
        };
        Ok(Aws::of(entry, &self.paths))
    }

    async fn gcp_secret(&self, kept: &KeptSecret) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Answer {
            payload: Payload,
        }
        #[derive(Deserialize)]
        struct Payload {
            data: String,
        }
        // Regional secrets are kept by the region's own endpoint, and by no other.
        let location = kept.name.split_once("/locations/").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
        let endpoint = kept.endpoint.clone().unwrap_or_else(|| match location {
            Some(location) => format!("https://secretmanager.{location}.rep.googleapis.com"),
            None => "https://secretmanager.googleapis.com".into(),
        });
        let rest = Rest::of(endpoint, &self.paths);
        let mut name = kept.name.clone();
        if !name.contains('/') {
            let project = format!("{}/project/project-id", self.google);
            let project = rest.metadata(&project, gce::FLAVOR, Some(gce::FLAVOR)).await?;
            name = format!("projects/{}/secrets/{name}", project.trim());
        }
        if !name.contains("/versions/") {
            name += "/versions/latest";
        }
        let token = gce::token(&rest, &format!("{}/instance", self.google)).await?;
        let answer = rest.text(Method::Get, &format!("/v1/{name}:access"), PERMISSIONS[0], &token).await?;
        let answer: Answer = read(&name, &answer.ok_or_else(|| missing(&name))?)?;
        decoded(&name, &answer.payload.data)
    }

    async fn azure_secret(&self, kept: &KeptSecret) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Answer {
            value: String,
        }
        let name = &kept.name;
        let (host, resource, path) = source::azure(name)
            .ok_or_else(|| Trouble::new(Exit::BadInput, format!("{name} is no identifier of a secret in Key Vault")))?;
        let rest = Rest::of(kept.endpoint.clone().unwrap_or_else(|| format!("https://{host}")), &self.paths);
        let token = azure::token(&rest, &self.azure, &resource).await?;
        let path = format!("{path}?api-version={VAULT}");
        let answer = rest.text(Method::Get, &path, PERMISSIONS[1], &token).await?;
        let answer: Answer = read(name, &answer.ok_or_else(|| missing(name))?)?;
        Ok(answer.value)
    }
}

/// serde's errors quote what they meet.
fn read<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Trouble> {
    serde_json::from_str(text)
        .map_err(|_| Trouble::new(Exit::Unavailable, format!("{name}: what was answered is no such answer")))
}

fn decoded(name: &str, base64: &str) -> Result<String, Trouble> {
    STANDARD.decode(base64).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| no_text(name))
}

fn no_text(name: &str) -> Trouble {
    Trouble::new(Exit::BadInput, format!("{name} is kept as bytes that are no text: keep the text itself there"))
}

fn missing(name: &str) -> Trouble {
    let why = format!("there is no {name}, or no version of it: make it, or correct its name");
    Trouble::new(Exit::Unavailable, why)
}

/// One value of a JSON object.
pub(super) fn within(text: &str, field: &str, name: &str) -> Result<Secret, Trouble> {
    let bad = |why: &str| Err(Trouble::new(Exit::BadInput, format!("{name}: {why}")));
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(mut values)) => match values.remove(field) {
            Some(serde_json::Value::String(value)) => Ok(Secret::new(value)),
            Some(_) => bad(&format!("its `{field}` is no text: keep a text there")),
            None => bad(&format!("it has no `{field}`: write one of its keys as `field`")),
        },
        Ok(_) | Err(_) => bad("it is no JSON object, so `field` means nothing: remove that"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_allow_exactly_what_is_asked() {
        let of = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let aws = of(include_str!("../../../docs/policies/aws-secrets.json"));
        let actions: Vec<&str> = (0..2).map(|i| aws["Statement"][i]["Action"].as_str().unwrap()).collect();
        assert_eq!(actions, TARGETS.map(|target| target.permission));
        let gce = of(include_str!("../../../docs/policies/gce-secrets.json"));
        assert_eq!(gce["includedPermissions"], json!([PERMISSIONS[0]]));
        let azure = of(include_str!("../../../docs/policies/azure-secrets.json"));
        assert_eq!(azure["properties"]["permissions"][0]["dataActions"], json!([PERMISSIONS[1]]));
    }
}
