//! Where a value of the spec lies: in it, on this host, behind a URL, or with a cloud that keeps secrets.

use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::source_check::arn;
pub(crate) use crate::source_check::leads_to_the_link;
pub(crate) use crate::source_check::misplaced;
pub use crate::source_check::{azure, is_of_the_link};
use crate::spec::{Secret, Sha256};

/// Where a value is.
#[derive(Clone)]
pub enum Source {
    /// A file on this host.
    File {
        /// Absolute path.
        file: String,
    },
    /// A systemd credential of the unit.
    Credential {
        /// Its name.
        credential: String,
    },
    /// Behind a URL.
    Url(Box<Remote>),
    /// With a cloud that keeps secrets.
    Kept(Box<KeptSecret>),
    /// The value itself.
    Inline(Secret),
}

/// `{url: …}`.
#[derive(Clone)]
pub struct Remote {
    /// `https://` or `file://`; its query may be a password.
    pub url: Secret,
    /// Of the bytes that lie there.
    pub sha256: Option<Sha256>,
}

/// Who keeps secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// AWS Secrets Manager.
    AwsSecret,
    /// The Parameter Store of AWS Systems Manager.
    AwsParameter,
    /// Google Secret Manager.
    GcpSecret,
    /// Azure Key Vault.
    AzureSecret,
}

impl Keeper {
    /// All of them.
    pub const ALL: [Keeper; 4] = [Keeper::AwsSecret, Keeper::AwsParameter, Keeper::GcpSecret, Keeper::AzureSecret];

    /// Its key in the spec.
    pub fn key(self) -> &'static str {
        match self {
            Keeper::AwsSecret => "aws_secret",
            Keeper::AwsParameter => "aws_parameter",
            Keeper::GcpSecret => "gcp_secret",
            Keeper::AzureSecret => "azure_secret",
        }
    }

    /// Whether it has regions that are not part of a name.
    fn has_regions(self) -> bool {
        match self {
            Keeper::AwsSecret | Keeper::AwsParameter => true,
            Keeper::GcpSecret | Keeper::AzureSecret => false,
        }
    }
}

/// A secret that a cloud keeps, asked for as the instance itself.
#[derive(Clone)]
pub struct KeptSecret {
    /// Who keeps it.
    pub keeper: Keeper,
    /// Its name there, as each keeper writes it.
    pub name: String,
    /// Region of AWS; of the name where that has one, else the instance's own.
    pub region: Option<String>,
    /// Which value of it, where it is a JSON object.
    pub field: Option<String>,
    /// Who answers in the cloud's place.
    pub endpoint: Option<String>,
    /// Whether an endpoint may be `http://`.
    pub allow_http: bool,
}

impl KeptSecret {
    /// The region that the entry or an ARN in it says.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref().or_else(|| arn(&self.name).map(|(_, region)| region))
    }
}

impl Source {
    /// Whether it takes a network to read it.
    pub fn is_remote(&self) -> bool {
        match self {
            Source::Url(remote) => !remote.url.reveal().starts_with("file://"),
            Source::Kept(_) => true,
            Source::File { .. } | Source::Credential { .. } | Source::Inline(_) => false,
        }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(SourceVisitor {
            expecting: "PEM text, {file: PATH}, {credential: NAME}, {url: URL} or a cloud's secret",
        })
    }
}

/// A source whose text is anything.
pub(crate) fn of_text<'de, D: Deserializer<'de>>(d: D) -> Result<Source, D::Error> {
    d.deserialize_any(SourceVisitor {
        expecting: "a text, {file: PATH}, {credential: NAME}, {url: URL} or a cloud's secret",
    })
}

struct SourceVisitor {
    expecting: &'static str,
}

/// What chooses the form, and what may stand beside it.
const FORMS: [&str; 7] = ["file", "credential", "url", "aws_secret", "aws_parameter", "gcp_secret", "azure_secret"];
const KEYS: [&str; 12] = [
    "file",
    "credential",
    "url",
    "aws_secret",
    "aws_parameter",
    "gcp_secret",
    "azure_secret",
    "sha256",
    "region",
    "field",
    "endpoint",
    "allow_http",
];

#[derive(Default)]
struct Entry {
    form: Option<(&'static str, String)>,
    sha256: Option<Sha256>,
    region: Option<String>,
    field: Option<String>,
    endpoint: Option<String>,
    allow_http: Option<bool>,
}

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E>(self, text: &str) -> Result<Source, E> {
        Ok(Source::Inline(Secret::new(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Source, A::Error> {
        let mut entry = Entry::default();
        while let Some(key) = map.next_key_seed(OneOf(&KEYS))? {
            match key {
                "sha256" => entry.sha256 = Some(map.next_value()?),
                "region" => entry.region = Some(map.next_value()?),
                "field" => entry.field = Some(map.next_value()?),
                "endpoint" => entry.endpoint = Some(map.next_value()?),
                "allow_http" => entry.allow_http = Some(map.next_value()?),
                form => {
                    let value = map.next_value()?;
                    if entry.form.replace((form, value)).is_some() {
                        let expecting = self.expecting;
                        return Err(de::Error::custom(format!("expected {expecting}, found two of them")));
                    }
                }
            }
        }
        entry.source(self.expecting).map_err(de::Error::custom)
    }
}

impl Entry {
    fn source(self, expecting: &str) -> Result<Source, String> {
        let Some((form, value)) = self.form else {
            return Err(format!("expected {expecting}, found none of {}", FORMS.join(", ")));
        };
        let keeper = Keeper::ALL.into_iter().find(|keeper| keeper.key() == form);
        let beside = [
            ("sha256", self.sha256.is_some(), form == "url"),
            ("region", self.region.is_some(), keeper.is_some_and(Keeper::has_regions)),
            ("field", self.field.is_some(), keeper.is_some()),
            ("endpoint", self.endpoint.is_some(), keeper.is_some()),
            ("allow_http", self.allow_http.is_some(), keeper.is_some()),
        ];
        if let Some((key, ..)) = beside.into_iter().find(|(_, given, fits)| *given && !fits) {
            return Err(format!("`{key}` means nothing beside `{form}`: remove it"));
        }
        let Entry { sha256, region, field, endpoint, allow_http, .. } = self;
        let allow_http = allow_http.unwrap_or_default();
        Ok(match (keeper, form) {
            (Some(keeper), _) => {
                Source::Kept(Box::new(KeptSecret { keeper, name: value, region, field, endpoint, allow_http }))
            }
            (None, "file") => Source::File { file: value },
            (None, "url") => Source::Url(Box::new(Remote { url: Secret::new(value), sha256 })),
            (None, _) => Source::Credential { credential: value },
        })
    }
}

/// One of these keys.
pub(crate) struct OneOf(pub &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = &'static str;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<&'static str, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for OneOf {
    type Value = &'static str;
    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "one of {}", self.0.join(", "))
    }
    fn visit_str<E: de::Error>(self, key: &str) -> Result<&'static str, E> {
        self.0.iter().find(|k| **k == key).copied().ok_or_else(|| E::unknown_field(key, self.0))
    }
}
