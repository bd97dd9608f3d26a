//! Brings near what a spec keeps elsewhere: behind a URL, or with the cloud that this machine is of.
//!
//! What was fetched stays in this process. Only what a reboot needs is kept, as the CA is in `pki/`: a settled member asks
//! nobody.

use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::Result;
use plan::document::Ca;
use plan::restore::RestoreEntry;
use plan::source::{Keeper, KeptSecret, Source};
use plan::spec::{Host, Secret};
use plan::store::{Credentials, SecretText, StoreEntry};

use crate::cloud::{self, Keepers, Trouble};
use crate::exit::Exit;
use crate::metadata;
use crate::metadata::providers::Provider;
use crate::paths::Paths;
use crate::sys::clock;
use crate::tls;

/// Between two questions: the first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// The longest pause that whoever was asked may ask for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells a person what is waited for.
type Say<'a> = dyn FnMut(&str) + Send + 'a;

/// Who fetches, and for how long it tries.
pub struct Near<'a> {
    paths: &'a Paths,
    within: Duration,
    say: Option<&'a mut Say<'a>>,
}

impl<'a> Near<'a> {
    /// Tries once: the caller comes again.
    pub fn once(paths: &'a Paths) -> Near<'a> {
        Near { paths, within: Duration::ZERO, say: None }
    }

    /// Tries for this long, since networks come late and rights that were just given take a while to be known.
    pub fn within(paths: &'a Paths, within: Duration, say: &'a mut Say<'a>) -> Near<'a> {
        Near { paths, within, say: Some(say) }
    }

    /// The value of `field` itself where it is kept elsewhere; any other source as it is.
    ///
    /// # Errors
    /// 65 for what is no value, 69 for what is not there, 75 for what may be over soon, 77 for a permission that is missing;
    /// each names the field.
    // A future of a named type: AWS is asked with keys that may themselves be kept elsewhere.
    pub fn source<'s>(
        &'s mut self,
        source: &'s Source,
        field: &'s str,
    ) -> Pin<Box<dyn Future<Output = Result<Source>> + Send + 's>> {
        Box::pin(async move {
            if !source.is_remote() {
                return Ok(source.clone());
            }
            let deadline = Instant::now() + self.within;
            let mut pause = PAUSES.0;
            loop {
                let trouble = match fetched(source, self.paths).await {
                    Ok(value) => return Ok(Source::Inline(value)),
                    Err(trouble) => trouble,
                };
                let text = format!("{field}: {}", trouble.text);
                let wait = trouble.after.map_or(pause, |after| after.clamp(pause, PATIENCE));
                if trouble.exit == Exit::BadInput || Instant::now() + wait >= deadline {
                    return Err(trouble.exit.because(text));
                }
                if let Some(say) = &mut self.say {
                    say(&format!("waiting up to {} s for {text}", self.within.as_secs()));
                }
                tokio::time::sleep(wait).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        })
    }

    /// The same for each key of `credentials`; `of` has them.
    ///
    /// # Errors
    /// As [`Near::source`].
    pub async fn credentials(&mut self, credentials: &Credentials, of: &str) -> Result<Credentials> {
        let Credentials::Keys(keys) = credentials else { return Ok(Credentials::Auto) };
        let mut keys = keys.clone();
        for (key, source) in keys.secrets_mut() {
            *source = self.source(source, &format!("{of}.credentials.{key}")).await?;
        }
        Ok(Credentials::Keys(keys))
    }

    /// The same for `store`.
    ///
    /// # Errors
    /// As [`Near::source`].
    pub async fn store(&mut self, entry: &StoreEntry) -> Result<StoreEntry> {
        let credentials = self.credentials(&entry.credentials, "store").await?;
        Ok(StoreEntry { credentials, ..entry.clone() })
    }

    /// The same for `restore`.
    ///
    /// # Errors
    /// As [`Near::source`].
    pub async fn restore(&mut self, entry: &RestoreEntry) -> Result<RestoreEntry> {
        let mut entry = entry.clone();
        if let Some(SecretText(source)) = &mut entry.age_identity {
            *source = self.source(source, "restore.age_identity").await?;
        }
        if let Some(credentials) = &mut entry.credentials {
            *credentials = self.credentials(credentials, "restore").await?;
        }
        Ok(entry)
    }

    /// The same for `tls.ca`; `None` where nothing of it is kept elsewhere.
    ///
    /// # Errors
    /// As [`Near::source`].
    pub async fn ca(&mut self, ca: &Ca) -> Result<Option<Ca>> {
        if !ca.cert.is_remote() && !ca.key.is_remote() {
            return Ok(None);
        }
        let cert = self.source(&ca.cert, "tls.ca.cert").await?;
        Ok(Some(Ca { cert, key: self.source(&ca.key, "tls.ca.key").await? }))
    }
}

/// Brings the CA near that a host issues its certificates with, for as long as `timeouts.metadata`; a member that has
/// certificates, or the CA of an earlier boot, asks nobody.
///
/// # Errors
/// As [`Near::source`], unless the CA of an earlier boot will do.
pub async fn ca<'a>(paths: &'a Paths, host: &mut Host, member: bool, say: &'a mut Say<'a>) -> Result<()> {
    let ca = &host.tls.ca;
    if !ca.cert.is_remote() && !ca.key.is_remote() {
        return Ok(());
    }
    let kept = || tls::load(&host.tls, paths, clock::known()).is_ok();
    if member && (tls::certificates_problem(paths, None).is_none() || kept()) {
        return Ok(());
    }
    match Near::within(paths, Duration::from_secs(host.metadata_timeout), say).ca(ca).await {
        Ok(Some(ca)) => host.tls.ca = ca,
        Ok(None) => {}
        Err(error) if Exit::of(&error) != Exit::BadInput && kept() => {
            tracing::warn!("{error:#}; going on with the CA that this data disk keeps");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn fetched(source: &Source, paths: &Paths) -> Result<Secret, Trouble> {
    match source {
        Source::Url(remote) => cloud::url::read(remote, paths).await,
        Source::Kept(kept) => {
            let region = of_this_platform(kept, paths)?;
            Keepers::of(paths, region).read(kept).await
        }
        Source::File { .. } | Source::Credential { .. } | Source::Inline(_) => {
            Err(Trouble::new(Exit::BadInput, "it is no value that is kept elsewhere"))
        }
    }
}

/// The region that this machine is in, where its platform is the one that is to be asked: nobody else's metadata service
/// says as whom to ask, and none is asked that the firmware does not vouch for.
fn of_this_platform(kept: &KeptSecret, paths: &Paths) -> Result<Option<String>, Trouble> {
    let wanted = match kept.keeper {
        Keeper::AwsSecret | Keeper::AwsParameter => Provider::Ec2,
        Keeper::GcpSecret => Provider::Gce,
        Keeper::AzureSecret => Provider::Azure,
    };
    let found = metadata::platform_of(paths).map_err(|error| Trouble::new(Exit::of(&error), format!("{error:#}")))?;
    match found {
        (provider, region) if provider == wanted => Ok(region),
        (provider, _) => {
            let key = kept.keeper.key();
            let why = format!(
                "`{key}` is asked for as a machine of {wanted}, and by its firmware this is one of {provider}: keep the \
                 secret where this machine can ask for it, or name the platform as `metadata.provider`"
            );
            Err(Trouble::new(Exit::BadInput, why))
        }
    }
}
