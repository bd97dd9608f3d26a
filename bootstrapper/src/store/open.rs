//! From the spec to a client of the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use plan::document::Source;
use plan::spec::OnTotalLoss;
use plan::store::{Credentials, Keys, Provider, SecretText, StoreEntry, StoreUrl};

use tokio::sync::OnceCell;

use super::connect::Connector;
use super::{Store, Trouble, directory};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::secrets::Places;
use crate::sys::env;

/// Where containers on AWS are told who they are; an instance has none of these.
const CONTAINER: [(&str, AmazonS3ConfigKey); 5] = [
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
];

impl Store {
    /// The store that the spec names; nobody is asked yet.
    ///
    /// # Errors
    /// 65 for what cannot be a store, 69 for a secret or a directory that is not there, 77 for a secret that others can
    /// read. No message has a secret.
    pub fn open(entry: &StoreEntry, paths: &Paths) -> Result<Store> {
        let url = StoreUrl::parse(&entry.url).map_err(|why| Exit::BadInput.because(format!("store.url: {why}")))?;
        let mut place = entry.url.clone();
        if let Some(endpoint) = &entry.endpoint {
            place += &format!(" at {endpoint}");
        }
        let Opened { objects, directory } =
            objects(entry, &url, paths, "store").with_context(|| format!("the store {place}"))?;
        let prefix = if directory.is_some() { Path::default() } else { Path::from(url.prefix) };
        Ok(Store { objects, prefix, place, directory, honest: OnceCell::new() })
    }
}

/// A client of a whole bucket for one who only reads, such as a restore; `field` is where the spec has its access.
///
/// # Errors
/// As [`Store::open`].
pub fn bucket(entry: &StoreEntry, paths: &Paths, field: &'static str) -> Result<Arc<dyn ObjectStore>> {
    let url = StoreUrl::parse(&entry.url).map_err(|why| Exit::BadInput.because(format!("{field}.url: {why}")))?;
    Ok(objects(entry, &url, paths, field).with_context(|| entry.url.clone())?.objects)
}

/// As whom AWS is asked in this region, by `credentials` of the spec or as the instance itself.
///
/// # Errors
/// As [`Store::open`].
pub fn amazon(region: &str, credentials: &Credentials, paths: &Paths) -> Result<AwsCredentialProvider> {
    let entry = StoreEntry {
        url: "s3://none/none".into(),
        on_total_loss: OnTotalLoss::Wait,
        endpoint: None,
        region: Some(region.to_owned()),
        path_style: None,
        allow_http: false,
        credentials: credentials.clone(),
        proxy: None,
    };
    let url = StoreUrl::parse(&entry.url).map_err(anyhow::Error::msg)?;
    let secrets = Secrets { places: Places::of(paths), field: "discovery" };
    let none = Keys::default();
    let keys = match &entry.credentials {
        Credentials::Auto => &none,
        Credentials::Keys(keys) => keys,
    };
    // No bucket is ever asked, so the client for it needs no CA; metadata services are asked in the clear.
    let options = ClientOptions::new().with_allow_http(true);
    let builder = s3(&entry, &url, keys, &secrets)?.with_client_options(options);
    let builder = builder.with_http_connector(Connector::of(paths, true, None)?);
    Ok(builder.with_retry(retry()).build()?.credentials().clone())
}

struct Opened {
    objects: Arc<dyn ObjectStore>,
    directory: Option<PathBuf>,
}

impl Opened {
    fn bucket(store: impl ObjectStore) -> Opened {
        Opened { objects: Arc::new(store), directory: None }
    }
}

/// A client of the whole bucket or directory of this URL.
fn objects(entry: &StoreEntry, url: &StoreUrl<'_>, paths: &Paths, field: &'static str) -> Result<Opened> {
    let clear = entry.endpoint.as_ref().is_some_and(|e| e.starts_with("http://"));
    let connector = || Connector::of(paths, clear, entry.proxy.as_ref());
    let options = ClientOptions::new().with_allow_http(clear);
    let secrets = Secrets { places: Places::of(paths), field };
    let none = Keys::default();
    let keys = match &entry.credentials {
        Credentials::Auto => &none,
        Credentials::Keys(keys) => keys,
    };
    let unusable = |error: object_store::Error| Exit::BadInput.because(format!("it cannot be used: {error}"));
    Ok(match url.provider {
        Provider::S3 => {
            let builder = s3(entry, url, keys, &secrets)?;
            let builder = builder.with_http_connector(connector()?).with_client_options(options).with_retry(retry());
            Opened::bucket(builder.build().map_err(unusable)?)
        }
        Provider::Gcs => {
            let mut builder = GoogleCloudStorageBuilder::new().with_bucket_name(url.bucket);
            if let Some(endpoint) = &entry.endpoint {
                builder = builder.with_base_url(endpoint);
            }
            if let Some(key) = secrets.read(&keys.service_account, "service_account")? {
                builder = builder.with_service_account_key(key);
            }
            let builder = builder.with_http_connector(connector()?).with_client_options(options).with_retry(retry());
            Opened::bucket(builder.build().map_err(unusable)?)
        }
        Provider::Azure => {
            let mut builder = MicrosoftAzureBuilder::new().with_container_name(url.bucket);
            if let Some(account) = &keys.account {
                builder = builder.with_account(account);
            }
            if let Some(endpoint) = &entry.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            if let Some(key) = secrets.read(&keys.access_key, "access_key")? {
                builder = builder.with_access_key(key);
            }
            if let Some(sas) = secrets.read(&keys.sas, "sas")? {
                builder = builder.with_config(object_store::azure::AzureConfigKey::SasKey, sas);
            }
            let builder = builder.with_http_connector(connector()?).with_client_options(options).with_retry(retry());
            Opened::bucket(builder.build().map_err(unusable)?)
        }
        Provider::Directory => {
            let directory = paths.host(url.prefix);
            directory::is_there(&directory)
                .map_err(|trouble: Trouble| Exit::Unavailable.because(trouble.to_string()))?;
            let files = LocalFileSystem::new_with_prefix(&directory).map_err(unusable)?;
            let files = files.with_fsync(true).with_automatic_cleanup(true);
            Opened { objects: Arc::new(files), directory: Some(directory) }
        }
    })
}

fn s3(entry: &StoreEntry, url: &StoreUrl<'_>, keys: &Keys, secrets: &Secrets<'_>) -> Result<AmazonS3Builder> {
    // Deleting in bulk is one more thing that not every server knows.
    let mut builder = AmazonS3Builder::new().with_bucket_name(url.bucket).with_disable_bulk_delete(true);
    builder = builder.with_region(entry.region.as_deref().unwrap_or("us-east-1"));
    // A bucket with a dot in its name has no certificate of the provider's that fits its host name.
    let in_path = entry.path_style.unwrap_or(entry.endpoint.is_some() || url.bucket.contains('.'));
    builder = builder.with_virtual_hosted_style_request(!in_path);
    if let Some(endpoint) = &entry.endpoint {
        builder = builder.with_endpoint(match endpoint.split_once("://") {
            Some((scheme, host)) if !in_path => format!("{scheme}://{}.{host}", url.bucket),
            Some(_) | None => endpoint.clone(),
        });
    }
    for (name, key) in CONTAINER {
        if let Some(value) = env::var(name) {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(id) = secrets.read(&keys.access_key_id, "access_key_id")? {
        builder = builder.with_access_key_id(id);
    }
    if let Some(key) = secrets.read(&keys.secret_access_key, "secret_access_key")? {
        builder = builder.with_secret_access_key(key);
    }
    if let Some(token) = secrets.read(&keys.session_token, "session_token")? {
        builder = builder.with_token(token);
    }
    Ok(builder)
}

/// Few and short: whoever asks looks again by itself, and says meanwhile for what it waits.
fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(2),
        ..BackoffConfig::default()
    };
    RetryConfig { backoff, max_retries: 3, retry_timeout: Duration::from_secs(10) }
}

struct Secrets<'a> {
    places: Places<'a>,
    field: &'static str,
}

impl Secrets<'_> {
    /// The text of a secret without the line's end that a file of it may have.
    fn read(&self, secret: &Option<SecretText>, key: &str) -> Result<Option<String>> {
        let Some(SecretText(source)) = secret else { return Ok(None) };
        let private = matches!(source, Source::File { .. });
        let text = self.places.read(source, &format!("{}.credentials.{key}", self.field), private)?;
        Ok(Some(text.reveal().trim().to_owned()))
    }
}
