//! Services whose fsyncs do nothing: the looks at disks after power cuts must find that out.

use anyhow::{Result, ensure};
use plan::facts::Heard;

use crate::aftermath::Known;
use crate::cases::first_boot::FirstBoot;
use crate::cases::power_cut::{Doing, Ended, Moment, UNLUCKY, one, stage};
use crate::qemu::Special;
use crate::suite::Suite;

/// Founds, or replaces a member, with a service whose fsyncs do nothing; fails unless the looks find that out. How many
/// looks there were, and how many of them found it.
pub fn run(suite: &mut Suite, service: Unsynced) -> Result<(u64, u64)> {
    let (mut set, _) = stage(suite, service.doing())?;
    let place = suite.yard.directory(UNLUCKY)?;
    let disks = suite.yard.blank(&place)?.recorded(&place);
    let special = Special { unsynced: Some(service.name()), ..Special::default() };
    let moment = Moment::settled(suite);
    let Ended { records: [_, data], seen, .. } = one(suite, &mut set, &disks, place, &moment, special)?;
    // Its disk has lost what others count on: nothing of this goes on.
    drop(set);
    let mut boot = FirstBoot::new(seen, data);
    let looked = boot.look_when(suite, service.promises())?;
    let found = looked.iter().filter(|looked| looked.is_err()).count();
    if let Some(Err(error)) = looked.iter().find(|looked| looked.is_err()) {
        println!("        {}: {error:#}", service.name());
    }
    ensure!(found > 0, "{} looks have not noticed that the fsyncs of {} do nothing", looked.len(), service.name());
    Ok((looked.len() as u64, found as u64))
}

/// A service whose fsyncs do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// It promises Ready, and that it has committed.
    Bootstrapper,
    /// It promises each write.
    Etcd,
}

impl Unsynced {
    /// systemd's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Unsynced::Bootstrapper => "etcd-bootstrapper.service",
            Unsynced::Etcd => "etcd.service",
        }
    }

    /// What it does when others count on its disk.
    fn doing(self) -> Doing {
        match self {
            Unsynced::Bootstrapper => Doing::Founding,
            Unsynced::Etcd => Doing::Replacing,
        }
    }

    fn promises(self) -> fn(&Known) -> bool {
        match self {
            Unsynced::Bootstrapper => |known| match known {
                Known::Said(Heard::Waiting(_) | Heard::Founding { .. }) | Known::Committed { .. } => true,
                Known::Said(_) | Known::Acknowledged { .. } => false,
            },
            Unsynced::Etcd => |known| matches!(known, Known::Acknowledged { .. }),
        }
    }
}
