//! What the kernel says about the sockets of this machine, asked at once for all ports.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::occupancy::{Binding, OccupancyPolicy, Probe, Protocol, Verdict};
use crate::model::Port;
use crate::os::net::{connections_of_port, may_bind};
use crate::os::sock_diag::{self, BoundSocket};

/// Sockets of one protocol that keep others from binding their ports, as they were at one moment.
pub(crate) struct KernelSockets {
    protocol: Protocol,
    /// In the order of their ports.
    sockets: Vec<BoundSocket>,
    /// When the kernel was asked, and how long it took to answer.
    asked: Instant,
    took: Duration,
}

impl KernelSockets {
    /// TCP sockets that listen. None where the kernel does not tell.
    pub(crate) fn listeners() -> Option<KernelSockets> {
        KernelSockets::of(Protocol::Tcp, sock_diag::tcp_listeners)
    }

    /// All UDP sockets. None where the kernel does not tell.
    pub(crate) fn udp() -> Option<KernelSockets> {
        KernelSockets::of(Protocol::Udp, sock_diag::udp)
    }

    /// TCP sockets that are bound and neither listen nor have a connection. None where the kernel does not
    /// tell.
    pub(crate) fn bound() -> Option<KernelSockets> {
        KernelSockets::of(Protocol::Tcp, sock_diag::tcp_bound)
    }

    fn of(protocol: Protocol, ask: fn() -> io::Result<Vec<BoundSocket>>) -> Option<KernelSockets> {
        let asked = Instant::now();
        let mut sockets = ask()
            .inspect_err(|error| log::debug!("trop: the kernel does not tell its sockets: {error}"))
            .ok()?;
        sockets.sort_unstable_by_key(|socket| socket.address.port());
        Some(KernelSockets { protocol, sockets, asked, took: asked.elapsed() })
    }

    /// How long ago the kernel was asked.
    pub(crate) fn age(&self) -> Duration {
        self.asked.elapsed()
    }

    /// How long the kernel took to answer.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }

    /// Whether any of the sockets has the port.
    pub(crate) fn have(&self, port: Port) -> bool {
        self.of_port(port).next().is_some()
    }

    /// Whether one of the sockets keeps the port from being bound in one of these ways.
    pub(crate) fn prevent(&self, bindings: &[Binding], port: Port) -> bool {
        self.of_port(port).any(|socket| {
            bindings
                .iter()
                .any(|binding| binding.protocol() == self.protocol && binding.collides_with(socket))
        })
    }

    fn of_port(&self, port: Port) -> impl Iterator<Item = &BoundSocket> {
        let first = self.sockets.partition_point(|socket| socket.address.port() < port.get());
        self.sockets[first..].iter().take_while(move |socket| socket.address.port() == port.get())
    }
}

/// What the probes of a policy would find for a port, as far as the kernel tells without binding it. None
/// where it does not tell.
pub(crate) fn verdicts(policy: OccupancyPolicy, port: Port) -> Option<Vec<(Probe, Verdict)>> {
    let sockets = [KernelSockets::listeners()?, KernelSockets::udp()?, KernelSockets::bound()?];
    let connections: Vec<_> = connections_of_port(port.get())
        .into_iter()
        .map(|ip| BoundSocket { address: SocketAddr::new(ip, port.get()), only_v6: false })
        .collect();
    let verdict = |probe: Probe| {
        let binding = probe.binding();
        if sockets.iter().any(|sockets| sockets.prevent(&[binding], port)) {
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
