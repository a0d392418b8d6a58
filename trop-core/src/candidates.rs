//! The test a port has to pass before it is given out.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::error::{Blockers, Result};
use crate::occupancy::{OccupancyPolicy, Verdict};
use crate::port::{Port, PortRange, PortSet};
use crate::registry::Registry;
use crate::reserve::Refusal;
use crate::store;

/// The probes of one search: no port is probed twice.
pub(crate) struct Probing {
    policy: OccupancyPolicy,
    occupied: BTreeMap<Port, bool>,
    /// The first probe that failed for another reason than "address in use".
    failure: Option<String>,
}

impl Probing {
    pub(crate) fn new(policy: OccupancyPolicy) -> Probing {
        Probing { policy, occupied: BTreeMap::new(), failure: None }
    }

    /// Whether something has the port bound, or may have.
    pub(crate) fn finds(&mut self, port: Port) -> bool {
        *self.occupied.entry(port).or_insert_with(|| match self.policy.probe(port) {
            Verdict::Unknown(failure) => {
                self.failure.get_or_insert(failure);
                true
            }
            verdict => verdict == Verdict::Occupied,
        })
    }

    /// Notes that something has bound a port after all.
    pub(crate) fn add(&mut self, port: Port) {
        self.occupied.insert(port, true);
    }

    /// The first probe that failed for another reason than "address in use", if one did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}

/// Which obstacles count for a port that somebody prefers. Being reserved always does.
#[derive(Clone, Copy)]
pub(crate) struct Minds {
    pub(crate) exclusions: bool,
    pub(crate) occupancy: bool,
}

impl Minds {
    pub(crate) const ALL: Minds = Minds { exclusions: true, occupancy: true };
}

impl Registry {
    /// The first obstacle of one port in the contract's order, if there is one. A lease that has ended is none.
    pub(crate) fn refuse(
        &self,
        connection: &Connection,
        port: Port,
        range: PortRange,
        minds: Minds,
        probing: &mut Probing,
    ) -> Result<Option<Refusal>> {
        Ok(if !range.contains(port) {
            Some(Refusal::OutsideRange)
        } else if store::is_reserved(connection, port)? && !self.reclaimer(connection).port(port)? {
            Some(Refusal::Reserved)
        } else if minds.exclusions && self.configuration().excluded.contains(port) {
            Some(Refusal::Excluded)
        } else if minds.occupancy && probing.finds(port) {
            Some(Refusal::Occupied)
        } else {
            None
        })
    }
}

/// Ports in the light of what is reserved now. In sets, because whoever wants several at once asks about the same ports
/// again and again.
pub(crate) struct Candidates<'s> {
    reserved: PortSet,
    excluded: &'s PortSet,
    probing: Probing,
    /// Ports that were tested.
    seen: PortSet,
}

impl<'s> Candidates<'s> {
    pub(crate) fn read(
        connection: &Connection,
        excluded: &'s PortSet,
        occupancy: OccupancyPolicy,
    ) -> Result<Candidates<'s>> {
        Ok(Candidates {
            reserved: store::reserved_ports(connection, PortRange::ALL)?,
            excluded,
            probing: Probing::new(occupancy),
            seen: PortSet::default(),
        })
    }

    /// The first obstacle in the contract's order, if there is one.
    pub(crate) fn refuse(&mut self, port: Port) -> Option<Refusal> {
        self.seen.insert(port);
        if self.reserved.contains(port) {
            Some(Refusal::Reserved)
        } else if self.excluded.contains(port) {
            Some(Refusal::Excluded)
        } else {
            self.probing.finds(port).then_some(Refusal::Occupied)
        }
    }

    /// Notes that a port was given out.
    pub(crate) fn take(&mut self, port: Port) {
        self.reserved.insert(port);
    }

    /// Notes that something has bound a port after all.
    pub(crate) fn occupy(&mut self, port: Port) {
        self.probing.add(port);
    }

    /// What spoke against the ports of a range that were tested.
    pub(crate) fn blockers(&mut self, range: PortRange) -> Blockers {
        let mut blockers = Blockers { probe_failure: self.probing.failure(), ..Blockers::default() };
        for port in range.ports() {
            match self.seen.contains(port).then(|| self.refuse(port)).flatten() {
                Some(Refusal::Reserved) => blockers.reserved += 1,
                Some(Refusal::Excluded) => blockers.excluded += 1,
                Some(_) => blockers.occupied += 1,
                None => {}
            }
        }
        blockers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_probed_twice_in_one_search() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = Port::new("port", i64::from(socket.local_addr().unwrap().port())).unwrap();
        let mut probing = Probing::new(OccupancyPolicy::default());
        assert!(probing.finds(port));
        drop(socket);
        assert!(probing.finds(port), "as it was found first");
        let skipped = OccupancyPolicy { skip: true, ..OccupancyPolicy::default() };
        let mut probing = Probing::new(skipped);
        assert!(!probing.finds(port));
        probing.add(port);
        assert!(probing.finds(port));
    }
}
