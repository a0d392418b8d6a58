//! Which process has a port, as far as the operating system reports it (best effort).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::kernel_sockets::KernelSockets;
use super::occupancy::{Family, Probe, Protocol, Scope};
use crate::model::Port;
use crate::os::process::{directory_of_process, user_of_process};

/// The process that has a socket. Facts that could not be found out are absent, which does not mean that the
/// port is free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner {
    /// The process id.
    pub process_id: Option<u32>,
    /// The name of its program.
    pub process_name: Option<String>,
    /// The name of its user.
    pub user: Option<String>,
}

impl Owner {
    /// `available` if everything is known, `partial`, or `unavailable`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match (&self.process_id, &self.process_name, &self.user) {
            (Some(_), Some(_), Some(_)) => "available",
            (None, None, None) => "unavailable",
            _ => "partial",
        }
    }
}

/// A snapshot of all sockets and the processes that have them. Asking the system for each port would read
/// everything each time.
#[derive(Default)]
pub(crate) struct Owners(HashMap<(Protocol, u16), Vec<Socket>>);

/// A process that has a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) name: String,
}

struct Socket {
    address: IpAddr,
    process_id: u32,
    process_name: String,
}

impl Owners {
    pub(crate) fn snapshot() -> Owners {
        let mut owners = Owners::default();
        match listeners::get_all() {
            Ok(sockets) => sockets.into_iter().for_each(|socket| owners.add(socket)),
            Err(error) => log::debug!("trop: owners of sockets are unknown: {error}"),
        }
        owners
    }

    fn add(&mut self, found: listeners::Listener) {
        use listeners::{Protocol as Kind, SocketState};
        let protocol = match found.protocol {
            // A connection does not keep others from listening.
            Kind::TCP if found.state != SocketState::Listen => return,
            Kind::TCP => Protocol::Tcp,
            Kind::UDP => Protocol::Udp,
        };
        self.0.entry((protocol, found.socket.port())).or_default().push(Socket {
            address: found.socket.ip(),
            process_id: found.process.pid,
            process_name: found.process.name,
        });
    }

    /// The processes that listen on a TCP port, each once.
    pub(crate) fn listeners(&self, port: Port) -> Vec<Process> {
        self.users(port, &[Protocol::Tcp])
    }

    fn users(&self, port: Port, protocols: &[Protocol]) -> Vec<Process> {
        let mut processes: Vec<_> = protocols
            .iter()
            .filter_map(|protocol| self.0.get(&(*protocol, port.get())))
            .flatten()
            .map(|socket| Process { id: socket.process_id, name: socket.process_name.clone() })
            .collect();
        processes.sort();
        processes.dedup();
        processes
    }

    /// The owner of the socket that makes this probe fail.
    pub(crate) fn of(&self, port: Port, probe: Probe) -> Owner {
        let sockets = self.0.get(&(probe.protocol, port.get())).map(Vec::as_slice).unwrap_or_default();
        // Several processes may share a socket. Which one is named must not change from call to call.
        let socket = sockets
            .iter()
            .filter(|socket| collides(socket.address, probe))
            .min_by_key(|socket| (socket.address != probe.address(), socket.process_id));
        let Some(socket) = socket else { return Owner::default() };
        Owner {
            process_id: Some(socket.process_id),
            process_name: Some(socket.process_name.clone()).filter(|name| !name.is_empty()),
            user: user_of_process(socket.process_id),
        }
    }
}

/// A process that uses a port, and where it works.
pub(crate) struct PortUser {
    pub(crate) process: Process,
    pub(crate) directory: PathBuf,
}

/// The processes that listen on a TCP port or have a UDP port bound, by their ids, as far as their working
/// directories are known.
pub(crate) fn users_of_port(port: Port) -> Vec<PortUser> {
    // Nearly always nobody uses it, and the kernel knows that at once.
    let is_unused = |sockets: Option<KernelSockets>| sockets.is_some_and(|sockets| !sockets.have(port));
    if is_unused(KernelSockets::listeners()) && is_unused(KernelSockets::udp()) {
        return Vec::new();
    }
    let user = |process: Process| {
        let directory = directory_of_process(process.id)?;
        Some(PortUser { process, directory })
    };
    Owners::snapshot().users(port, &[Protocol::Tcp, Protocol::Udp]).into_iter().filter_map(user).collect()
}

/// Whether a socket at this address can be the reason why the probe failed.
fn collides(address: IpAddr, probe: Probe) -> bool {
    let same_family = address.is_ipv4() == (probe.family == Family::Ipv4);
    if !same_family {
        // A dual-stack socket listens for IPv4 too.
        return address == IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
    }
    probe.scope == Scope::Wildcard || address == probe.address() || address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_how_much_is_known() {
        let mut owner = Owner::default();
        assert_eq!(owner.status(), "unavailable");
        owner.process_id = Some(1);
        owner.process_name = Some("init".to_owned());
        assert_eq!(owner.status(), "partial");
        owner.user = Some("root".to_owned());
        assert_eq!(owner.status(), "available");
    }

    /// Trap 100 (an invented owner).
    #[test]
    fn nothing_is_invented_for_an_unknown_socket() {
        let port = Port::new("port", 1).unwrap();
        let probe = crate::OccupancyPolicy::default().probes().next().unwrap();
        assert_eq!(Owners::default().of(port, probe), Owner::default());
    }

    /// However many sockets there are, only those of the port are examined. Trap 101 (look-ups in square
    /// time).
    #[test]
    fn a_look_up_does_not_get_slower_with_the_number_of_sockets() {
        let probe = crate::OccupancyPolicy::default().probes().next().unwrap();
        let cost = |owners: &Owners| {
            let all = || {
                let start = std::time::Instant::now();
                let ports = (1..=30_000).map(|port| Port::new("port", port).unwrap());
                assert!(ports.into_iter().all(|port| owners.of(port, probe) == Owner::default()));
                start.elapsed()
            };
            (0..5).map(|_| all()).min().unwrap()
        };
        let empty = cost(&Owners::default());
        let sockets = (30_001..=60_000).map(|port| {
            let socket = Socket { address: probe.address(), process_id: 1, process_name: String::new() };
            ((Protocol::Tcp, port), vec![socket])
        });
        let many = cost(&Owners(sockets.collect()));
        assert!(many < empty * 50, "{many:?} instead of {empty:?}");
    }
}
