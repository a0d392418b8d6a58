//! Finds out whether a program on this machine has a port bound, by trying to bind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{fmt, io};

use socket2::{Domain, Socket, Type};

use crate::model::Port;
use crate::os::net::is_family_missing;
use crate::os::sock_diag::BoundSocket;

/// Which sockets keep a port from being given out. By default TCP and UDP, IPv4 and IPv6; for a reservation
/// those on loopback, for a lease those on any address.
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
    /// Whether a socket on any address counts, not only one that keeps others from loopback. None means the
    /// default: true for leases, false for everything else.
    pub check_all_interfaces: Option<bool>,
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
    /// Nobody listens. Connections are left, which end within 60 s after both sides have closed them. A
    /// server that sets `SO_REUSEADDR` can use the port now.
    Closing,
    /// This user may not bind the port, for the reason given, so it is never given out.
    Forbidden(String),
    /// The probe was inconclusive, for the reason given. The port may be occupied and is never given out.
    Unknown(String),
    /// This machine does not have the address family.
    Dropped,
}

/// What is bound to test a port: an address of one protocol.
#[derive(Clone, Copy)]
pub(crate) struct Binding {
    protocol: Protocol,
    address: IpAddr,
    /// Whether the address, which is `::` then, means all IPv4 addresses as well.
    is_dual_stack: bool,
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

    /// Binds the port and releases it. Never [`Verdict::Closing`]: that port counts as occupied here.
    #[must_use]
    pub fn run(self, port: Port) -> Verdict {
        self.binding().run(port)
    }

    pub(crate) fn binding(self) -> Binding {
        Binding { protocol: self.protocol, address: self.address(), is_dual_stack: false }
    }

    /// Describes an inconclusive probe: what was probed, and why it failed.
    pub(crate) fn describe(self, port: Port, reason: &str) -> String {
        self.binding().describe(port, reason)
    }
}

impl Binding {
    /// All addresses of the families that a policy does not skip.
    fn everywhere(protocol: Protocol, policy: OccupancyPolicy) -> Option<Binding> {
        let (address, is_dual_stack) = match (policy.skip_ipv4, policy.skip_ipv6) {
            (false, false) => (Ipv6Addr::UNSPECIFIED.into(), true),
            (false, true) => (Ipv4Addr::UNSPECIFIED.into(), false),
            (true, false) => (Ipv6Addr::UNSPECIFIED.into(), false),
            (true, true) => return None,
        };
        Some(Binding { protocol, address, is_dual_stack })
    }

    pub(crate) fn protocol(self) -> Protocol {
        self.protocol
    }

    /// Binds the port and releases it.
    pub(crate) fn run(self, port: Port) -> Verdict {
        self.bind(port, false)
    }

    /// As [`Binding::run`], but tells a port that may be closing from one that something has. A socket that
    /// is bound with `SO_REUSEADDR` and does not listen yet looks like that too.
    pub(crate) fn examine(self, port: Port) -> Verdict {
        // UDP has no such state, and elsewhere the option hides sockets that are bound or listen.
        self.bind(port, cfg!(target_os = "linux") && self.protocol == Protocol::Tcp)
    }

    fn bind(self, port: Port, tells_closing: bool) -> Verdict {
        match judge(bind(self, port, tells_closing)) {
            Verdict::Dropped if self.is_dual_stack => self.only_ipv4().bind(port, tells_closing),
            verdict => verdict,
        }
    }

    /// For a machine without IPv6.
    fn only_ipv4(self) -> Binding {
        Binding { address: Ipv4Addr::UNSPECIFIED.into(), is_dual_stack: false, ..self }
    }

    /// Whether a socket of the same protocol and port keeps this from being bound.
    pub(crate) fn collides_with(self, socket: &BoundSocket) -> bool {
        let bound = socket.address.ip();
        let is_any = self.address.is_unspecified() || bound.is_unspecified();
        match (self.address, bound) {
            _ if self.is_dual_stack => true,
            (IpAddr::V4(_), IpAddr::V6(_)) => bound.is_unspecified() && !socket.only_v6,
            (IpAddr::V6(_), IpAddr::V4(_)) => false,
            (own, bound) => is_any || own == bound,
        }
    }

    /// Describes a probe that failed: what was probed, and why it failed.
    fn describe(self, port: Port, reason: &str) -> String {
        let address = SocketAddr::new(self.address, port.get());
        let family = match (self.is_dual_stack, self.address) {
            (true, _) => "IPv4 and IPv6",
            (_, IpAddr::V4(_)) => "IPv4",
            _ => "IPv6",
        };
        let scope = if self.address.is_unspecified() { Scope::Wildcard } else { Scope::Localhost };
        format!("{} probe of {address} ({family} {}): {reason}", self.protocol, scope.name())
    }
}

fn judge(bound: io::Result<Verdict>) -> Verdict {
    match bound {
        Ok(verdict) => verdict,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Verdict::Occupied,
        Err(error) if is_family_missing(&error) => Verdict::Dropped,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Verdict::Forbidden(format!("{error}: this user may not bind the port"))
        }
        Err(error) => Verdict::Unknown(error.to_string()),
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
    /// Returns this policy with the switches of another one turned on as well, and with what that one says
    /// about all interfaces, if it says anything.
    #[must_use]
    pub fn with(self, other: OccupancyPolicy) -> OccupancyPolicy {
        OccupancyPolicy {
            skip: self.skip || other.skip,
            skip_tcp: self.skip_tcp || other.skip_tcp,
            skip_udp: self.skip_udp || other.skip_udp,
            skip_ipv4: self.skip_ipv4 || other.skip_ipv4,
            skip_ipv6: self.skip_ipv6 || other.skip_ipv6,
            check_all_interfaces: other.check_all_interfaces.or(self.check_all_interfaces),
        }
    }

    /// This policy with the default for leases, whose servers listen on any address.
    pub(crate) fn for_lease(self) -> OccupancyPolicy {
        OccupancyPolicy { check_all_interfaces: self.check_all_interfaces.or(Some(true)), ..self }
    }

    fn checks_all_interfaces(self) -> bool {
        self.check_all_interfaces == Some(true)
    }

    /// The probes to make, in order: IPv4 localhost TCP, UDP, wildcard TCP, UDP, then the same for IPv6.
    pub fn probes(self) -> impl Iterator<Item = Probe> {
        [(Family::Ipv4, self.skip_ipv4), (Family::Ipv6, self.skip_ipv6)]
            .into_iter()
            .filter(move |(_, skipped)| !skipped && !self.skip)
            .flat_map(move |(family, _)| {
                [(Scope::Localhost, true), (Scope::Wildcard, self.checks_all_interfaces())]
                    .into_iter()
                    .filter_map(move |(scope, asked)| asked.then_some((family, scope)))
            })
            .flat_map(move |(family, scope)| {
                [(Protocol::Tcp, self.skip_tcp), (Protocol::Udp, self.skip_udp)].into_iter().filter_map(
                    move |(protocol, skipped)| (!skipped).then_some(Probe { protocol, family, scope }),
                )
            })
    }

    /// What decides whether a port is in use, apart from its connections: it must be possible to bind all of
    /// these.
    pub(crate) fn bindings(self) -> Vec<Binding> {
        if cfg!(target_os = "linux") && self.checks_all_interfaces() {
            self.protocols().filter_map(|protocol| Binding::everywhere(protocol, self)).collect()
        } else {
            self.probes().map(Probe::binding).collect()
        }
    }

    fn protocols(self) -> impl Iterator<Item = Protocol> {
        [(Protocol::Tcp, self.skip_tcp), (Protocol::Udp, self.skip_udp)]
            .into_iter()
            .filter_map(move |(protocol, skipped)| (!skipped && !self.skip).then_some(protocol))
    }

    /// Whether a port can be bound on all addresses at once. On Linux it is free on each of them then, which
    /// takes two sockets instead of four.
    fn is_free_everywhere(self, port: Port) -> bool {
        cfg!(target_os = "linux")
            && self
                .protocols()
                .filter_map(|protocol| Binding::everywhere(protocol, self))
                .all(|binding| matches!(binding.run(port), Verdict::Free | Verdict::Dropped))
    }

    /// Probes a port until something is found that keeps it from being given out. [`Verdict::Closing`] is as
    /// in [`Binding::examine`]: the port may be closing.
    pub(crate) fn probe(self, port: Port) -> Verdict {
        if !self.checks_all_interfaces() && self.is_free_everywhere(port) {
            return Verdict::Free;
        }
        let mut found = Verdict::Free;
        for binding in self.bindings() {
            match binding.examine(port) {
                Verdict::Free | Verdict::Dropped => {}
                Verdict::Closing => found = Verdict::Closing,
                Verdict::Occupied => return Verdict::Occupied,
                Verdict::Forbidden(reason) => return Verdict::Forbidden(binding.describe(port, &reason)),
                Verdict::Unknown(reason) => return Verdict::Unknown(binding.describe(port, &reason)),
            }
        }
        found
    }
}

/// Binds a port without address reuse and releases it. If that is not possible and `tells_closing`, tries
/// once more with it, which works beside sockets that allow it and do not listen.
fn bind(binding: Binding, port: Port, tells_closing: bool) -> io::Result<Verdict> {
    let (kind, protocol) = match binding.protocol {
        Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
        Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
    };
    let address = SocketAddr::new(binding.address, port.get());
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Not the system's default, which may be either.
        socket.set_only_v6(!binding.is_dual_stack)?;
    }
    match socket.bind(&address.into()) {
        Err(error) if tells_closing && error.kind() == io::ErrorKind::AddrInUse => {
            socket.set_reuse_address(true)?;
            socket.bind(&address.into()).map(|()| Verdict::Closing)
        }
        bound => bound.map(|()| Verdict::Free),
    }
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
        let all = OccupancyPolicy { check_all_interfaces: Some(true), ..ipv4 };
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
            assert_eq!(judge(Err(io::Error::from_raw_os_error(number))), Verdict::Dropped);
        }
        assert!(matches!(judge(Err(io::ErrorKind::PermissionDenied.into())), Verdict::Forbidden(_)));
        assert!(matches!(judge(Err(io::ErrorKind::Other.into())), Verdict::Unknown(_)));
        assert_eq!(judge(Err(io::ErrorKind::AddrInUse.into())), Verdict::Occupied);
    }

    #[test]
    fn the_probes_come_in_the_order_of_the_contract() {
        let all = OccupancyPolicy { check_all_interfaces: Some(true), ..OccupancyPolicy::default() };
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
