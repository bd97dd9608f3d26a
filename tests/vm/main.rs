//! Boots the image in QEMU and looks at what becomes of it: `make run`, `make test`, `make soak`.
#![allow(clippy::disallowed_methods, reason = "the fence is around the program; this builds worlds for it to live in")]

mod aftermath;
mod arguments;
mod boot_time;
mod bucket;
mod canary;
mod cases;
mod cluster;
mod console;
mod disk;
mod dressed;
mod etcdctl;
mod evidence;
mod flavour;
mod fleet;
mod going_on;
mod hardened;
mod large;
mod ledger;
mod lines;
mod link;
mod load;
mod machine;
mod moto;
mod probe;
mod process;
mod qemu;
mod qmp;
mod random;
mod receiver;
mod record;
mod sandbox;
mod serve;
#[allow(dead_code, reason = "tests/it asks all of them, and for more")]
#[path = "../support/services.rs"]
mod services;
mod set;
mod show;
mod soak;
mod soak_table;
mod suite;
mod table;
mod timeline;
mod tools;
mod trace;
mod watch;
#[allow(dead_code, reason = "tests/it lets answers fail in more ways")]
#[path = "../support/wire.rs"]
mod wire;
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::arguments::{Arguments, Job};
use crate::flavour::Images;
use crate::set::Yard;
use crate::suite::Suite;
use crate::tools::Tools;
use crate::world::World;

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<ExitCode> {
    let Some(arguments) = Arguments::parse()? else {
        eprintln!("{}", arguments::USAGE);
        return Ok(ExitCode::SUCCESS);
    };
    if arguments.job == Job::Clean {
        sandbox::clean()?;
        return Ok(ExitCode::SUCCESS);
    }
    match sandbox::inside()? {
        None => {
            // Nothing of inside reaches where these come from.
            match arguments.job {
                Job::Test | Job::Soak(_) => drop(Tools::find()?.moto()?),
                Job::Bench(_) => drop(Tools::find()?.baseline()?),
                Job::Run | Job::Clean => {}
            }
            sandbox::run(arguments.keep, arguments.lanes())
        }
        Some(directory) => inside(&arguments, &directory),
    }
}

fn inside(arguments: &Arguments, directory: &Path) -> Result<ExitCode> {
    let start = Instant::now();
    sandbox::heed_interrupts()?;
    let tools = Tools::find()?;
    let images = Images::find(arguments, &tools)?;
    let mut world = World::make(&tools)?;
    println!("logs: {}", directory.display());
    let mut yard = Yard::new(tools, images, arguments.memory);
    let well = match arguments.job {
        Job::Run => show::run(&mut yard, &mut world, directory).map(|()| true)?,
        Job::Bench(rounds) => boot_time::run(&mut yard, &mut world, rounds).map(|()| true)?,
        Job::Test | Job::Soak(_) => {
            println!("seed: {}", arguments.seed);
            let mut suite = Suite::new(yard, world, arguments.seed)?;
            match arguments.job {
                Job::Soak(minutes) => soak::run(&mut suite, minutes, arguments.seed, &arguments.names)?,
                Job::Run | Job::Test | Job::Bench(_) | Job::Clean => {
                    suite.run(&arguments.names, arguments.within.map(|within| start + within))?
                }
            }
        }
        Job::Clean => true,
    };
    println!("{:.0} s in all", start.elapsed().as_secs_f32());
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
