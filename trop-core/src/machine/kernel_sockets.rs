//! What the kernel says about the sockets of this machine, asked at once for all ports.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::occupancy::{Binding, OccupancyPolicy, Probe, Protocol, Verdict};
use crate::model::Port;
use crate::os::net::{connections_of_port, may_bind};
use crate::os::sock_diag::{self, BoundSocket};

/// Sockets that keep others from binding their ports, as they were at one moment.
pub(crate) struct KernelSockets {
    sockets: HashMap<(Protocol, u16), Vec<BoundSocket>>,
    /// When the kernel was asked.
    asked: Instant,
}

impl KernelSockets {
    /// TCP sockets that listen, and all UDP sockets. None where the kernel does not tell.
    pub(crate) fn in_use() -> Option<KernelSockets> {
        let (tcp, udp) = (sock_diag::tcp_listeners(), sock_diag::udp());
        KernelSockets::of([(Protocol::Tcp, tcp), (Protocol::Udp, udp)])
    }

    /// TCP sockets that are bound and neither listen nor have a connection. None where the kernel does not
    /// tell.
    pub(crate) fn bound() -> Option<KernelSockets> {
        KernelSockets::of([(Protocol::Tcp, sock_diag::tcp_bound())])
    }

    fn of<const N: usize>(
        answers: [(Protocol, std::io::Result<Vec<BoundSocket>>); N],
    ) -> Option<KernelSockets> {
        let asked = Instant::now();
        let mut sockets: HashMap<_, Vec<_>> = HashMap::new();
        for (protocol, answer) in answers {
            let answer = answer
                .inspect_err(|error| log::debug!("trop: the kernel does not tell its sockets: {error}"))
                .ok()?;
            for socket in answer {
                sockets.entry((protocol, socket.address.port())).or_default().push(socket);
            }
        }
        Some(KernelSockets { sockets, asked })
    }

    /// How long ago the kernel was asked.
    pub(crate) fn age(&self) -> Duration {
        self.asked.elapsed()
    }

    /// Whether any TCP socket has the port.
    pub(crate) fn has_tcp(&self, port: Port) -> bool {
        self.sockets.contains_key(&(Protocol::Tcp, port.get()))
    }

    /// Whether one of the sockets keeps the port from being bound in this way.
    pub(crate) fn prevent(&self, binding: Binding, port: Port) -> bool {
        let sockets = self.sockets.get(&(binding.protocol(), port.get()));
        sockets.is_some_and(|sockets| sockets.iter().any(|socket| binding.collides_with(socket)))
    }
}

/// What the probes of a policy would find for a port, as far as the kernel tells without binding it. None
/// where it does not tell.
pub(crate) fn verdicts(policy: OccupancyPolicy, port: Port) -> Option<Vec<(Probe, Verdict)>> {
    let (in_use, bound) = (KernelSockets::in_use()?, KernelSockets::bound()?);
    let connections: Vec<_> = connections_of_port(port.get())
        .into_iter()
        .map(|ip| BoundSocket { address: SocketAddr::new(ip, port.get()), only_v6: false })
        .collect();
    let verdict = |probe: Probe| {
        let binding = probe.binding();
        if in_use.prevent(binding, port) || bound.prevent(binding, port) {
            Verdict::Occupied
        } else if !may_bind(port.get()) {
            Verdict::Forbidden("this user may not bind the port".to_owned())
        } else if probe.protocol == Protocol::Tcp
            && connections.iter().any(|connection| binding.collides_with(connection))
        {
            Verdict::Closing
        } else {
            Verdict::Free
        }
    };
    Some(policy.probes().map(|probe| (probe, verdict(probe))).collect())
}
