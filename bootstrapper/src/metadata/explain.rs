//! The effective configuration, value by value, with where each came from; secrets stay out.

use anyhow::Result;

use super::nocloud::Instance;
use super::platform::Machine;
use super::tree::{Node, Place, Style, Value};
use super::{Gathered, Sources, document, remembered};

/// One value.
pub struct Explained {
    /// Such as `peers[1].peer_url`.
    pub path: String,
    /// As it is written, or what stands for a secret.
    pub value: String,
    /// File and line, or `default`.
    pub from: String,
}

/// What a document that does not say it means; a test holds this against what is parsed.
pub(super) const DEFAULTS: [(&str, &str); 14] = [
    ("cluster.epoch", "1"),
    ("mode", "auto"),
    ("member.name", "auto"),
    ("member.address", "auto"),
    ("replace_after", "60s"),
    ("tls.validity", "8760h"),
    ("tls.extra_sans", "[]"),
    ("data.device", "auto"),
    ("metadata.provider", "auto"),
    ("metadata.allow_imdsv1", "false"),
    ("timeouts.metadata", "120s"),
    ("timeouts.data_device", "60s"),
    ("timeouts.time_sync", "60s"),
    ("allow_inline_secrets", "false"),
];

/// What a part that is there and does not say it means: the part, the key, its value.
pub(super) const DEFAULTS_WITHIN: [(&str, &str, &str); 7] = [
    ("store", "store.on_total_loss", "wait"),
    ("store", "store.allow_http", "false"),
    ("backup", "backup.every", "15m"),
    ("backup", "backup.keep.hourly", "24"),
    ("backup", "backup.keep.daily", "7"),
    ("backup", "backup.keep.weekly", "4"),
    ("restore", "restore.allow_http", "false"),
];

impl Sources {
    /// The effective values; those that an earlier boot kept where no carrier has any now, `None` without either.
    ///
    /// # Errors
    /// As [`Sources::load`].
    pub fn explain(&self) -> Result<Option<Vec<Explained>>> {
        let Gathered { tree, handed, instance, notes, .. } = self.gather()?;
        self.note(notes);
        let handed = handed.into_iter().map(|one| (one.name, one.value, line_of(&one.place)));
        let (tree, instance, handed) = match (tree, remembered(&self.paths)?) {
            (Some(tree), _) => (tree, instance, handed.collect()),
            (None, Some(kept)) => {
                let from = self.paths.remembered().display().to_string();
                let instance = Instance { id: kept.instance_id, hostname: kept.hostname };
                let handed = kept.handed.into_iter().map(|(name, value)| (name, value, from.clone()));
                (kept.tree, instance, handed.collect::<Vec<_>>())
            }
            (None, None) => return Ok(None),
        };
        document::mean(&tree).map_err(|faults| document::bad_input(&faults))?;
        let mut lines = values(&tree);
        let within = DEFAULTS_WITHIN.into_iter().filter(|(part, ..)| tree.at(part).is_some());
        let defaults = DEFAULTS.into_iter().chain(within.map(|(_, path, value)| (path, value)));
        // A list or a mapping that is given and empty has no line of its own.
        for (path, value) in defaults.filter(|(path, _)| tree.at(path).is_none_or(Node::is_empty)) {
            lines.push(Explained { path: path.into(), value: value.into(), from: "default".into() });
        }
        for (name, value, from) in handed {
            lines.push(Explained { path: format!("credential {name}"), value: secret(value.reveal()), from });
        }
        let machine = self.launched()?;
        let told = |of: fn(&Machine) -> Option<&str>, value: &str| {
            let by = machine.as_ref().filter(|machine| of(machine) == Some(value));
            by.map_or_else(|| "meta-data".to_owned(), |machine| machine.provider.to_string())
        };
        let id: fn(&Machine) -> Option<&str> = |machine| Some(&machine.instance_id);
        let name: fn(&Machine) -> Option<&str> = |machine| machine.hostname.as_deref();
        for (path, value, of) in [("instance-id", instance.id, id), ("hostname", instance.hostname, name)] {
            lines.extend(value.map(|value| Explained { path: path.into(), from: told(of, &value), value }));
        }
        Ok(Some(lines))
    }
}

fn line_of(place: &Place) -> String {
    format!("{}:{}", place.source, place.line)
}

fn values(tree: &Node) -> Vec<Explained> {
    let mut lines = Vec::new();
    tree.each_text(&mut |path, node| {
        lines.push(Explained { path: path.to_owned(), value: shown(path, node), from: line_of(&node.place) });
    });
    lines
}

/// What says where a secret is kept, and is none itself.
const PLACES: [&str; 12] = [
    "account",
    "file",
    "credential",
    "sha256",
    "aws_secret",
    "aws_parameter",
    "gcp_secret",
    "azure_secret",
    "region",
    "field",
    "endpoint",
    "allow_http",
];

fn shown(path: &str, node: &Node) -> String {
    let text = node.text().unwrap_or_default();
    let last = path.rsplit('.').next().unwrap_or_default();
    let of_a_secret = ["tls.ca.", "restore.age_identity."].iter().any(|of| path.starts_with(of));
    match path {
        "tls.ca.key" | "tls.ca.cert" | "logs.ca" | "logs.cert" | "logs.key" => format!("(PEM, {} bytes)", text.len()),
        url if url == "restore.url" || url.starts_with("restore.url[") => host_of(text),
        _ if last == "url" && (of_a_secret || path.contains(".credentials.")) => host_of(text),
        _ if path.contains(".credentials.") && !PLACES.contains(&last) => secret(text),
        "restore.age_identity" | "restore.proxy" | "store.proxy" => secret(text),
        // Nothing else is secret; should a person have put a key elsewhere, it stays one.
        _ if text.contains("PRIVATE KEY") || text.contains("AGE-SECRET-KEY") => secret(text),
        _ => match &node.value {
            Value::Text(text, Style::Plain) => text.clone(),
            Value::Text(..) | Value::List(_) | Value::Map(_) => format!("{text:?}"),
        },
    }
}

/// The path and the query of a presigned URL are its password.
fn host_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    format!("{scheme}://{}/(secret)", host.rsplit('@').next().unwrap_or_default())
}

fn secret(text: &str) -> String {
    format!("(secret, {} bytes)", text.len())
}
