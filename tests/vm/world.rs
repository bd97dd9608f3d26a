//! The network of a run: a bridge, one port per machine, and DHCP; nothing leads out of it.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::tools::Tools;

/// How many machines most cases have.
pub const SEATS: u8 = 3;
/// How many machines have a place.
const PLACES: u8 = 16;
/// This host's end of the bridge; guests have it as router, and it forwards nothing.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Where the metadata services of most platforms answer; this host's too, and a guest's way there is its router.
pub const LINK: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Azure's other service, that machines report to.
pub const WIRESERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
/// The place where DHCP tells the ways to both of Azure's services, as Azure's does.
pub const AZURE: Seat = Seat(5);

/// A machine's place: its address, name and firmware identity, whatever disks it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat(pub u8);

impl Seat {
    /// Those of the members of most clusters.
    pub fn all() -> impl Iterator<Item = Seat> {
        (1..=SEATS).map(Seat)
    }
    /// Whoever has this address.
    pub fn at(address: Ipv4Addr) -> Option<Seat> {
        (1..=PLACES).map(Seat).find(|seat| seat.address() == address)
    }
    /// `etcd-1` and so on.
    pub fn name(self) -> String {
        format!("etcd-{}", self.0)
    }
    /// The address that DHCP gives it.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 10 + self.0)
    }
    /// Its card.
    pub fn mac(self) -> String {
        format!("52:54:00:77:00:{:02x}", self.0)
    }
    /// A card in its place that DHCP does not know.
    pub fn unknown_mac(self) -> String {
        format!("52:54:00:77:01:{:02x}", self.0)
    }
    /// Its port on the bridge.
    pub fn tap(self) -> String {
        format!("tap{}", self.0)
    }
    /// Its SMBIOS UUID, from which the guest takes its machine-id.
    pub fn uuid(self) -> String {
        format!("6d1c2f60-0000-4000-8000-0000000000{:02x}", self.0)
    }
}

/// The network, for as long as this lives.
pub struct World {
    dnsmasq: Child,
}

impl World {
    /// Makes the network in the namespace of this process.
    ///
    /// # Errors
    /// When there is another way out than `lo`: then this is not a namespace of our own.
    pub fn make(tools: &Tools) -> Result<World> {
        let mut commands = format!(
            "link set lo up\nlink add br0 type bridge forward_delay 0 mcast_snooping 0\n\
             addr add {HOST}/24 dev br0\naddr add {LINK}/32 dev br0\naddr add {WIRESERVER}/32 dev br0\nlink set br0 up\n"
        );
        for tap in (1..=PLACES).map(|place| Seat(place).tap()) {
            commands += &format!("tuntap add dev {tap} mode tap\nlink set {tap} master br0 up\n");
        }
        let links = tools.run("ip", ["-brief", "link"])?;
        if links.lines().count() != 1 {
            bail!("this network namespace is not empty:\n{links}");
        }
        batch(tools, &commands)?;
        Ok(World { dnsmasq: dnsmasq(tools)? })
    }

    /// Fails when DHCP has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        match self.dnsmasq.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("dnsmasq ended ({status}): see dnsmasq.log"),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The namespace goes with the run; whatever fails here goes with it.
        self.dnsmasq.kill().ok();
        self.dnsmasq.wait().ok();
    }
}

fn batch(tools: &Tools, commands: &str) -> Result<()> {
    let mut child = tools.command("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("ip has no stdin")?.write_all(commands.as_bytes())?;
    let status = process::wait(&mut child, Duration::from_secs(30))?;
    if !status.success() {
        bail!("ip could not make the bridge ({status}); it was told:\n{commands}");
    }
    Ok(())
}

fn dnsmasq(tools: &Tools) -> Result<Child> {
    let log = File::create("dnsmasq.log")?;
    let mut command: Command = tools.command("dnsmasq");
    // No DNS at all, and none announced: names of others must not matter.
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0", "--pid-file="]);
    command.args(["--interface=br0", "--bind-interfaces", "--log-facility=-", "--no-ping", "--dhcp-authoritative"]);
    command.args(["--dhcp-leasefile=dnsmasq.leases", "--dhcp-range=10.77.0.0,static,255.255.255.0,1h"]);
    command.arg(format!("--dhcp-option=option:router,{HOST}"));
    let ways: Vec<String> = [WIRESERVER, LINK].iter().map(|to| format!(",{to}/32,{HOST}")).collect();
    let all = format!("0.0.0.0/0,{HOST}{}", ways.concat());
    command.arg(format!("--dhcp-option=tag:azure,option:classless-static-route,{all}"));
    for seat in (1..=PLACES).map(Seat) {
        let tag = if seat == AZURE { "set:azure," } else { "" };
        command.arg(format!("--dhcp-host={},{tag}{},{}", seat.mac(), seat.address(), seat.name()));
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("cannot start dnsmasq")
}
