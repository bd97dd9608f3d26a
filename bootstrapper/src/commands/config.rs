//! `config`: `new` is next door; `config validate`, `config explain`, `config schema`: what a configuration says, and whether it can.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::commands::config_new;
use crate::exit::Exit;
use crate::metadata::Sources;
use crate::metadata::explain::Explained;
use crate::metadata::validate::{Verdict, mode, summary, validate};
use crate::paths::Paths;
use crate::sys::output::say;
use crate::sys::regular::read_regular;

/// The document's JSON Schema, as `cloud-init/schema.json` has it.
pub const SCHEMA: &str = include_str!("../../../cloud-init/schema.json");

/// Bytes of a file to validate; more than any carrier takes, so that the carrier's own limit speaks.
const LIMIT: u64 = 8 * 1024 * 1024;

const USAGE: &str = "usage: etcd-bootstrapper config new --help
       etcd-bootstrapper config validate [--json] FILE... (- is standard input)
       etcd-bootstrapper config explain [--json]
       etcd-bootstrapper config schema";

/// Runs `config` with the arguments that follow it.
///
/// # Errors
/// [`Exit::Usage`], or what the subcommand says.
pub fn run(paths: &Paths, args: Vec<OsString>) -> Result<()> {
    let mut args = args.into_iter();
    let what = args.next();
    if what.as_deref().is_some_and(|what| what == "new") {
        return config_new::run(lexopt::Parser::from_args(args));
    }
    let (flags, files): (Vec<OsString>, Vec<OsString>) =
        args.partition(|a| a.to_string_lossy().starts_with('-') && a != "-");
    let usage = |why: String| Exit::Usage.because(format!("{why}\n{USAGE}"));
    if let Some(flag) = flags.iter().find(|f| *f != "--json") {
        return Err(usage(format!("unknown option {}", flag.to_string_lossy())));
    }
    let as_json = !flags.is_empty();
    match what.as_deref().and_then(|w| w.to_str()) {
        Some("validate") if files.is_empty() => Err(usage("config validate needs a file".into())),
        Some("validate") => validate_all(&files, as_json),
        Some("explain" | "schema") if !files.is_empty() => Err(usage("this command takes no file".into())),
        Some("explain") => explain(paths, as_json),
        Some("schema") => say(SCHEMA.trim_end()),
        Some(other) => Err(usage(format!("unknown command config {other}"))),
        None => Err(usage("config needs a command".into())),
    }
}

fn validate_all(files: &[OsString], as_json: bool) -> Result<()> {
    let (mut reports, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        let name = if file == "-" { "standard input".into() } else { file.to_string_lossy().into_owned() };
        let bytes = read(file, &name)?;
        match validate(&bytes, &name)? {
            Verdict::Valid { spec, .. } if as_json => reports.push(json!({
                "file": name, "valid": true, "cluster": spec.cluster, "members": spec.size, "mode": mode(&spec),
            })),
            Verdict::Valid { spec, .. } => say(&format!("{name}: valid: {}", summary(&spec)))?,
            Verdict::Faults(faults) => {
                let report = |f: &crate::metadata::validate::Fault| {
                    json!({
                        "line": f.place.as_ref().map(|p| p.line), "column": f.place.as_ref().map(|p| p.column),
                        "path": f.path, "message": f.message, "known": f.known,
                    })
                };
                let list: Vec<_> = faults.iter().map(report).collect();
                reports.push(json!({"file": name, "valid": false, "faults": list}));
                wrong.extend(faults.iter().map(ToString::to_string));
            }
        }
    }
    if as_json {
        say(&serde_json::to_string_pretty(&reports)?)?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(Exit::BadInput.because(wrong.join("\n"))) }
}

fn read(file: &OsString, name: &str) -> Result<Vec<u8>> {
    if file == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().take(LIMIT).read_to_end(&mut bytes).context("cannot read standard input")?;
        return Ok(bytes);
    }
    read_regular(Path::new(file), LIMIT, true)?
        .ok_or_else(|| Exit::BadInput.because(format!("{name}: there is no such file")))
}

fn explain(paths: &Paths, as_json: bool) -> Result<()> {
    let sources = Sources::new(paths);
    let Some(values) = sources.explain()? else {
        return Err(Exit::Unavailable.because(format!("no carrier has a configuration: {}", sources.looked_at())));
    };
    if as_json {
        let values: Vec<_> = values.iter().map(|v| json!({"path": v.path, "value": v.value, "from": v.from})).collect();
        return say(&serde_json::to_string_pretty(&values)?);
    }
    let width = values.iter().map(|v| v.path.len() + v.value.chars().count() + 3).max().unwrap_or(0);
    let line = |v: &Explained| format!("{:<width$}  {}\n", format!("{} = {}", v.path, v.value), v.from);
    say(&values.iter().map(line).collect::<String>())
}
