//! `metadata detect`: who launched this machine.

use std::ffi::OsString;

use anyhow::Result;
use serde_json::json;

use crate::exit::Exit;
use crate::metadata::detect::detect;
use crate::paths::Paths;
use crate::sys::output::say;

const USAGE: &str = "\
usage: etcd-bootstrapper metadata detect [--root DIR] [--json]   which platform launched this machine, without network";

/// Runs `metadata` with what stands behind that word.
///
/// # Errors
/// 64 for a wrong command line, 65 when there is no such root or the kernel command line names a platform that is none.
pub fn run(paths: &Paths, args: Vec<OsString>) -> Result<()> {
    let usage = |what: &str| Exit::Usage.because(format!("{what}\n{USAGE}"));
    let mut args = args.into_iter();
    match args.next() {
        Some(action) if action == "detect" => {}
        Some(other) => return Err(usage(&format!("unexpected `{}`", other.display()))),
        None => return Err(usage("`metadata` needs to know what to do")),
    }
    let (mut paths, mut as_json) = (paths.clone(), false);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--json") => as_json = true,
            Some("--root") => {
                let root = args.next().filter(|root| !root.is_empty());
                paths = Paths::of_root(root.ok_or_else(|| usage("--root needs a directory"))?)?;
            }
            Some(_) | None => return Err(usage(&format!("unexpected `{}`", arg.display()))),
        }
    }
    let found = detect(&paths)?;
    if as_json {
        return say(&json!({"provider": found.provider.name(), "source": found.source, "why": found.why}).to_string());
    }
    say(&format!("{}: {}", found.provider, found.why))
}
