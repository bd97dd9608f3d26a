//! The two images of one build, and which of them the machines of a moment boot.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::arguments::Arguments;
use crate::disk::{self, Disk};
use crate::machine::Machine;
use crate::process::until;
use crate::tools::Tools;

/// For cloud-init's last stage, which comes after all others of a boot.
const DONE: std::time::Duration = std::time::Duration::from_secs(180);
/// What `cloud-init status --long` says when there was nothing to say.
const CLEAN: [&str; 2] = ["status: done", "errors: []"];
const NO_WARNING: &str = "recoverable_errors: {}";

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// User-data is read by the bootstrapper itself.
    Minimal,
    /// Its merged result is.
    CloudInit,
}

/// Both of them.
pub const FLAVOURS: [Flavour; 2] = [Flavour::Minimal, Flavour::CloudInit];

impl Flavour {
    /// In the words of `make image`.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Minimal => "minimal",
            Flavour::CloudInit => "cloud-init",
        }
    }

    /// How its image begins.
    fn prefix(self) -> &'static str {
        match self {
            Flavour::Minimal => "etcd-bootstrapper_",
            Flavour::CloudInit => "etcd-bootstrapper-cloud-init_",
        }
    }

    /// Of an image that a person named; one of another name is like ours without cloud-init.
    fn of(image: &Path) -> Flavour {
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let is = |flavour: &Flavour| name.starts_with(flavour.prefix());
        FLAVOURS.into_iter().find(is).unwrap_or(Flavour::Minimal)
    }

    /// What a person types to have its image.
    fn make(self) -> &'static str {
        match self {
            Flavour::Minimal => "make image",
            Flavour::CloudInit => "make image FLAVOUR=cloud-init",
        }
    }
}

/// Those that were built, and the one of the moment.
pub struct Images {
    /// Whose machines are booted now.
    pub flavour: Flavour,
    /// Whether a person named its image.
    pub named: bool,
    built: Vec<(Flavour, Disk)>,
    iso: Option<PathBuf>,
}

impl Images {
    /// Under names of this run, so that a build meanwhile changes nothing: the one that a person names, and what is below
    /// `out/`.
    pub fn find(arguments: &Arguments, tools: &Tools) -> Result<Images> {
        let named = arguments.named_image(tools)?;
        let mut built = Vec::new();
        for flavour in FLAVOURS {
            let named = named.clone().filter(|image| Flavour::of(image) == flavour);
            let image: Option<PathBuf> = match named {
                Some(image) => Some(image),
                None => arguments.newest_image(tools, flavour.prefix())?,
            };
            if let Some(image) = image {
                built.push((flavour, disk::adopt(&image, &format!("image-{}.raw", flavour.name()))?));
            }
        }
        let first = named.as_deref().map(Flavour::of).or(built.first().map(|(flavour, _)| *flavour));
        let flavour = first.context("there is no image below out/: `make image` makes it, or name one with --image")?;
        let iso = tools.repository.join("out");
        let iso = std::fs::read_dir(iso).into_iter().flatten().flatten().map(|entry| entry.path());
        let iso = iso.filter(|path| path.extension().is_some_and(|end| end == "iso")).max();
        Ok(Images { flavour, named: named.is_some(), built, iso })
    }

    /// The image of the moment.
    pub fn image(&self) -> Result<&Disk> {
        self.of(self.flavour)
    }

    /// One of them.
    pub fn of(&self, flavour: Flavour) -> Result<&Disk> {
        let built = self.built.iter().find(|(built, _)| *built == flavour).map(|(_, disk)| disk);
        built.with_context(|| format!("there is no {} image: `{}` makes it", flavour.name(), flavour.make()))
    }

    /// The installation medium of the image in `out/`.
    pub fn iso(&self) -> Result<PathBuf> {
        self.iso.clone().context("there is no installation medium below out/: `make iso` makes it")
    }

    /// Those that can be booted.
    pub fn flavours(&self) -> Vec<Flavour> {
        self.built.iter().map(|(flavour, _)| *flavour).collect()
    }

    /// Those that cannot, and what to do.
    pub fn lacking(&self) -> Vec<String> {
        let lacks = |flavour: &&Flavour| !self.flavours().contains(flavour);
        FLAVOURS.iter().filter(lacks).map(|f| format!("no {} image: `{}` makes it", f.name(), f.make())).collect()
    }
}

/// Fails unless cloud-init is through with this boot and had nothing to say but warnings with these words.
pub fn clean(machine: &mut Machine, known: &[&str]) -> Result<()> {
    let said = until("end of cloud-init", DONE, || {
        let said = machine.ask("cloud-init status --long || true")?;
        ensure!(!said.contains("status: running"), "{said}");
        Ok(said)
    })?;
    let wrong = CLEAN.iter().any(|line| !said.contains(*line));
    let (_, warnings) = said.split_once("recoverable_errors:").unwrap_or_default();
    let strange = warnings.lines().filter(|line| line.trim_start().starts_with("- "));
    let strange: Vec<&str> = strange.filter(|line| !known.iter().any(|word| line.contains(word))).collect();
    let told = said.contains(NO_WARNING) || (!known.is_empty() && strange.is_empty());
    ensure!(!wrong && told, "cloud-init's status on {} is not clean:\n{said}", machine.name());
    Ok(())
}
