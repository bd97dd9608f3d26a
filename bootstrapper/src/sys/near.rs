//! Connections to what is on this host's link, or one router away.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// Which way a connection takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where to; an address of the link has its interface's index in it.
    pub address: SocketAddr,
    /// The interface that it must leave by, where the kernel's choice is not taken.
    pub interface: Option<String>,
    /// Whether it must come from a port below 1024, which only root may have.
    pub privileged: bool,
}

/// Connects; waits as long as the kernel does, so bound it.
///
/// # Errors
/// What the system says.
pub async fn connect(way: &Way) -> io::Result<TcpStream> {
    let socket = if way.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(interface) = &way.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if way.privileged {
        bind_low(&socket, way.address.is_ipv4())?;
    }
    let stream = socket.connect(way.address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn bind_low(socket: &TcpSocket, v4: bool) -> io::Result<()> {
    let any: IpAddr = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // As rresvport(3) does, from the top.
    for port in (512..1024).rev() {
        match socket.bind(SocketAddr::new(any, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "every port from 512 to 1023 is in use"))
}
