//! Whether something on this machine has a port bound: asked by binding it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::port::Port;

/// Which probes are made. All on loopback by default: TCP and UDP, IPv4 and IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "each is an independent switch of the contract")]
pub struct OccupancyPolicy {
    /// Make no probe at all.
    pub skip: bool,
    /// Make no TCP probe.
    pub skip_tcp: bool,
    /// Make no UDP probe.
    pub skip_udp: bool,
    /// Make no IPv4 probe.
    pub skip_ipv4: bool,
    /// Make no IPv6 probe.
    pub skip_ipv6: bool,
    /// Probe the wildcard addresses too, not only loopback.
    pub check_all_interfaces: bool,
}

/// What the probes of one port found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Occupancy {
    Free,
    Occupied,
    /// A probe failed for another reason than "address in use": the port is not given out.
    Unknown(String),
}

impl OccupancyPolicy {
    /// This policy with the switches of another turned on as well, each by itself.
    #[must_use]
    pub fn with(self, other: OccupancyPolicy) -> OccupancyPolicy {
        OccupancyPolicy {
            skip: self.skip || other.skip,
            skip_tcp: self.skip_tcp || other.skip_tcp,
            skip_udp: self.skip_udp || other.skip_udp,
            skip_ipv4: self.skip_ipv4 || other.skip_ipv4,
            skip_ipv6: self.skip_ipv6 || other.skip_ipv6,
            check_all_interfaces: self.check_all_interfaces || other.check_all_interfaces,
        }
    }

    /// Binds and at once releases every combination the policy asks for.
    pub(crate) fn probe(self, port: Port) -> Occupancy {
        for address in self.addresses(port) {
            for (protocol, skipped) in [(Protocol::TCP, self.skip_tcp), (Protocol::UDP, self.skip_udp)] {
                if skipped {
                    continue;
                }
                match bind(protocol, address) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Occupancy::Occupied,
                    Err(error) if crate::os::is_family_missing(&error) => {}
                    Err(error) => {
                        let name = if protocol == Protocol::TCP { "TCP" } else { "UDP" };
                        return Occupancy::Unknown(format!("{name} probe of {address}: {error}"));
                    }
                }
            }
        }
        Occupancy::Free
    }

    fn addresses(self, port: Port) -> impl Iterator<Item = SocketAddr> {
        let port = port.get();
        let ipv4 = !self.skip && !self.skip_ipv4;
        let ipv6 = !self.skip && !self.skip_ipv6;
        let all = self.check_all_interfaces;
        [
            ipv4.then(|| (Ipv4Addr::LOCALHOST, port).into()),
            ipv6.then(|| (Ipv6Addr::LOCALHOST, port).into()),
            (ipv4 && all).then(|| (Ipv4Addr::UNSPECIFIED, port).into()),
            (ipv6 && all).then(|| (Ipv6Addr::UNSPECIFIED, port).into()),
        ]
        .into_iter()
        .flatten()
    }
}

/// No address reuse: it would hide listeners on some systems and bound sockets on Linux.
fn bind(protocol: Protocol, address: SocketAddr) -> io::Result<()> {
    let kind = if protocol == Protocol::TCP { Type::STREAM } else { Type::DGRAM };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // A dual-stack socket would test IPv4 as well.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn port_of(address: SocketAddr) -> Port {
        Port::new("port", i64::from(address.port())).unwrap()
    }

    #[test]
    fn each_switch_removes_exactly_its_own_probes() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = port_of(udp.local_addr().unwrap());
        let policy = OccupancyPolicy::default();
        assert_eq!(policy.probe(port), Occupancy::Occupied);
        for free in [
            OccupancyPolicy { skip: true, ..policy },
            OccupancyPolicy { skip_udp: true, skip_ipv6: true, ..policy },
            OccupancyPolicy { skip_ipv4: true, ..policy },
            OccupancyPolicy { skip_tcp: true, skip_udp: true, ..policy },
        ] {
            assert_eq!(free.probe(port), Occupancy::Free, "{free:?}");
        }
        let tcp_off = OccupancyPolicy { skip_tcp: true, ..policy };
        assert_eq!(tcp_off.probe(port), Occupancy::Occupied);
    }

    #[test]
    fn a_listener_on_another_loopback_address_counts_only_for_all_interfaces() {
        let Ok(listener) = TcpListener::bind("127.0.0.2:0") else { return };
        let port = port_of(listener.local_addr().unwrap());
        let ipv4 = OccupancyPolicy { skip_ipv6: true, skip_udp: true, ..OccupancyPolicy::default() };
        assert_eq!(ipv4.probe(port), Occupancy::Free);
        let all = OccupancyPolicy { check_all_interfaces: true, ..ipv4 };
        assert_eq!(all.probe(port), Occupancy::Occupied);
    }

    #[test]
    fn an_ipv6_listener_does_not_occupy_ipv4() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let port = port_of(listener.local_addr().unwrap());
        assert_eq!(OccupancyPolicy::default().probe(port), Occupancy::Occupied);
        let ipv4 = OccupancyPolicy { skip_ipv6: true, ..OccupancyPolicy::default() };
        assert_eq!(ipv4.probe(port), Occupancy::Free);
    }
}
