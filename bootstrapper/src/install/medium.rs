//! The medium: the ISO that this kernel was started from, told from any other by what its command line says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use minisign_verify::Signature;
use plan::spec::Sha256;
use ring::digest;
use serde::Deserialize;

use super::iso9660::{self, Volume};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::snapshot::signature;
use crate::sys::disk::{self, Kind, Layer};
use crate::sys::regular::read_regular;

/// The label of the ISO.
pub const LABEL: &str = "ETCD_INSTALL";
/// The image in it.
pub const IMAGE: &str = "image.zst";
/// What the image is.
pub const MANIFEST: &str = "manifest.json";
/// The area for a site's configuration.
pub const AREA: &str = "site.img";
/// Its sums, and who made them.
const SUMS: &str = "sha256sums";
const SIGNATURE: &str = "sha256sums.sig";

/// On the kernel's command line: the volume set of the medium, which is the first half of its manifest's sum.
const PARAMETER: &str = "etcd_bootstrapper.medium=";

/// Largest text of the medium, bytes.
const TEXT: u64 = 4 << 20;

/// zstd's window, as a power of two: what `image/iso.sh` asks for.
const WINDOW: u32 = 24;

/// The medium, found.
pub struct Medium {
    /// The kernel's name of its disk.
    pub name: String,
    file: File,
    volume: Volume,
    /// What it holds.
    pub image: Image,
    /// What to call the image.
    pub title: String,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// sha256 of the packed image.
    pub sha256: Sha256,
    /// Bytes of the packed image.
    pub packed: u64,
    /// Bytes of the image.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct Manifest {
    name: String,
    version: String,
    architecture: String,
    files: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    sha256: Sha256,
    bytes: Option<u64>,
}

/// Looks for the medium once; `None` while it is not there.
///
/// # Errors
/// 65 when the medium is damaged, or not what it should be; what the kernel says otherwise.
pub fn find(paths: &Paths) -> Result<Option<Medium>> {
    let line = std::fs::read_to_string(paths.host("/proc/cmdline")).context("cannot read the kernel's command line")?;
    let wanted = line.split_whitespace().find_map(|word| word.strip_prefix(PARAMETER)).ok_or_else(|| {
        Exit::Refused.because(format!(
            "`install` writes over a disk and runs from the installation medium alone: there is no {PARAMETER} on the \
             kernel's command line; nothing was written"
        ))
    })?;
    let disks = disk::list(paths.root())?;
    for device in disk::labelled(&disks, LABEL).into_iter().filter(|device| device.probe.kind == Kind::Iso9660) {
        let Ok((file, Some(volume))) = open(&device.device) else { continue };
        if digits(&volume.set) == digits(wanted) {
            let name = match &device.layer {
                Layer::Partition(whole) => whole.clone(),
                Layer::Whole | Layer::Stacked | Layer::Backed => device.name.clone(),
            };
            return Medium::of(paths, name, file, volume).map(Some).map_err(|error| bad(&device.name, &error));
        }
    }
    Ok(None)
}

/// A damaged or changed medium, for a person.
pub fn bad(name: &str, error: &anyhow::Error) -> anyhow::Error {
    Exit::BadInput.because(format!("the medium {name} is not whole: {error:#}: write it anew, or use another one"))
}

/// ISO 9660 has capitals alone, strictly, and no `-`.
fn digits(id: &str) -> String {
    id.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn open(device: &Path) -> Result<(File, Option<Volume>)> {
    let file = File::open(device).with_context(|| format!("cannot open {}", device.display()))?;
    let volume = iso9660::read(&file, 0)?;
    Ok((file, volume))
}

impl Medium {
    fn of(paths: &Paths, name: String, file: File, volume: Volume) -> Result<Medium> {
        let text = |name: &str| {
            let text = iso9660::file(&file, 0, &volume, name, TEXT)?;
            text.with_context(|| format!("it has no {name}"))
        };
        let manifest = text(MANIFEST)?;
        let sum = sum(&manifest);
        // The kernel's command line is part of what the firmware started, and of its signature where it has one.
        ensure!(digits(&volume.set) == sum.as_str()[..32], "{MANIFEST} is not the one that it was made with");
        if let Some(key) = read_regular(&paths.host("/etc/etcd-bootstrapper/minisign.pub"), TEXT, false)? {
            let (sums, signature) = (text(SUMS)?, text(SIGNATURE).context("it is not signed")?);
            let key = signature::key(std::str::from_utf8(&key).context("minisign.pub is no text")?)?;
            let signature = Signature::decode(std::str::from_utf8(&signature).unwrap_or_default());
            let signed = signature.and_then(|signature| key.verify(&sums, &signature, false));
            signed.with_context(|| format!("{SUMS} is not signed by the key that this installer knows"))?;
            let line = format!("{}  {MANIFEST}", sum.as_str());
            let listed = String::from_utf8_lossy(&sums).lines().any(|known| known == line);
            ensure!(listed, "{MANIFEST} is not the one that was signed");
        }
        let manifest: Manifest = serde_json::from_slice(&manifest).with_context(|| format!("cannot use {MANIFEST}"))?;
        ensure!(
            manifest.architecture == "x86-64" && cfg!(target_arch = "x86_64"),
            "its image is for {}",
            manifest.architecture
        );
        let entry = |name: &str| manifest.files.get(name).with_context(|| format!("{MANIFEST} does not name {name}"));
        let raw = format!("{}.raw", manifest.name);
        let (packed, raw) = (entry(IMAGE)?, entry(&raw)?.bytes.with_context(|| format!("{raw} has no size"))?);
        let (_, length) = *volume.files.get(IMAGE).with_context(|| format!("it has no {IMAGE}"))?;
        ensure!(Some(length) == packed.bytes, "{IMAGE} has {length} bytes, not what {MANIFEST} says");
        let image = Image { sha256: packed.sha256.clone(), packed: length, bytes: raw };
        let title = format!("{} {}", manifest.name, manifest.version);
        Ok(Medium { name, file, volume, image, title })
    }

    /// What `iso customize` has put into the area, by name; nothing where nobody has.
    ///
    /// # Errors
    /// When the area is damaged.
    pub fn site(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let (at, length) = *self.volume.files.get(AREA).with_context(|| format!("it has no {AREA}"))?;
        area(&self.file, at, length)
    }

    /// Reads all of the packed image, and whether it is the one that the manifest names.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub fn check(&self, mut progress: impl FnMut(u64)) -> Result<()> {
        let mut packed = self.packed();
        let mut buffer = vec![0; 1 << 20];
        while packed.read(&mut buffer).with_context(|| format!("cannot read {IMAGE} at byte {}", packed.at))? > 0 {
            progress(packed.at);
        }
        self.holds(packed)
    }

    fn holds(&self, packed: Packed<'_>) -> Result<()> {
        let found = of_digest(packed.sum.finish());
        ensure!(found == self.image.sha256, "{IMAGE} has the sha256 {}, not what {MANIFEST} says", found.as_str());
        Ok(())
    }

    fn packed(&self) -> Packed<'_> {
        let (at, length) = self.volume.files.get(IMAGE).copied().unwrap_or_default();
        Packed { file: &self.file, start: at, length, at: 0, sum: digest::Context::new(&digest::SHA256) }
    }

    /// The image, unpacked while it is read.
    ///
    /// # Errors
    /// When it is not what zstd has made.
    pub fn unpack(&self) -> Result<Unpacked<'_>> {
        let mut decoder = zstd::Decoder::new(self.packed()).context("cannot unpack the image")?;
        decoder.window_log_max(WINDOW).context("cannot unpack the image")?;
        Ok(Unpacked { medium: self, decoder })
    }
}

/// What `iso customize` writes into an area, by name.
///
/// # Errors
/// When the area is damaged.
pub fn area(file: &File, at: u64, length: u64) -> Result<BTreeMap<String, Vec<u8>>> {
    let Some(volume) = iso9660::read(file, at)? else { return Ok(BTreeMap::new()) };
    let mut files = BTreeMap::new();
    for name in volume.files.keys() {
        let bytes = iso9660::file(file, at, &volume, name, length)?;
        files.extend(bytes.map(|bytes| (name.clone(), bytes)));
    }
    Ok(files)
}

/// The packed image as it is read, and the sum of what was read.
struct Packed<'a> {
    file: &'a File,
    start: u64,
    length: u64,
    at: u64,
    sum: digest::Context,
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..left], self.start + self.at)?;
        if read == 0 && left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.sum.update(&buffer[..read]);
        self.at += read as u64;
        Ok(read)
    }
}

/// The image as it comes off the medium.
pub struct Unpacked<'a> {
    medium: &'a Medium,
    decoder: zstd::Decoder<'static, BufReader<Packed<'a>>>,
}

impl Read for Unpacked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer)
    }
}

impl Unpacked<'_> {
    /// Reads the rest, and whether all of it was what the manifest names: a medium may begin to fail at any moment.
    ///
    /// # Errors
    /// When it was not.
    pub fn end(mut self) -> Result<()> {
        io::copy(&mut self.decoder, &mut io::sink()).context("cannot unpack the image")?;
        let mut packed = self.decoder.finish();
        io::copy(&mut packed, &mut io::sink()).with_context(|| format!("cannot read {IMAGE}"))?;
        self.medium.holds(packed.into_inner())
    }
}

/// The sha256 of these bytes.
pub fn sum(bytes: &[u8]) -> Sha256 {
    of_digest(digest::digest(&digest::SHA256, bytes))
}

fn of_digest(digest: digest::Digest) -> Sha256 {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Sha256::from(bytes)
}
