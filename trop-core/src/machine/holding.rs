//! Sockets that keep the kernel from assigning a leased port to other programs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use super::occupancy::Protocol;
use crate::model::{Error, Port, Result};
use crate::os::net::is_family_missing;

/// Sockets that are bound to a port and do not listen. With `SO_REUSEADDR` on both sides one server can
/// listen beside them. Until then clients are refused, and the kernel assigns the port to no other program.
#[derive(Default)]
pub(crate) struct HoldingSockets(#[allow(dead_code, reason = "bound as long as they exist")] Vec<Socket>);

impl HoldingSockets {
    /// Binds the loopback addresses of the families that this host has. Returns `None` if another program has
    /// the port bound.
    pub(crate) fn bind(port: Port) -> Result<Option<HoldingSockets>> {
        let mut sockets = Vec::new();
        for address in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            match bound(Protocol::Tcp, SocketAddr::new(address, port.get())) {
                Ok(socket) => sockets.push(socket),
                Err(error) if is_family_missing(&error) => {}
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) =>
                {
                    return Ok(None);
                }
                Err(source) => {
                    return Err(Error::Socket { action: "hold", host: address.to_string(), port, source });
                }
            }
        }
        Ok(Some(HoldingSockets(sockets)))
    }
}

/// A new socket that is bound to an address.
pub(crate) fn bound(protocol: Protocol, address: SocketAddr) -> io::Result<Socket> {
    let kind = match protocol {
        Protocol::Tcp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    // Allows binding beside a socket that holds the port, and after connections of a former server. On other
    // systems it would let two programs listen.
    #[cfg(unix)]
    if protocol == Protocol::Tcp {
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
