//! A network and a process namespace around a run, so that nothing of it reaches out and nothing outlives it.
//!
//! The process that was started stays outside: it makes the network namespace, starts itself again in there as the
//! first process of a process namespace, and tidies up when that has ended. The kernel ends QEMU and all else with it.
//! Several such lanes may run side by side, none of which reaches another.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::tools::{Tools, repository};

/// Names the directory of the run to the process inside.
const INSIDE: &str = "ETCD_BOOTSTRAPPER_VM_RUN";
/// Tells the process inside which lane it is, where there are several.
const LANE: &str = "ETCD_BOOTSTRAPPER_VM_LANE";
/// All namespaces and directories of runs start with it.
const PREFIX: &str = "etcd-vm-";
/// How many directories with logs stay.
const KEPT: usize = 5;
/// Extensions of disks, of records of their writes, and of snapshots.
const LARGE: [&str; 5] = ["raw", "qcow2", "fd", "writes", "db"];
/// For three guests to shut down after Ctrl-C.
const FAREWELL: Duration = Duration::from_secs(120);

/// The directory of the run, when this process is the one inside; it becomes the current directory, so that sockets
/// have short paths (the kernel takes 107 bytes).
pub fn inside() -> Result<Option<PathBuf>> {
    let Some(directory) = std::env::var_os(INSIDE).map(PathBuf::from) else { return Ok(None) };
    std::env::set_current_dir(&directory)?;
    Ok(Some(directory))
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether a person has pressed Ctrl-C.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Notes Ctrl-C from now on, instead of ending by it.
pub fn heed_interrupts() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}

/// The name of the network namespace of the run in this directory.
pub fn name(directory: &Path) -> String {
    directory.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Which lane this is, where there are several; the process outside gives it.
pub fn lane() -> Option<usize> {
    std::env::var(LANE).ok()?.parse().ok()
}

/// Runs this program again inside of the namespaces, in so many lanes, and ends as the worst of them.
pub fn run(keep: bool, lanes: usize) -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("needs root for network namespaces and mounts: run it with sudo");
    }
    let tools = Tools::find()?;
    clean_with(&tools)?;
    let (mut directories, mut locks, mut children, mut relays) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for lane in 1..=lanes {
        let directory = runs()?.join(format!("{PREFIX}{}-{lane}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let lock = File::create(directory.join("lock"))?;
        lock.try_lock().context("another run uses the same directory")?;
        tools.run("ip", ["netns", "add", &name(&directory)])?;
        let mut child = child(&directory, (lanes > 1).then_some(lane))?;
        relays.extend(child.stdout.take().map(|said| thread::spawn(move || relay(lane, said))));
        children.push(child);
        directories.push(directory);
        locks.push(lock);
    }
    let ended = wait(children);
    for relay in relays {
        // A panic in it has been printed.
        relay.join().ok();
    }
    drop(locks);
    for directory in directories {
        tidy(&tools, &directory, keep)?;
    }
    ended
}

/// Removes what runs left behind that were killed.
pub fn clean() -> Result<()> {
    clean_with(&Tools::find()?)
}

fn runs() -> Result<PathBuf> {
    Ok(repository()?.join("out/vm"))
}

fn child(directory: &Path, lane: Option<usize>) -> Result<Child> {
    let mut command = Command::new("setpriv");
    // Each link of the chain takes the next one with it, even when it is killed.
    command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "nsenter"]);
    command.arg(format!("--net=/run/netns/{}", name(directory)));
    command.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(INSIDE, directory);
    if let Some(lane) = lane {
        command.env(LANE, lane.to_string()).stdout(Stdio::piped());
    }
    command.spawn().context("cannot start setpriv, unshare and nsenter of util-linux")
}

/// Prints what a lane says, each line with its number.
fn relay(lane: usize, said: ChildStdout) {
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        println!("{lane} {line}");
    }
}

/// Ctrl-C reaches the processes inside as well, which then shut their guests down; anything else ends them at once.
fn wait(mut children: Vec<Child>) -> Result<ExitCode> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate, mut hang_up) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        let (mut last, mut worst) = (None, 0);
        while !children.is_empty() {
            let mut running = Vec::new();
            for mut child in children {
                match child.try_wait()? {
                    Some(status) => worst = worst.max(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)),
                    None => running.push(child),
                }
            }
            children = running;
            let now = tokio::select! {
                _ = interrupt.recv() => if last.is_none() { last = Some(Instant::now() + FAREWELL); false } else { true },
                _ = terminate.recv() => true,
                _ = hang_up.recv() => true,
                () = tokio::time::sleep(process::TICK) => last.is_some_and(|last| Instant::now() > last),
            };
            if now {
                for child in &mut children {
                    child.kill()?;
                    child.wait()?;
                }
                return Ok(ExitCode::from(130));
            }
        }
        Ok(ExitCode::from(worst))
    })
}

fn clean_with(tools: &Tools) -> Result<()> {
    let runs = runs()?;
    fs::create_dir_all(&runs)?;
    let mut ended = Vec::new();
    for entry in fs::read_dir(&runs)? {
        let directory = entry?.path();
        let lock = File::open(directory.join("lock"));
        if name(&directory).starts_with(PREFIX) && lock.is_ok_and(|l| l.try_lock().is_ok()) {
            tidy(tools, &directory, directory.join("keep").exists())?;
            ended.push((fs::metadata(&directory)?.modified()?, directory));
        }
    }
    ended.sort();
    for (_, directory) in ended.iter().rev().skip(KEPT - 1) {
        fs::remove_dir_all(directory)?;
    }
    Ok(())
}

/// Removes the network namespace of a run that has ended, and its disks; logs stay.
fn tidy(tools: &Tools, directory: &Path, keep: bool) -> Result<()> {
    let namespace = name(directory);
    if Path::new("/run/netns").join(&namespace).exists() {
        tools.run("ip", ["netns", "delete", &namespace])?;
    }
    if keep {
        File::create(directory.join("keep"))?;
        return Ok(());
    }
    remove_disks(directory)
}

fn remove_disks(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_disks(&entry.path())?;
        } else if entry.path().extension().is_some_and(|e| LARGE.iter().any(|large| e == *large)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
