//! Other programs: etcdutl, mkfs, systemctl. Never a shell, never anything found in metadata.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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

/// Keeps the memory of this process, with the keys in it, out of core dumps and from debuggers.
///
/// What it starts may be dumped again: the kernel forgets this at exec.
pub fn leave_no_core_dump() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!("a crash of this process may leave keys in a core dump: {error}");
    }
}

/// Runs a server without any environment but the path, in a directory of its own, until `done` says so; then it is
/// asked to end and waited for. What it says goes to `log` in that directory.
///
/// # Errors
/// When it cannot be started, ends by itself, or is not done in time; the error quotes the end of what it said.
pub async fn run_until(program: Program<'_>, directory: &Path, done: &mut (dyn FnMut() -> bool + Send)) -> Result<()> {
    let name = program.program;
    let log = directory.join("log");
    let output = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = std::process::Command::new(name);
    command.args(&program.arguments).current_dir(directory).env_clear().stdin(Stdio::null());
    command.stdout(output.try_clone()?).stderr(output);
    command.envs(super::env::var("PATH").map(|path| ("PATH", path)));
    if let Some(owner) = program.owner {
        command.uid(owner.uid).gid(owner.gid);
    }
    let mut child = Command::from(command).kill_on_drop(true).spawn().with_context(|| format!("cannot run {name}"))?;
    let deadline = tokio::time::Instant::now() + program.timeout;
    let mut asked_to_end = false;
    loop {
        if let Ok(ended) = tokio::time::timeout(LOOK, child.wait()).await {
            let ended = ended.with_context(|| format!("cannot wait for {name}"))?;
            if asked_to_end {
                return Ok(());
            }
            bail!("{name} ended by itself ({ended}): {}", last_words(&std::fs::read(&log).unwrap_or_default()));
        }
        if tokio::time::Instant::now() > deadline {
            let said = std::fs::read(&log).unwrap_or_default();
            bail!("{name} did not come far enough within {} s: {}", program.timeout.as_secs(), last_words(&said));
        }
        if !asked_to_end && done() {
            asked_to_end = true;
            let id = child.id().and_then(|id| i32::try_from(id).ok()).context("it has just run")?;
            kill(Pid::from_raw(id), Signal::SIGTERM).with_context(|| format!("cannot end {name}"))?;
        }
    }
}

/// Between two looks at a server.
const LOOK: Duration = Duration::from_millis(20);

fn last_words(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let said = said.trim();
    let from = said.char_indices().map(|(i, _)| i).find(|i| said.len() - i <= QUOTED).unwrap_or(0);
    said[from..].to_owned()
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
        bail!(
            "{name} {} failed ({}): {}",
            program.arguments.first().map_or("", String::as_str),
            output.status,
            last_words(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Gives a program these bytes and takes what it prints, at once and without any environment; either may be a secret, so
/// that no error has anything of them.
///
/// # Errors
/// When it cannot be started, does not end in time, or fails; the error quotes the end of what it said beside its output.
pub fn pipe(program: Program<'_>, input: &[u8]) -> Result<Vec<u8>> {
    let name = program.program;
    let mut command = std::process::Command::new(name);
    command.args(&program.arguments).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    let written = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(input),
        None => Ok(()),
    };
    let (output, errors) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let deadline = std::time::Instant::now() + program.timeout;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for {name}"))? {
            break status;
        }
        if std::time::Instant::now() >= deadline {
            let _ended_meanwhile = child.kill();
            let _reaped = child.wait();
            bail!("{name} did not end within {} s and was killed", program.timeout.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let (output, errors) = (output.join().unwrap_or_default(), errors.join().unwrap_or_default());
    if !status.success() {
        let verb = program.arguments.first().map_or("", String::as_str);
        bail!("{name} {verb} failed ({status}): {}", last_words(&errors));
    }
    written.with_context(|| format!("{name} does not read what it is given"))?;
    Ok(output)
}

fn drain(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What ends early is judged by how the program ends.
        let _ends = from.map(|from| from.take(1 << 20).read_to_end(&mut bytes));
        bytes
    })
}
