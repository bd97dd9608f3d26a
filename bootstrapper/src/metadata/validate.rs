//! A look at one file before any machine boots with it.

use anyhow::Result;
use plan::spec::{Host, Set, Spec};

pub use super::fault::Fault;
use super::layers;
use super::tree::Node;
use super::yaml::Origin;
use super::{document, files, handed, mime, unpack, user_data};

/// What a file is worth.
pub enum Verdict {
    /// A configuration.
    Valid {
        /// What it asks for.
        spec: Box<Spec>,
        /// What it says to the host.
        host: Box<Host>,
    },
    /// None, and why.
    Faults(Vec<Fault>),
}

/// Checks a bare document, or user-data that holds one, as a boot would.
///
/// # Errors
/// [`crate::exit::Exit::Refused`] when two parts of user-data contradict one another.
pub fn validate(bytes: &[u8], source: &str) -> Result<Verdict> {
    let tree = match tree(bytes, source)? {
        Ok(tree) => tree,
        Err(fault) => return Ok(Verdict::Faults(vec![fault])),
    };
    Ok(match document::mean(&tree) {
        Ok((spec, host)) => Verdict::Valid { spec: Box::new(spec), host: Box::new(host) },
        Err(faults) => Verdict::Faults(faults),
    })
}

/// `FILE: valid: cluster prod, 3 members, mode auto`, without the file.
pub fn summary(spec: &Spec) -> String {
    let members = match (&spec.set, spec.size) {
        (Set::Static(_), 1) => "1 member".to_owned(),
        (Set::Static(_) | Set::Dynamic, size) => format!("{size} members"),
    };
    format!("cluster {}, {members}, mode {}", spec.cluster, mode(spec))
}

/// The mode as the document writes it.
pub fn mode(spec: &Spec) -> &'static str {
    use plan::spec::Mode;
    match spec.mode {
        Mode::Auto => "auto",
        Mode::Init => "init",
        Mode::Join => "join",
        Mode::Restore => "restore",
    }
}

fn tree(bytes: &[u8], source: &str) -> Result<Result<Node, Fault>> {
    if !is_user_data(bytes) {
        let tree = files::parse(bytes, source, true).and_then(|tree| document::whole(tree, source));
        return Ok(tree);
    }
    let found = match user_data::read(bytes, source) {
        Ok(found) => found,
        Err(fault) => return Ok(Err(fault)),
    };
    handed::together(found.handed)?;
    let laid = layers::lay(found.parts.into_iter().map(user_data::Part::piece).collect())?;
    Ok(laid.map(|(tree, _)| tree).ok_or_else(|| {
        let why = if found.notes.is_empty() {
            "no configuration of ours is in this user-data: write it with `write_files` to /etc/etcd-bootstrapper/config.yaml".to_owned()
        } else {
            format!("this user-data {}", found.notes.join("; "))
        };
        Fault::here(&Origin::whole(source).place(1, 1), why)
    }))
}

/// A document may begin with any comment but these; what is packed is user-data.
fn is_user_data(bytes: &[u8]) -> bool {
    let Ok((inner, unpacked)) = unpack::user_data(bytes) else { return true };
    let text = inner.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&inner);
    let headers: [&[u8]; 7] = [
        b"#cloud-",
        b"#etcd-bootstrapper",
        b"#!",
        b"#include",
        b"#part-handler",
        b"## template:",
        handed::HEADER.as_bytes(),
    ];
    let begins = headers.iter().any(|header| text.starts_with(header));
    unpacked || begins || mime::is(text) != mime::Is::Other || holds_a_key_of_user_data(text)
}

fn holds_a_key_of_user_data(text: &[u8]) -> bool {
    let holds = |key: &str| text.windows(key.len()).any(|window| window == key.as_bytes());
    text.starts_with(b"{") && (holds("\"etcd_bootstrapper\"") || holds("\"systemd.credentials\""))
}
