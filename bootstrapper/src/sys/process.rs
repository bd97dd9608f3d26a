//! Other programs: etcdutl, mkfs, systemctl. Never a shell, never anything found in metadata.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::fs::Owner;

/// How much of a failed program's last words an error quotes, bytes.
const QUOTED: usize = 600;

/// A program to run: an absolute path or a name on systemd's default path.
pub struct Program<'a> {
    /// What to run.
    pub program: &'a str,
    /// Its arguments; no secrets, as everybody can read them.
    pub arguments: Vec<String>,
    /// As whom, this user without it.
    pub owner: Option<Owner>,
    /// Killed after this.
    pub timeout: Duration,
}

/// Runs a program with an empty standard input and gives back its standard output.
///
/// # Errors
/// When it cannot be started, does not end in time, or fails; the error quotes the end of what it said.
pub async fn run(program: Program<'_>) -> Result<String> {
    let name = program.program;
    let mut command = std::process::Command::new(name);
    command.args(&program.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(owner) = program.owner {
        command.uid(owner.uid).gid(owner.gid);
    }
    let child = Command::from(command).kill_on_drop(true).spawn().with_context(|| format!("cannot run {name}"))?;
    let output = tokio::time::timeout(program.timeout, child.wait_with_output())
        .await
        .with_context(|| format!("{name} did not end within {} s and was killed", program.timeout.as_secs()))?
        .with_context(|| format!("cannot wait for {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        let from = said.char_indices().map(|(i, _)| i).find(|i| said.len() - i <= QUOTED).unwrap_or(0);
        bail!(
            "{name} {} failed ({}): {}",
            program.arguments.first().map_or("", String::as_str),
            output.status,
            &said[from..]
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
