//! Finds out whether a program on this machine has a port bound, by trying to bind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{fmt, io};

use socket2::{Domain, Socket, Type};

use crate::model::Port;
use crate::os::net::is_family_missing;

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

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A version of the internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Family {
    Ipv4,
    Ipv6,
}

/// Which addresses are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The loopback address.
    Localhost,
    /// All addresses at once.
    Wildcard,
}

impl Protocol {
    /// `tcp` or `udp`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl Family {
    /// `ipv4` or `ipv6`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        }
    }
}

impl Scope {
    /// `localhost` or `wildcard`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scope::Localhost => "localhost",
            Scope::Wildcard => "wildcard",
        }
    }
}

/// One test whether a port is bound: the protocol, family and addresses with which it is bound and released
/// at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Probe {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Loopback or every address.
    pub scope: Scope,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing has the port.
    Free,
    /// Something has it.
    Occupied,
    /// The probe was inconclusive, for the reason given. The port may be occupied and is never given out.
    Unknown(String),
    /// This machine does not have the address family.
    Dropped,
}

impl Probe {
    /// The address that is bound: `127.0.0.1`, `0.0.0.0`, `::1` or `::`.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match (self.family, self.scope) {
            (Family::Ipv4, Scope::Localhost) => Ipv4Addr::LOCALHOST.into(),
            (Family::Ipv4, Scope::Wildcard) => Ipv4Addr::UNSPECIFIED.into(),
            (Family::Ipv6, Scope::Localhost) => Ipv6Addr::LOCALHOST.into(),
            (Family::Ipv6, Scope::Wildcard) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Binds the port and releases it.
    #[must_use]
    pub fn run(self, port: Port) -> Verdict {
        Probe::judge(bind(self.protocol, SocketAddr::new(self.address(), port.get())))
    }

    /// Describes an inconclusive probe: what was probed, and why it failed.
    pub(crate) fn describe(self, port: Port, reason: &str) -> String {
        let address = SocketAddr::new(self.address(), port.get());
        let Probe { protocol, family, scope } = self;
        format!("{protocol} probe of {address} ({family} {}): {reason}", scope.name())
    }

    fn judge(bound: io::Result<()>) -> Verdict {
        match bound {
            Ok(()) => Verdict::Free,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Verdict::Occupied,
            Err(error) if is_family_missing(&error) => Verdict::Dropped,
            Err(error) => Verdict::Unknown(error.to_string()),
        }
    }
}

/// `TCP` or `UDP`.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        })
    }
}

/// `IPv4` or `IPv6`.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        })
    }
}

/// Such as `TCP IPv4 localhost at 127.0.0.1`.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Probe { protocol, family, scope } = self;
        write!(f, "{protocol} {family} {} at {}", scope.name(), self.address())
    }
}

impl OccupancyPolicy {
    /// Returns this policy with the switches of another one turned on as well.
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

    /// The probes to make, in order: IPv4 localhost TCP, UDP, wildcard TCP, UDP, then the same for IPv6.
    pub fn probes(self) -> impl Iterator<Item = Probe> {
        [(Family::Ipv4, self.skip_ipv4), (Family::Ipv6, self.skip_ipv6)]
            .into_iter()
            .filter(move |(_, skipped)| !skipped && !self.skip)
            .flat_map(move |(family, _)| {
                [(Scope::Localhost, true), (Scope::Wildcard, self.check_all_interfaces)]
                    .into_iter()
                    .filter_map(move |(scope, asked)| asked.then_some((family, scope)))
            })
            .flat_map(move |(family, scope)| {
                [(Protocol::Tcp, self.skip_tcp), (Protocol::Udp, self.skip_udp)].into_iter().filter_map(
                    move |(protocol, skipped)| (!skipped).then_some(Probe { protocol, family, scope }),
                )
            })
    }

    /// Makes the probes until one of them finds the port occupied or is inconclusive.
    pub(crate) fn probe(self, port: Port) -> Verdict {
        for probe in self.probes() {
            match probe.run(port) {
                Verdict::Free | Verdict::Dropped => {}
                Verdict::Occupied => return Verdict::Occupied,
                Verdict::Unknown(reason) => {
                    return Verdict::Unknown(probe.describe(port, &reason));
                }
            }
        }
        Verdict::Free
    }
}

/// Binds without address reuse, which would hide listeners on some systems and bound sockets on Linux.
fn bind(protocol: Protocol, address: SocketAddr) -> io::Result<()> {
    let (kind, protocol) = match protocol {
        Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
        Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // A dual-stack socket would bind all IPv4 addresses as well.
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

    /// Trap 93 (a switch removes too many probes).
    #[test]
    fn each_switch_removes_exactly_its_own_probes() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = port_of(udp.local_addr().unwrap());
        let policy = OccupancyPolicy::default();
        assert_eq!(policy.probe(port), Verdict::Occupied);
        for free in [
            OccupancyPolicy { skip: true, ..policy },
            OccupancyPolicy { skip_udp: true, skip_ipv6: true, ..policy },
            OccupancyPolicy { skip_ipv4: true, ..policy },
            OccupancyPolicy { skip_tcp: true, skip_udp: true, ..policy },
        ] {
            assert_eq!(free.probe(port), Verdict::Free, "{free:?}");
        }
        let tcp_off = OccupancyPolicy { skip_tcp: true, ..policy };
        assert_eq!(tcp_off.probe(port), Verdict::Occupied);
    }

    #[test]
    fn a_listener_on_another_loopback_address_counts_only_for_all_interfaces() {
        let Ok(listener) = TcpListener::bind("127.0.0.2:0") else { return };
        let port = port_of(listener.local_addr().unwrap());
        let ipv4 = OccupancyPolicy { skip_ipv6: true, skip_udp: true, ..OccupancyPolicy::default() };
        assert_eq!(ipv4.probe(port), Verdict::Free);
        let all = OccupancyPolicy { check_all_interfaces: true, ..ipv4 };
        assert_eq!(all.probe(port), Verdict::Occupied);
    }

    /// Trap 94 (an IPv6 probe asks for IPv4).
    #[test]
    fn an_ipv6_listener_does_not_occupy_ipv4() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let port = port_of(listener.local_addr().unwrap());
        assert_eq!(OccupancyPolicy::default().probe(port), Verdict::Occupied);
        let ipv4 = OccupancyPolicy { skip_ipv6: true, ..OccupancyPolicy::default() };
        assert_eq!(ipv4.probe(port), Verdict::Free);
    }

    /// Traps 96 (no IPv6), 97 (one failing probe ends the look).
    #[test]
    fn a_missing_family_drops_the_probe_and_any_other_failure_leaves_doubt() {
        #[cfg(unix)]
        for number in [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL] {
            assert_eq!(Probe::judge(Err(io::Error::from_raw_os_error(number))), Verdict::Dropped);
        }
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::Other] {
            assert!(matches!(Probe::judge(Err(kind.into())), Verdict::Unknown(_)));
        }
        assert_eq!(Probe::judge(Err(io::ErrorKind::AddrInUse.into())), Verdict::Occupied);
    }

    /// A socket that allows reuse and does not listen yet is detected only by a probe that does not ask for
    /// reuse. Trap 95 (address reuse hides the owner).
    #[test]
    fn a_bound_socket_that_may_be_reused_occupies_its_port() {
        for kind in [Type::STREAM, Type::DGRAM] {
            let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
            let port = port_of(socket.local_addr().unwrap().as_socket().unwrap());
            assert_eq!(OccupancyPolicy::default().probe(port), Verdict::Occupied, "{kind:?}");
        }
    }

    #[test]
    fn the_probes_come_in_the_order_of_the_contract() {
        let all = OccupancyPolicy { check_all_interfaces: true, ..OccupancyPolicy::default() };
        let names: Vec<String> = all.probes().map(|probe| probe.to_string()).collect();
        assert_eq!(
            names,
            [
                "TCP IPv4 localhost at 127.0.0.1",
                "UDP IPv4 localhost at 127.0.0.1",
                "TCP IPv4 wildcard at 0.0.0.0",
                "UDP IPv4 wildcard at 0.0.0.0",
                "TCP IPv6 localhost at ::1",
                "UDP IPv6 localhost at ::1",
                "TCP IPv6 wildcard at ::",
                "UDP IPv6 wildcard at ::",
            ]
        );
        assert_eq!(OccupancyPolicy { skip: true, ..all }.probes().count(), 0);
    }
}
