//! A cache of the probes of one search for ports.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::kernel_sockets::KernelSockets;
use super::occupancy::{Binding, OccupancyPolicy, Verdict};
use crate::model::Port;

/// Whether a port can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    Free,
    /// Nobody has it, and connections are left: a server that sets `SO_REUSEADDR` can use it.
    Closing,
    /// Something has it, or may have.
    InUse,
    /// This user may not bind it.
    Forbidden,
}

/// The results of probes, so that no port is probed twice in one search.
pub(crate) struct ProbeCache {
    policy: OccupancyPolicy,
    bindings: Vec<Binding>,
    known: BTreeMap<Port, Availability>,
    /// The first probe that failed for another reason than "address in use".
    failure: Option<String>,
    /// How many ports in a row were probed and in use.
    in_vain: u32,
    /// What the kernel was asked so far, in the order of [`QUESTIONS`], and what it told.
    listed: Vec<Option<KernelSockets>>,
    bound: OnceCell<Option<Arc<KernelSockets>>>,
}

/// After so many probes in vain the kernel is asked for all ports in use.
const ASK_AFTER: u32 = 3;

/// Listeners are the most frequent obstacle, so there is a second question only if probes are still in vain.
const QUESTIONS: [fn() -> Option<KernelSockets>; 2] = [KernelSockets::listeners, KernelSockets::udp];

impl ProbeCache {
    pub(crate) fn new(policy: OccupancyPolicy) -> ProbeCache {
        ProbeCache {
            policy,
            bindings: policy.bindings(),
            known: BTreeMap::new(),
            failure: None,
            in_vain: 0,
            listed: Vec::new(),
            bound: OnceCell::new(),
        }
    }

    /// Whether a port can be used. Probes it, unless its result is cached or the kernel has told that
    /// something has it.
    pub(crate) fn availability(&mut self, port: Port) -> Availability {
        if let Some(known) = self.known.get(&port) {
            return *known;
        }
        if self.is_listed(port) {
            return Availability::InUse;
        }
        let found = self.probe(port);
        self.known.insert(port, found);
        self.in_vain = if found == Availability::InUse { self.in_vain + 1 } else { 0 };
        if self.in_vain == ASK_AFTER {
            self.in_vain = 0;
            self.ask();
        }
        found
    }

    /// As [`ProbeCache::availability`], for a port that is not going to be given out: without a probe where
    /// the kernel tells who listens.
    pub(crate) fn availability_unprobed(&mut self, port: Port) -> Availability {
        while self.ask() {}
        if self.listed.iter().any(Option::is_none) {
            return self.availability(port);
        }
        let unprobed = if self.is_listed(port) { Availability::InUse } else { Availability::Free };
        self.known.get(&port).copied().unwrap_or(unprobed)
    }

    /// Whether a port that was found closing still is, or is free by now.
    pub(crate) fn is_still_usable(&mut self, port: Port) -> bool {
        self.known.remove(&port);
        self.bound = OnceCell::new();
        matches!(self.availability(port), Availability::Free | Availability::Closing)
    }

    /// The answer of the kernel by which closing ports are told from bound ones, if it was asked.
    pub(crate) fn bound(&self) -> Option<&Arc<KernelSockets>> {
        self.bound.get()?.as_ref()
    }

    /// Uses an earlier answer.
    pub(crate) fn use_bound(&mut self, bound: Arc<KernelSockets>) {
        self.bound = OnceCell::from(Some(bound));
    }

    /// Notes that something has bound a port since it was probed.
    pub(crate) fn note_occupied(&mut self, port: Port) {
        self.known.insert(port, Availability::InUse);
    }

    /// The first probe that failed for another reason than "address in use", if one did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    fn probe(&mut self, port: Port) -> Availability {
        match self.policy.probe(port) {
            Verdict::Free | Verdict::Dropped => Availability::Free,
            Verdict::Closing if self.is_closing(port) => Availability::Closing,
            Verdict::Closing | Verdict::Occupied => Availability::InUse,
            Verdict::Forbidden(failure) => {
                self.failure.get_or_insert(failure);
                Availability::Forbidden
            }
            Verdict::Unknown(failure) => {
                self.failure.get_or_insert(failure);
                Availability::InUse
            }
        }
    }

    /// Asks the kernel the next question. Returns whether there was one left.
    fn ask(&mut self) -> bool {
        let question = QUESTIONS.get(self.listed.len());
        self.listed.extend(question.map(|question| question()));
        question.is_some()
    }

    /// Whether the kernel has told that something has the port.
    fn is_listed(&self, port: Port) -> bool {
        self.listed.iter().flatten().any(|sockets| sockets.prevent(&self.bindings, port))
    }

    /// Whether a port that can be bound with address reuse belongs to nobody. Where the kernel does not tell,
    /// somebody may be about to listen on it.
    fn is_closing(&self, port: Port) -> bool {
        let bound = self.bound.get_or_init(|| KernelSockets::bound().map(Arc::new)).as_ref();
        bound.is_some_and(|sockets| !sockets.have(port))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn port_of(address: SocketAddr) -> Port {
        Port::new("port", i64::from(address.port())).unwrap()
    }

    fn availability(policy: OccupancyPolicy, port: Port) -> Availability {
        ProbeCache::new(policy).availability(port)
    }

    /// A socket that allows reuse and does not listen yet is told from a closing port only by the kernel.
    /// Trap 95 (address reuse hides the owner).
    #[test]
    fn a_bound_socket_that_may_be_reused_occupies_its_port() {
        for kind in [Type::STREAM, Type::DGRAM] {
            let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
            let port = port_of(socket.local_addr().unwrap().as_socket().unwrap());
            let policy = OccupancyPolicy::default();
            assert_eq!(availability(policy, port), Availability::InUse, "{kind:?}");
            assert_eq!(availability(policy.for_lease(), port), Availability::InUse, "{kind:?}");
        }
    }

    /// The standard library's listeners set `SO_REUSEADDR`, and so do the connections they accept.
    #[test]
    #[cfg(target_os = "linux")]
    fn connections_are_in_nobodys_way_once_their_listener_has_gone() {
        if KernelSockets::bound().is_none() {
            eprintln!("this kernel does not tell which sockets are bound");
            return;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = port_of(listener.local_addr().unwrap());
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let policies = [OccupancyPolicy::default(), OccupancyPolicy::default().for_lease()];
        for policy in policies {
            assert_eq!(availability(policy, port), Availability::InUse);
        }
        drop(listener);
        for policy in policies {
            assert_eq!(availability(policy, port), Availability::Closing, "with a connection");
        }
        // The side that closes first keeps the port.
        drop(server);
        drop(client);
        for policy in policies {
            assert_eq!(availability(policy, port), Availability::Closing, "after it");
            let datagrams = OccupancyPolicy { skip_tcp: true, ..policy };
            assert_eq!(availability(datagrams, port), Availability::Free, "UDP has no such state");
        }
        // The client's own port: it does not set the option, and a server could not listen on it.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = port_of(client.local_addr().unwrap());
        for policy in policies {
            assert_eq!(availability(policy, port), Availability::InUse);
        }
    }

    /// The first three are probed, the others are listed; what is not listed is probed again.
    #[test]
    #[cfg(target_os = "linux")]
    fn ports_in_use_are_listed_by_the_kernel_and_free_ones_are_probed() {
        let listeners: Vec<_> =
            (0..5).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let datagrams: Vec<_> = (0..5).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let tcp: Vec<_> = listeners.iter().map(|socket| port_of(socket.local_addr().unwrap())).collect();
        let udp: Vec<_> = datagrams.iter().map(|socket| port_of(socket.local_addr().unwrap())).collect();
        for policy in [OccupancyPolicy::default(), OccupancyPolicy::default().for_lease()] {
            let mut probes = ProbeCache::new(policy);
            for (asked, ports) in [(0, &tcp), (1, &udp)] {
                for port in &ports[..3] {
                    assert_eq!(probes.listed.len(), asked, "no question for a few ports");
                    assert_eq!(probes.availability(*port), Availability::InUse);
                }
                assert_eq!(probes.listed.len(), asked + 1);
                // Not probed, or they would be known.
                for port in &ports[3..] {
                    assert_eq!(probes.availability(*port), Availability::InUse);
                    assert!(!probes.known.contains_key(port));
                }
            }
            let late = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let late = port_of(late.local_addr().unwrap());
            assert_eq!(probes.availability(late), Availability::InUse, "not listed, so it was probed");
        }
    }

    #[test]
    fn no_port_is_probed_twice_in_one_search() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = Port::new("port", i64::from(socket.local_addr().unwrap().port())).unwrap();
        let mut probes = ProbeCache::new(OccupancyPolicy::default());
        assert_eq!(probes.availability(port), Availability::InUse);
        drop(socket);
        assert_eq!(probes.availability(port), Availability::InUse, "as it was found first");
        let skipped = OccupancyPolicy { skip: true, ..OccupancyPolicy::default() };
        let mut probes = ProbeCache::new(skipped);
        assert_eq!(probes.availability(port), Availability::Free);
        probes.note_occupied(port);
        assert_eq!(probes.availability(port), Availability::InUse);
    }
}
