//! Where the configuration comes from: carriers, their formats and precedence, and what is remembered of them.
//!
//! Each carrier is one file here: it looks, once and without waiting, and gives back the pieces it found. `layers` lays
//! them over one another, `document` reads the result. A carrier that is added later adds a file, its tier in `layers`,
//! and a line in [`Sources::gather`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use anyhow::Result;
use plan::spec::{Host, Secret, Spec};

use crate::paths::Paths;
use crate::sys::disk::Disk;

mod answer;
mod ask;
mod cloud_config;
mod cloud_init;
mod command_line;
mod credential;
pub mod detect;
pub mod document;
pub mod explain;
mod fault;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod handed;
mod layers;
mod mime;
pub mod network;
mod nocloud;
pub mod platform;
pub mod providers;
mod remember;
mod scalars;
mod service;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod typed;
mod unpack;
mod user_data;
pub mod validate;
mod varlink;
mod volume;
mod yaml;

pub use ask::{is_vouched_for, platform_of};
pub use nocloud::Seed;
pub use remember::{CA_KEY, forget_ca_key, handed, remember, remembered};

use cloud_init::{Said, Word};
use fault::Fault;
use handed::Handed;
use layers::{Piece, Tier};
use nocloud::{Content, Form, Instance, Layout};
use tree::Node;

/// A configuration that was found, checked.
pub struct Loaded {
    /// What the user asked for.
    pub spec: Spec,
    /// What only this host needs of it.
    pub host: Host,
    /// What whoever made the instance calls it.
    pub instance_id: Option<String>,
    /// The host name that it was given.
    pub hostname: Option<String>,
    /// What carried it, for a person; the highest first.
    pub carrier: String,
    /// Values for `{credential: NAME}` that user-data brought.
    handed: BTreeMap<String, Secret>,
    tree: Node,
}

/// All carriers of this host.
pub struct Sources {
    paths: Paths,
    looked: Mutex<Vec<String>>,
    volumes: Mutex<volume::Seen>,
    launched: Mutex<ask::Launched>,
    since: Instant,
}

/// What all carriers hold together, before it is known to be a document.
struct Gathered {
    tree: Option<Node>,
    /// Whether a document is among the pieces; without one, what is missing may still come.
    whole: bool,
    handed: Vec<Handed>,
    instance: Instance,
    carrier: String,
    notes: Vec<String>,
}

impl Sources {
    /// The carriers of this host.
    pub fn new(paths: &Paths) -> Sources {
        Sources {
            paths: paths.clone(),
            looked: Mutex::default(),
            volumes: Mutex::default(),
            launched: Mutex::default(),
            since: Instant::now(),
        }
    }

    /// Looks once, without waiting; `None` when no carrier has our configuration yet.
    ///
    /// # Errors
    /// 65 for a configuration that is wrong, 78 for carriers that contradict one another, 77 for a missing permission.
    pub fn load(&self) -> Result<Option<Loaded>> {
        let Gathered { tree, whole, handed, instance, carrier, notes } = self.gather()?;
        self.note(notes);
        let Some(tree) = tree else { return Ok(None) };
        match document::mean(&tree) {
            Ok((spec, host)) => {
                if let Some(machine) = self.launched()?.filter(|_| !host.allow_inline_secrets) {
                    ask::refuse_secrets(&tree, &handed, &machine)?;
                }
                let Instance { id: instance_id, hostname } = instance;
                let handed = handed.into_iter().map(|one| (one.name, one.value)).collect();
                Ok(Some(Loaded { spec, host, instance_id, hostname, carrier, handed, tree }))
            }
            Err(faults) if !whole && faults.iter().all(|f| f.missing) => {
                self.note(vec![format!("{carrier} alone is no configuration: {}", one_line(&faults))]);
                Ok(None)
            }
            Err(faults) => Err(document::bad_input(&faults)),
        }
    }

    /// What an earlier boot has kept, under the name that this machine has today where somebody says it: the system may have
    /// been another machine's then, and its member may still be alive there.
    ///
    /// # Errors
    /// When what was kept is there and cannot be read.
    pub fn remembered(&self) -> Result<Option<Loaded>> {
        let Some(kept) = remembered(&self.paths)? else { return Ok(None) };
        let attached = self.attached().map(|content| content.instance).unwrap_or_default();
        let told =
            self.launched()?.map(|machine| Instance { id: Some(machine.instance_id), hostname: machine.hostname });
        let before = Instance { id: kept.instance_id.clone(), hostname: kept.hostname.clone() };
        let Instance { id, hostname } = attached.or(told.unwrap_or_default()).or(before);
        Ok(Some(Loaded { instance_id: id, hostname, ..kept }))
    }

    /// What an attached volume or a seed directory says of the network; `None` where neither is there. The volume counts
    /// more.
    ///
    /// # Errors
    /// As [`Sources::load`].
    pub fn network(&self) -> Result<Option<network::Told>> {
        let seed = self.paths.seed();
        let directory = nocloud::read(&seed, &seed.display().to_string(), Form::NoCloud, Layout::Directory)?;
        let (volumes, _) = locked(&self.volumes).look(&self.paths)?;
        let told = directory.iter().chain(&volumes).filter_map(nocloud::Seed::network);
        let told = told.collect::<Result<Vec<_>>>()?;
        let says = told.iter().rfind(|told| told.text.is_some()).or(told.last());
        Ok(says.cloned())
    }

    /// What all carriers but the platform hold.
    fn attached(&self) -> Result<Content> {
        let mut all = Content { pieces: files::image_defaults(&self.paths)?, ..Content::default() };
        let seed = self.paths.seed();
        let directory = nocloud::read(&seed, &seed.display().to_string(), Form::NoCloud, Layout::Directory)?;
        let (volumes, passed_over) = locked(&self.volumes).look(&self.paths)?;
        all.notes.extend(passed_over);
        for seed in directory.into_iter().chain(volumes) {
            let content = seed.content()?;
            all.pieces.extend(content.pieces);
            all.handed.extend(content.handed);
            all.notes.extend(content.notes);
            all.instance = content.instance.or(all.instance);
        }
        all.pieces.extend(files::etc(&self.paths)?);
        all.pieces.extend(credential::piece(&self.paths)?);
        all.pieces.extend(command_line::piece(&self.paths)?);
        Ok(all)
    }

    fn gather(&self) -> Result<Gathered> {
        let Content { mut pieces, mut handed, mut instance, mut notes } = self.attached()?;
        let (launched, attached) = (self.launched()?, instance.id.is_some());
        let mut by_cloud_init = None;
        match cloud_init::look(&self.paths, launched.as_ref())? {
            Word::None => {}
            // Whether it is masked, stuck or slow, it has as long as a platform; then user-data is read without it.
            Word::Waiting(what) if self.since.elapsed() < self.settings()?.within => {
                let nobody = Instance::default();
                let (tree, handed, carrier) = (None, Vec::new(), String::new());
                return Ok(Gathered { tree, whole: false, handed, instance: nobody, carrier, notes: vec![what] });
            }
            Word::Waiting(what) => notes.push(format!("{what}: going on without it")),
            Word::Said(said) => {
                let written =
                    |piece: &Piece| said.written.iter().any(|file| file.as_os_str() == &*piece.tree.place.source);
                pieces.retain(|piece| piece.tier != Tier::UserData && !(piece.tier == Tier::Etc && written(piece)));
                let Said { content, .. } = *said;
                (pieces, handed, notes) =
                    ([content.pieces, pieces].into_iter().flatten().collect(), content.handed, content.notes);
                by_cloud_init = Some(content.instance);
            }
        }
        if let Some(machine) = launched {
            let content = if by_cloud_init.is_some() { machine.beside_user_data() } else { machine.content() }?;
            pieces.extend(content.pieces);
            handed.extend(content.handed);
            notes.extend(content.notes);
            // What is attached to the machine was attached by somebody who knew it.
            instance = instance.or(content.instance);
        }
        if let Some(merged) = by_cloud_init {
            // It has named the host. Its ID on Azure is the firmware's, which may have its bytes in another order.
            let id = if attached { None } else { instance.id.clone() };
            instance = Instance { id, hostname: None }.or(merged).or(instance);
        }
        let (whole, carrier) = (pieces.iter().any(|p| p.whole), names(&pieces));
        let tree = match layers::lay(pieces)? {
            None => None,
            Some((tree, overridden)) => {
                notes.extend(overridden);
                Some(tree)
            }
        };
        let handed = handed::together(handed)?;
        Ok(Gathered { tree, whole, handed, instance, carrier, notes })
    }

    /// Keeps what a look found, and logs what is new.
    fn note(&self, notes: Vec<String>) {
        let mut looked = locked(&self.looked);
        for note in notes.iter().filter(|n| !looked.contains(n)) {
            tracing::warn!("{note}");
        }
        *looked = notes;
    }

    /// Where the last look looked and why that was not enough, in one line.
    pub fn looked_at(&self) -> impl fmt::Display + use<> {
        let looked = locked(&self.looked);
        let nothing = format!(
            "no configuration in {}, in the credential {} or on a volume labelled cidata, config-2 or ETCDBOOT",
            self.paths.etc().display(),
            handed::DOCUMENT
        );
        // Whatever it said is among the notes.
        let asked = if locked(&self.launched).is_asked() { ", nor in what this machine's platform says" } else { "" };
        let nothing = nothing + asked;
        if looked.is_empty() { nothing } else { format!("{nothing}; {}", looked.join("; ")) }
    }
}

/// The names of a seed's files that an installation takes over.
pub const SEED_FILES: [&str; 5] =
    ["user-data", "meta-data", "network-config", "etcd-bootstrapper.yaml", "etcd-bootstrapper.json"];

/// What the files of a volume mean, as the machine that reads them will find; `None` where there is no configuration.
///
/// # Errors
/// [`crate::exit::Exit::BadInput`] for one that is wrong.
pub fn of_seed(seed: &Seed) -> Result<Option<(Spec, Host)>> {
    let content = seed.content()?;
    handed::together(content.handed)?;
    let Some((tree, _)) = layers::lay(content.pieces)? else { return Ok(None) };
    document::mean(&tree).map(Some).map_err(|faults| document::bad_input(&faults))
}

/// The files of a volume labelled `cidata`; `None` where it is neither ISO 9660 nor FAT.
///
/// # Errors
/// When it cannot be mounted or read.
pub fn seed_of(paths: &Paths, volume: &Disk) -> Result<Option<Seed>> {
    volume::read(paths, volume, providers::nocloud::LABEL, Form::NoCloud)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn names(pieces: &[Piece]) -> String {
    let mut order: Vec<&Piece> = pieces.iter().collect();
    order.sort_by_key(|piece| std::cmp::Reverse(piece.tier));
    let mut names: Vec<String> = order.into_iter().map(Piece::to_string).collect();
    names.dedup();
    names.join(", ")
}

fn one_line(faults: &[Fault]) -> String {
    faults.iter().map(|f| format!("{}: {}", f.path, f.message)).collect::<Vec<_>>().join("; ")
}
