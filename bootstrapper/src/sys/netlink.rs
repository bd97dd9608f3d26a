//! Waiting for the kernel to say that something has changed, so that nobody sleeps on a timer.

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::net::UnixDatagram;
use tokio::time::{Instant, timeout_at};

/// rtnetlink(7): links, and addresses and routes of IPv4 and IPv6.
const NETWORK: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// The kernel's own events; udev sends its to the second group, once its rules have run.
const DEVICES: u32 = 0x1;

/// Hears of changes from the moment it is made: make it, then look, then wait.
pub struct Watch {
    /// A netlink socket in the type that tokio has for datagrams without addresses; its AsyncFd is not safe code.
    socket: UnixDatagram,
    wanted: Option<&'static [u8]>,
}

impl Watch {
    /// Hears of links, addresses and routes.
    ///
    /// # Errors
    /// When the kernel gives no such socket.
    pub fn network() -> Result<Watch> {
        Watch::open(SockProtocol::NetlinkRoute, NETWORK, None).context("cannot watch the network")
    }

    /// Hears of disks that come and go.
    ///
    /// # Errors
    /// When the kernel gives no such socket.
    pub fn disks() -> Result<Watch> {
        Watch::open(SockProtocol::NetlinkKObjectUEvent, DEVICES, Some(b"SUBSYSTEM=block")).context("cannot watch disks")
    }

    fn open(protocol: SockProtocol, groups: u32, wanted: Option<&'static [u8]>) -> Result<Watch> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Watch { socket: UnixDatagram::from_std(socket.into())?, wanted })
    }

    /// Waits for a change, at most this long; whether there was one. Changes of one moment are one change.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn changed(&self, within: Duration) -> Result<bool> {
        let deadline = Instant::now() + within;
        loop {
            let Ok(ready) = timeout_at(deadline, self.socket.readable()).await else { return Ok(false) };
            ready.context("cannot wait for the kernel's messages")?;
            if self.drain()? {
                return Ok(true);
            }
        }
    }

    fn drain(&self) -> Result<bool> {
        let mut seen = false;
        let mut message = [0; 8192];
        loop {
            match self.socket.try_recv(&mut message) {
                Ok(length) => seen |= self.wants(&message[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(seen),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Messages were dropped: something has changed, whatever it was.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => seen = true,
                Err(error) => return Err(error).context("cannot read the kernel's messages"),
            }
        }
    }

    /// A uevent is a row of texts, each ended by a zero byte.
    fn wants(&self, message: &[u8]) -> bool {
        self.wanted.is_none_or(|wanted| message.split(|b| *b == 0).any(|text| text == wanted))
    }
}
