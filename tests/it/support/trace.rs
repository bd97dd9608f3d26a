//! Power cuts at the moments that matter: a program and all that it started, killed when one of them is about to make
//! something durable. By ptrace(2), so that it can be done to programs that are not ours.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Runs a command and kills it, and every process that it has started, before the n-th fsync or fdatasync of a program
/// of this name. The exit code when it ends before that.
pub fn killed_before_sync(command: &Command, of: &str, nth: usize) -> Option<i32> {
    // Waiting for threads' own children only keeps other tests' processes out of it, so nobody else may use this thread.
    std::thread::scope(|scope| scope.spawn(|| trace(command, of, nth)).join().expect("tracing ends"))
}

fn trace(command: &Command, of: &str, nth: usize) -> Option<i32> {
    let first = start(command);
    let mut alive = BTreeSet::from([first]);
    let (mut syncs, mut code, mut killed) = (0, None, false);
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
            Ok(status) => status,
            Err(Errno::ECHILD) => return if killed { None } else { code },
            Err(error) => panic!("waitpid: {error}"),
        };
        let (pid, signal) = match status {
            WaitStatus::Exited(pid, with) => {
                code = if pid == first { Some(with) } else { code };
                alive.remove(&pid);
                continue;
            }
            WaitStatus::Signaled(pid, ..) => {
                alive.remove(&pid);
                continue;
            }
            WaitStatus::PtraceSyscall(pid) => {
                if !killed && is_sync(pid) && name(pid) == of {
                    syncs += 1;
                    killed = syncs == nth;
                }
                (pid, None)
            }
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            WaitStatus::PtraceEvent(pid, ..) => (pid, None),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => continue,
        };
        alive.insert(pid);
        if killed {
            for pid in &alive {
                let _gone_already = kill(*pid, Signal::SIGKILL);
            }
        } else {
            let _gone_already = ptrace::syscall(pid, signal);
        }
    }
}

/// A shell that becomes the command once it is traced.
// The tracer waits for it with everything that it starts.
#[allow(clippy::zombie_processes)]
fn start(command: &Command) -> Pid {
    let mut shell = Command::new("sh");
    shell.args(["-c", "read go && exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a PID"));
    let started = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    let options = started | Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).expect("root may trace its child");
    ptrace::interrupt(pid).expect("a traced child can be stopped");
    child.stdin.take().expect("a pipe").write_all(b"go\n").expect("the shell reads");
    pid
}

/// Whether a thread is entering fsync or fdatasync.
fn is_sync(pid: Pid) -> bool {
    let Ok(regs) = ptrace::getregs(pid) else { return false };
    // The kernel puts -ENOSYS where the result will be, until there is one.
    let entering = regs.rax as i64 == -i64::from(libc::ENOSYS);
    entering && [libc::SYS_fsync, libc::SYS_fdatasync].contains(&(regs.orig_rax as i64))
}

fn name(pid: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}
