//! `snapshot verify`: whether a snapshot is whole, before anybody needs it.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use plan::spec::{Secret, Sha256};
use serde_json::json;

use crate::exit::Exit;
use crate::paths::Paths;
use crate::snapshot::decode::Most;
use crate::snapshot::fetch::{Order, Progress, fetch};
use crate::snapshot::verify::Summary;
use crate::snapshot::{intake, source};
use crate::sys::output::{complain, say};

/// Silence after which a connection is given up, and after which the source is.
const IDLE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two lines of progress on a terminal.
const REPORT: Duration = Duration::from_secs(1);

const USAGE: &str = "usage: etcd-bootstrapper snapshot verify [--json] [--sha256 DIGITS] FILE|URL";

/// `etcd-bootstrapper snapshot verify FILE|URL`: prints what a whole snapshot is; a URL is read once and not kept.
///
/// # Errors
/// 65 for a snapshot that is no good, 69 for a source that does not deliver, 64 for a wrong command line.
pub async fn run(paths: &Paths, args: Vec<OsString>) -> Result<()> {
    let wanted = parse(args)?;
    let summary = if wanted.subject.contains("://") {
        remote(paths, wanted.subject, wanted.sha256.as_ref()).await?
    } else {
        intake::check(Path::new(&wanted.subject), wanted.sha256.as_ref(), Most::sane())?
    };
    say(&told(&summary, wanted.json))
}

struct Wanted {
    subject: String,
    sha256: Option<Sha256>,
    json: bool,
}

fn parse(args: Vec<OsString>) -> Result<Wanted> {
    let usage = |what: String| Exit::Usage.because(format!("{what}; {USAGE}"));
    let (mut subject, mut sha256, mut json) = (None, None, false);
    let mut args = args.into_iter().map(OsString::into_string);
    let mut verify = false;
    while let Some(arg) = args.next() {
        let arg = arg.map_err(|a| usage(format!("{} is not UTF-8", a.display())))?;
        match arg.as_str() {
            "verify" if !verify => verify = true,
            "--json" => json = true,
            "--sha256" => {
                let digits = args.next().and_then(Result::ok).unwrap_or_default();
                sha256 = Some(digits.parse().map_err(|e| usage(format!("--sha256: {e}")))?);
            }
            option if option.starts_with('-') => return Err(usage(format!("unknown option {option}"))),
            _ if verify && subject.is_none() => subject = Some(arg),
            _ => return Err(usage("unexpected argument".into())),
        }
    }
    match subject {
        Some(subject) if verify => Ok(Wanted { subject, sha256, json }),
        Some(_) | None => Err(usage("nothing to verify".into())),
    }
}

async fn remote(paths: &Paths, url: String, sha256: Option<&Sha256>) -> Result<Summary> {
    let url = Secret::new(url);
    let order = Order {
        url: &url,
        sha256,
        shelf: None,
        roots: &source::roots(paths),
        idle: IDLE,
        patience: PATIENCE,
        admit: &|_| Ok(()),
        most: Most::sane(),
    };
    let terminal = std::io::stderr().is_terminal();
    let mut last: Option<Instant> = None;
    let mut watch = |progress: Progress<'_>| {
        let due = terminal && last.is_none_or(|at| at.elapsed() >= REPORT);
        if let Some(trouble) = progress.trouble {
            complain(&format!("after {} bytes, trying again: {trouble}", progress.bytes));
        } else if due {
            last = Some(Instant::now());
            complain(&format!("{} MiB of {} MiB", progress.bytes >> 20, progress.total.unwrap_or_default() >> 20));
        }
    };
    fetch(&order, &mut watch).await
}

fn told(summary: &Summary, as_json: bool) -> String {
    let version = summary.version.map(|v| v.to_string());
    if as_json {
        let text = json!({
            "bytes": summary.bytes,
            "object_bytes": summary.object_bytes,
            "sha256": summary.sha256,
            "sha256_db": summary.sha256_db,
            "wrapped_in": summary.wrappings.iter().map(|w| w.name()).collect::<Vec<_>>(),
            "revision": summary.revision,
            "etcd": version,
        });
        return text.to_string();
    }
    let mut text = format!("whole     yes\nbytes     {}\nsha256    {}\n", summary.bytes, summary.sha256.as_str());
    if !summary.wrappings.is_empty() {
        let wrappings: Vec<&str> = summary.wrappings.iter().map(|w| w.name()).collect();
        text.push_str(&format!("object    {} bytes, {}\n", summary.object_bytes, wrappings.join(" of ")));
    }
    if let Some(revision) = summary.revision {
        text.push_str(&format!("revision  {revision}\n"));
    }
    if let Some(version) = version {
        text.push_str(&format!("etcd      {version} or newer\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_64_and_a_right_one_is_taken_in_any_order() {
        let parse = |text: &str| parse(text.split_whitespace().map(OsString::from).collect());
        let digits = "a".repeat(64);
        for line in [format!("verify x --json --sha256 {digits}"), format!("--json verify --sha256 {digits} x")] {
            let wanted = parse(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert_eq!((wanted.subject.as_str(), wanted.json, wanted.sha256.is_some()), ("x", true, true), "{line}");
        }
        for line in ["", "verify", "x", "verify x y", "verify --sha256 1 x", "verify --sha256", "verify --nope x"] {
            let error = parse(line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert_eq!(Exit::of(&error), Exit::Usage, "{line}");
        }
    }
}
