//! Which platform is asked about this machine, when, and what it said last.

use std::path::Path;
use std::sync::MutexGuard;
use std::time::Duration;

use anyhow::{Context, Result};
use plan::metadata::CrossCheck;
use serde::{Deserialize, Serialize};

use super::detect::{self, Detected, Source};
use super::handed::Handed;
use super::layers;
use super::platform::Machine;
use super::providers::azure::spellings;
use super::providers::{Dmi, Manner, Provider, vmware};
use super::service::Service;
use super::tree::{Meaning, Node};
use super::{Sources, locked, varlink};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::sys::fs;

/// Of the file.
const FORMAT: u32 = 1;

/// Room for the largest document of a platform as base64, and for all else.
const LIMIT: u64 = 16 << 20;

/// How long a platform has where no configuration says it yet.
const WITHIN: Duration = Duration::from_secs(120);

/// What the platform said: in this run, or to an earlier one on this machine.
#[derive(Default)]
pub struct Launched {
    machine: Option<Machine>,
    asked: bool,
    looked: bool,
    /// Whether what was kept is another machine's.
    moved: bool,
}

impl Launched {
    /// Whether the platform was asked in this run.
    pub fn is_asked(&self) -> bool {
        self.asked
    }
}

/// No Debug: it holds user-data.
#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    /// What the firmware called the machine then: what another machine was told is not for this one.
    firmware: [String; 4],
    machine: Machine,
}

/// What carriers that need no platform say about asking one.
pub(super) struct Settings {
    provider: Option<Provider>,
    manner: Manner,
    cross_check: Option<CrossCheck>,
    /// How long a platform has.
    pub(super) within: Duration,
}

impl Settings {
    fn of(tree: Option<&Node>) -> Settings {
        let at = |path: &str| tree.and_then(|tree| tree.at(path));
        let text = |path: &str| at(path).and_then(Node::text);
        // What is none of these is told by the check of the whole document.
        Settings {
            provider: text("metadata.provider").and_then(Provider::named),
            manner: Manner {
                allow_imdsv1: at("metadata.allow_imdsv1").and_then(Node::meaning) == Some(Meaning::Bool(true)),
                thorough: false,
            },
            cross_check: match text("metadata.cross_check") {
                Some("enforce") => Some(CrossCheck::Enforce),
                Some("warn") => Some(CrossCheck::Warn),
                Some("off") => Some(CrossCheck::Off),
                Some(_) | None => None,
            },
            within: text("timeouts.metadata")
                .and_then(|text| text.parse::<plan::spec::Duration>().ok())
                .map_or(WITHIN, |within| within.0),
        }
    }
}

impl Sources {
    /// Whether this machine's platform has a service, and it was not asked in this run.
    ///
    /// # Errors
    /// As [`Sources::load`] and [`detect::detect`].
    pub fn unasked(&self) -> Result<bool> {
        Ok(!locked(&self.launched).is_asked() && whom(&self.paths, &self.settings()?)?.provider.can_be_asked())
    }

    /// Asks the platform that launched this machine, if it has a service; what it says is kept for [`Sources::load`], and
    /// on `/var` for boots without it.
    ///
    /// # Errors
    /// 65 for an answer that is none, 69 for a refusal, 75 when the time is over, 77 when the kernel forbids to ask, 78 when
    /// the answer contradicts the firmware.
    pub async fn ask(&self, say: &mut dyn FnMut(&str)) -> Result<()> {
        let settings = self.settings()?;
        let whom = whom(&self.paths, &settings)?;
        if !whom.provider.can_be_asked() {
            return Ok(());
        }
        let (machine, warning) = fetch(&self.paths, &whom, &settings, say).await?;
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        keep(&self.paths, &machine)?;
        *locked(&self.launched) = Launched { machine: Some(machine), asked: true, looked: true, moved: false };
        Ok(())
    }

    /// Takes private keys of ours out of where every process can ask for them, once a configuration was accepted and kept.
    pub async fn redact(&self) {
        let machine = locked(&self.launched).machine.clone();
        if let Some(machine) = machine.filter(|machine| machine.provider == Provider::VmWare)
            && let Err(error) = vmware::redact(&self.paths, &machine).await
        {
            tracing::warn!("guestinfo still shows what was read: {error:#}");
        }
    }

    /// What the platform says of this machine, for a person; nothing is kept. With whom was asked and what is odd about it.
    ///
    /// # Errors
    /// As [`Sources::ask`].
    pub async fn show(&self, say: &mut dyn FnMut(&str)) -> Result<(Detected, Option<Machine>, Option<String>)> {
        let mut settings = self.settings()?;
        settings.manner.thorough = true;
        let whom = whom(&self.paths, &settings)?;
        if !whom.provider.can_be_asked() {
            return Ok((whom, None, None));
        }
        let (machine, warning) = fetch(&self.paths, &whom, &settings, say).await?;
        Ok((whom, Some(machine), warning))
    }

    /// Whether this system was another machine's when its platform was asked last: an image of a live member, or a disk
    /// that was moved. Then what is remembered may be somebody else's, and the platform has to say who this machine is.
    ///
    /// # Errors
    /// When what was kept is there and cannot be read.
    pub fn moved(&self) -> Result<bool> {
        Ok(self.looked()?.moved)
    }

    /// The machine as the platform told of it, now or to an earlier boot.
    pub(super) fn launched(&self) -> Result<Option<Machine>> {
        Ok(self.looked()?.machine.clone())
    }

    fn looked(&self) -> Result<MutexGuard<'_, Launched>> {
        let mut launched = locked(&self.launched);
        if !launched.looked {
            *launched = Launched { looked: true, ..kept(&self.paths) };
            // Who is not asked any more, because something was attached or a person said so, is not heard either.
            if let Ok(whom) = self.settings().and_then(|settings| whom(&self.paths, &settings)) {
                launched.machine = launched.machine.take().filter(|machine| machine.provider == whom.provider);
            }
        }
        Ok(launched)
    }

    pub(super) fn settings(&self) -> Result<Settings> {
        let tree = layers::lay(self.attached()?.pieces)?.map(|(tree, _)| tree);
        Ok(Settings::of(tree.as_ref()))
    }
}

/// Which platform this machine is of, and its region where the platform was asked.
///
/// # Errors
/// As [`detect::detect`].
pub fn platform_of(paths: &Paths) -> Result<(Provider, Option<String>)> {
    match kept(paths).machine {
        Some(machine) => Ok((machine.provider, machine.region)),
        None => Ok((detect::detect(paths)?.provider, None)),
    }
}

/// Whether this platform's metadata service may be asked: a person or the firmware says that it launched this machine, or it
/// was asked about this machine before, which took one of both.
pub fn is_vouched_for(paths: &Paths, provider: Provider) -> bool {
    let named = detect::detect(paths).is_ok_and(|found| found.provider == provider);
    named
        || provider.vouched(&detect::dmi(paths)).is_some()
        || kept(paths).machine.is_some_and(|machine| machine.provider == provider)
}

/// A person's word on the kernel command line, then in a configuration, then what the machine itself tells.
fn whom(paths: &Paths, settings: &Settings) -> Result<Detected> {
    let detected = detect::detect(paths)?;
    match settings.provider {
        Some(provider) if detected.source != Some(Source::Override) => {
            Ok(Detected { provider, source: Some(Source::Override), why: format!("metadata.provider is {provider}") })
        }
        Some(_) | None => Ok(detected),
    }
}

async fn fetch(
    paths: &Paths,
    whom: &Detected,
    settings: &Settings,
    say: &mut dyn FnMut(&str),
) -> Result<(Machine, Option<String>)> {
    let provider = whom.provider;
    if provider == Provider::VmWare {
        let machine = vmware::read(paths, &detect::dmi(paths), kept(paths).machine.as_ref()).await?;
        return Ok((machine, None));
    }
    let known = provider.service().context("this platform has no service")?;
    let service = Service::new(&known, settings.within, paths.host(varlink::SOCKET), say)?;
    let machine = provider.read(&service, settings.manner).await?;
    let warning = contradiction(&machine, &detect::dmi(paths), settings.cross_check)?;
    Ok((machine, warning))
}

/// Whether the firmware calls the machine something else than the service does: then something else may be answering.
fn contradiction(machine: &Machine, dmi: &Dmi, wanted: Option<CrossCheck>) -> Result<Option<String>> {
    let provider = machine.provider;
    let said = provider.firmware_says(dmi);
    let Some(told) = &machine.firmware_says else { return Ok(None) };
    if said.is_empty() || said.iter().any(|said| said.eq_ignore_ascii_case(told)) {
        return Ok(None);
    }
    let why = format!(
        "the metadata service of {provider} says that this machine is {told}, and its firmware says {}: is something else \
         answering in the service's place?",
        said.join(" or ")
    );
    // OpenStack gives a machine that it rebuilds or evacuates another UUID.
    let default = if provider == Provider::OpenStack { CrossCheck::Warn } else { CrossCheck::Enforce };
    match wanted.unwrap_or(default) {
        CrossCheck::Enforce => {
            Err(Exit::Refused.because(format!("{why} If that is known to be right, write metadata.cross_check: off")))
        }
        CrossCheck::Warn => Ok(Some(why)),
        CrossCheck::Off => Ok(None),
    }
}

fn firmware(paths: &Paths) -> [String; 4] {
    let dmi = detect::dmi(paths);
    [dmi.product_uuid, dmi.product_serial, dmi.board_asset_tag, dmi.hypervisor_uuid]
}

fn keep(paths: &Paths, machine: &Machine) -> Result<()> {
    let kept = Kept { format: FORMAT, firmware: firmware(paths), machine: machine.clone() };
    let text = serde_json::to_string(&kept).context("cannot write what the platform said as JSON")?;
    let path = paths.launched();
    // An unreadable one is replaced like any other.
    if fs::read_text(&path, LIMIT).ok().flatten().as_deref() == Some(&text) {
        return Ok(());
    }
    fs::create_dir(path.parent().unwrap_or(Path::new("/")), 0o700, None)?;
    fs::write_atomic(&path, text.as_bytes(), 0o600, None)
}

/// What was kept for this machine; nothing that can be used is as good as none.
fn kept(paths: &Paths) -> Launched {
    let path = paths.launched();
    let text = fs::read_text(&path, LIMIT).unwrap_or_else(|error| {
        tracing::warn!("what the platform said to an earlier boot is not used: {error:#}");
        None
    });
    let Some(text) = text else { return Launched::default() };
    let kept = serde_json::from_str::<Kept>(&text).ok().filter(|kept| kept.format == FORMAT);
    let Some(kept) = kept else {
        tracing::warn!("{} is damaged or of another version, and will be written anew", path.display());
        return Launched::default();
    };
    let moved = is_another(&firmware(paths), &kept);
    if moved {
        tracing::warn!("{} is of another machine and is not used", path.display());
    }
    Launched { machine: Some(kept.machine).filter(|_| !moved), moved, ..Launched::default() }
}

/// Whether a firmware with these identifiers is not that of the machine that something was kept for. One that the platform
/// itself calls by the instance's ID is, whatever else has changed: a new instance type has another firmware.
fn is_another(firmware: &[String; 4], kept: &Kept) -> bool {
    let [_, _, asset_tag, _] = firmware;
    if *asset_tag == kept.machine.instance_id {
        return false;
    }
    let told = || firmware.iter().zip(&kept.firmware).filter(|(now, then)| !now.is_empty() && !then.is_empty());
    // Kernels differ in the order of a UUID's bytes.
    let same = |(now, then): (&String, &String)| now == then || spellings(now).contains(then);
    !told().all(same) || (told().next().is_none() && *firmware != kept.firmware)
}

/// Who has `credentials`, and what of them is secret.
const HOLDERS: [&str; 4] = ["store", "restore", "discovery.aws_asg", "discovery.aws_tags"];
const SECRETS: [&str; 5] = ["secret_access_key", "session_token", "service_account", "access_key", "sas"];

/// What a configuration that a platform hands out may not hold without somebody's word for it: a secret that everything on
/// the machine can ask for.
///
/// # Errors
/// 78, naming the key and the ways to give it.
pub(super) fn refuse_secrets(tree: &Node, handed: &[Handed], machine: &Machine) -> Result<()> {
    let credentials = HOLDERS.iter().flat_map(|of| SECRETS.iter().map(move |key| format!("{of}.credentials.{key}")));
    for path in ["tls.ca.key", "restore.age_identity", "logs.key"].map(str::to_owned).into_iter().chain(credentials) {
        let Some(node) = tree.at(&path) else { continue };
        // A credential that user-data hands out is as open as a text in it.
        let by_name = node.get("credential").and_then(Node::text);
        let place = match by_name {
            Some(name) => handed.iter().find(|one| one.name == name).map(|one| &one.place),
            None => node.text().map(|_| &node.place),
        };
        let Some(place) = place.filter(|place| machine.carries(place)) else { continue };
        return Err(Exit::Refused.because(format!(
            "{place}: {path}: a secret in what a metadata service hands out can be read by every process of this \
             machine and by whoever may describe the instance: give it as {{credential: NAME}} or {{file: PATH}} of this \
             machine, or write allow_inline_secrets: true"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(uuid: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let id = root.path().join("sys/class/dmi/id");
        fs::create_dir(&id, 0o755, None).unwrap();
        fs::write_atomic(&id.join("product_uuid"), uuid.as_bytes(), 0o600, None).unwrap();
        root
    }

    #[test]
    fn what_a_platform_said_is_kept_for_this_machine_alone() {
        let (root, other) = (root("ec2e1916-9099"), root("ec2e1916-0000"));
        let (paths, elsewhere) = (Paths::under(root.path()), Paths::under(other.path()));
        assert!(kept(&paths).machine.is_none());
        let mut machine = Machine::of(Provider::Ec2, Some("i-1".into())).unwrap();
        machine.handed(Some(vec![0, 159, 146, 150]));
        keep(&paths, &machine).unwrap();
        let known = |paths: &Paths| {
            let kept = kept(paths);
            (kept.machine.is_some_and(|kept| kept == machine), kept.moved)
        };
        assert_eq!(known(&paths), (true, false));
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(paths.launched()).unwrap()) & 0o777, 0o600);

        // An image that was captured from it.
        fs::create_dir(elsewhere.launched().parent().unwrap(), 0o700, None).unwrap();
        fs::copy(&paths.launched(), &elsewhere.launched(), None).unwrap();
        assert_eq!(known(&elsewhere), (false, true));
        let id = paths.host("/sys/class/dmi/id/product_uuid");
        fs::write_atomic(&id, b"16192EEC-9990", 0o600, None).unwrap();
        assert_eq!(known(&paths), (true, false), "the bytes in the other order");
        let tag = |text: &[u8]| fs::write_atomic(&id.with_file_name("board_asset_tag"), text, 0o600, None).unwrap();
        tag(b"i-1");
        assert_eq!(known(&paths), (true, false), "an identifier that its firmware did not have before");
        fs::write_atomic(&id, b"ec2aaaaa-0000", 0o600, None).unwrap();
        assert_eq!(known(&paths), (true, false), "another type of the same instance");
        tag(b"i-2");
        assert_eq!(known(&paths), (false, true));
        fs::remove(&id).unwrap();
        assert_eq!(known(&paths), (false, true), "nothing of before is there to compare");
        fs::remove(&id.with_file_name("board_asset_tag")).unwrap();
        fs::write_atomic(&id, b"ec2e1916-9099", 0o600, None).unwrap();

        fs::write_atomic(&paths.launched(), b"{\"format\": 1", 0o600, None).unwrap();
        assert_eq!(known(&paths), (false, false));
        keep(&paths, &machine).unwrap();
        assert_eq!(known(&paths), (true, false));
    }

    #[test]
    fn every_secret_that_a_platform_hands_out_needs_somebody_s_word() {
        for (path, text) in [
            ("tls.ca.key", "tls: {ca: {key: x}}"),
            ("store.credentials.secret_access_key", "store: {credentials: {secret_access_key: x}}"),
            ("restore.credentials.service_account", "restore: {credentials: {service_account: x}}"),
            ("discovery.aws_asg.credentials.session_token", "discovery: {aws_asg: {credentials: {session_token: x}}}"),
        ] {
            let mut machine = Machine::of(Provider::Ec2, Some("i-1".into())).unwrap();
            machine.handed(Some(format!("#etcd-bootstrapper\nversion: 1\n{text}\n").into_bytes()));
            let pieces = machine.content().unwrap().pieces;
            let error = refuse_secrets(&pieces[0].tree, &[], &machine).expect_err(path);
            assert_eq!(Exit::of(&error), Exit::Refused, "{path}");
            assert!(error.to_string().contains(path), "{error}");
        }
    }
}
