//! Occupancy probes.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// Whether nothing has the port on loopback: four probes, TCP and UDP, IPv4 and IPv6.
pub(crate) fn is_free(port: u16) -> bool {
    let addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()];
    let protocols = [(Type::STREAM, Protocol::TCP), (Type::DGRAM, Protocol::UDP)];
    addresses.into_iter().all(|address| protocols.into_iter().all(|kind| is_bindable(address, kind)))
}

/// A family that this machine does not have occupies nothing.
fn is_bindable(address: SocketAddr, kind: (Type, Protocol)) -> bool {
    let occupied = [ErrorKind::AddrInUse, ErrorKind::PermissionDenied];
    bind(address, kind).map_or_else(|error| !occupied.contains(&error.kind()), |()| true)
}

/// No address reuse: it would hide bound sockets.
fn bind(address: SocketAddr, (kind, protocol): (Type, Protocol)) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.bind(&address.into())
}
