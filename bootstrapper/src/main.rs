//! The program etcd-bootstrapper: argv in, exit code out.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use bootstrapper::exit::Exit;
use bootstrapper::paths::Paths;
use bootstrapper::{commands, finish, install, network, run, sys, system_disk, tls};

const USAGE: &str = "\
usage: etcd-bootstrapper [--root DIR] COMMAND

  run                      decide, make it true and hand off to etcd (systemd runs this)
  finish                   promote, verify and settle after the hand-off (systemd runs this)
  install                  write the image to a disk (the installation medium runs this)
  network [FILE]           make the network that a NoCloud volume says (systemd runs this); with FILE show its settings
  system-disk              whether a copy of this system's disk is attached (systemd runs this)
  plan [--json]            the facts, the row that fires and the plan; nothing is done
  status [--json]          what this boot came to
  config new|validate|explain|schema
                           a new cluster's certificates and user-data; checks of a configuration
  iso customize|show|reset a site's configuration in an installation medium
  metadata detect|show     which platform launched this machine, and what it says of it
  snapshot verify FILE|URL whether a snapshot is whole
  backup [--now|list|verify [NAME]]
                           snapshots of this cluster in its store (a systemd timer runs this)
  certs renew|show         this host's certificates
  reset [--yes] [--json] [CLUSTER]
                           move this host's data to the trash and become blank
  version                  the version of this program

Exit codes: 0 done, 64 usage, 65 bad input, 69 source unavailable, 75 try again, 77 permission, 78 refused.
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tls::install_provider();
    sys::log::start();
    sys::process::leave_no_core_dump();
    match command().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, the whole chain, at the one place that prints errors.
            sys::log::last_words(&format!("{error:#}"));
            sys::systemd::status(&format!("failed: {error:#}"));
            ExitCode::from(Exit::of(&error) as u8)
        }
    }
}

async fn command() -> Result<()> {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut root = OsString::from("/");
    if args.first().is_some_and(|a| a == "--root") {
        if args.len() < 2 {
            return Err(usage("--root needs a directory"));
        }
        root = args.remove(1);
        args.remove(0);
    }
    let paths = Paths::of_root(root)?;
    if args.is_empty() {
        return Err(usage("no command"));
    }
    let name = args.remove(0);
    let name = name.to_str().unwrap_or_default();
    if matches!(name, "run" | "finish" | "etcd-stopped")
        && let Some(first) = args.first()
    {
        return Err(usage(&format!("`{name}` takes no argument, and there is {}", first.display())));
    }
    match name {
        "run" => run::run(&paths).await,
        "finish" => finish::finish(&paths).await,
        "network" => network::run(&paths, args),
        "system-disk" => system_disk::run(&paths, &args),
        "install" => install::run(&paths, &args),
        "plan" => commands::state::plan(&paths, args).await,
        "status" => commands::state::status(&paths, args).await,
        "reset" => commands::reset::reset(&paths, args),
        "etcd-stopped" => commands::state::etcd_stopped(&paths).await,
        "iso" => commands::iso::run(args),
        "config" => commands::config::run(&paths, args),
        "metadata" => commands::metadata::run(&paths, args).await,
        "snapshot" => commands::snapshot::run(&paths, args).await,
        "backup" => commands::backup::run(&paths, args).await,
        "certs" => commands::certs::run(&paths, lexopt::Parser::from_args(args)).await,
        "version" | "--version" => sys::output::say(concat!("etcd-bootstrapper ", env!("CARGO_PKG_VERSION"))),
        "help" | "--help" | "-h" => sys::output::say(USAGE),
        other => Err(usage(&format!("`{other}` is not a command"))),
    }
}

fn usage(what: &str) -> anyhow::Error {
    Exit::Usage.because(format!("{what}\n\n{USAGE}"))
}
