//! A cache of the probes of one search for ports.

use std::collections::BTreeMap;

use super::occupancy::{OccupancyPolicy, Verdict};
use crate::model::Port;

/// The results of probes, so that no port is probed twice in one search.
pub(crate) struct ProbeCache {
    policy: OccupancyPolicy,
    occupied: BTreeMap<Port, bool>,
    /// The first probe that failed for another reason than "address in use".
    failure: Option<String>,
}

impl ProbeCache {
    pub(crate) fn new(policy: OccupancyPolicy) -> ProbeCache {
        ProbeCache { policy, occupied: BTreeMap::new(), failure: None }
    }

    /// Whether a program has the port bound, or may have. Probes the port unless its result is cached.
    pub(crate) fn is_occupied(&mut self, port: Port) -> bool {
        *self.occupied.entry(port).or_insert_with(|| match self.policy.probe(port) {
            Verdict::Unknown(failure) => {
                self.failure.get_or_insert(failure);
                true
            }
            verdict => verdict == Verdict::Occupied,
        })
    }

    /// Notes that something has bound a port since it was probed.
    pub(crate) fn note_occupied(&mut self, port: Port) {
        self.occupied.insert(port, true);
    }

    /// The first probe that failed for another reason than "address in use", if one did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_probed_twice_in_one_search() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = Port::new("port", i64::from(socket.local_addr().unwrap().port())).unwrap();
        let mut probes = ProbeCache::new(OccupancyPolicy::default());
        assert!(probes.is_occupied(port));
        drop(socket);
        assert!(probes.is_occupied(port), "as it was found first");
        let skipped = OccupancyPolicy { skip: true, ..OccupancyPolicy::default() };
        let mut probes = ProbeCache::new(skipped);
        assert!(!probes.is_occupied(port));
        probes.note_occupied(port);
        assert!(probes.is_occupied(port));
    }
}
