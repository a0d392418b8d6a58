//! `scan`: which ports of a range programs on this machine have bound; and whether one has a single port.

use std::fmt;

use serde_json::{Value, json};

use crate::config::PortUse;
use crate::machine::{KernelSockets, Owner, Owners, Probe, Verdict, verdicts};
use crate::model::{Port, PortRange, PortSet, Result, is_unsafe};
use crate::registry::Registry;

/// What to scan; by default the registry's range of reservations.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ScanRequest {
    /// Replaces the lower end of the registry's range.
    pub min: Option<Port>,
    /// Replaces the upper end of the registry's range.
    pub max: Option<Port>,
}

/// A probe that found its port occupied or closing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The port.
    pub port: Port,
    /// Whether a reservation or lease has it.
    pub reserved: bool,
    /// Whether nobody has it: only connections are left, beside which a server that sets `SO_REUSEADDR` can
    /// listen.
    pub closing: bool,
    /// The probe.
    pub probe: Probe,
    /// The process that has the socket, as far as it is known.
    pub owner: Owner,
}

impl Finding {
    /// `occupied`, `occupied (reserved)`, `closing` or `closing (reserved)`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match (self.closing, self.reserved) {
            (false, false) => "occupied",
            (false, true) => "occupied (reserved)",
            (true, false) => "closing",
            (true, true) => "closing (reserved)",
        }
    }

    /// The finding as a JSON object, in the names that every language and the command use; unknown values are
    /// null.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "port": self.port.get(),
            "status": self.status(),
            "reserved": self.reserved,
            "protocol": self.probe.protocol.name(),
            "address_family": self.probe.family.name(),
            "scope": self.probe.scope.name(),
            "address": self.probe.address().to_string(),
            "process_id": self.owner.process_id,
            "process_name": self.owner.process_name,
            "user": self.owner.user,
            "owner_status": self.owner.status(),
        })
    }
}

/// A probe that was inconclusive or not permitted: the port may be occupied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Doubt {
    /// The port.
    pub port: Port,
    /// The probe.
    pub probe: Probe,
    /// The operating system's reason.
    pub reason: String,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.probe.describe(self.port, &self.reason))
    }
}

/// What [`Registry::scan`] found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Scan {
    /// What was scanned.
    pub range: PortRange,
    /// One for each occupied probe, by port, then in the order of
    /// [`OccupancyPolicy::probes`](crate::OccupancyPolicy::probes).
    pub findings: Vec<Finding>,
    /// One for each probe that was inconclusive or not permitted, in the same order.
    pub doubts: Vec<Doubt>,
    /// The ports that this user may not bind.
    pub forbidden: PortSet,
    /// The ports that no search chooses because web clients refuse to connect to them.
    pub refused: PortSet,
}

impl Scan {
    /// The occupied ports that are neither reserved nor leased. Closing ports are not occupied.
    #[must_use]
    pub fn unreserved(&self) -> PortSet {
        let mut ports = PortSet::default();
        self.findings
            .iter()
            .filter(|finding| !finding.reserved && !finding.closing)
            .for_each(|finding| ports.insert(finding.port));
        ports
    }
}

/// What [`Registry::port_occupancy`] found: a verdict for each probe of the policy, none if it asks for none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PortOccupancy {
    /// Each probe and its verdict.
    pub probes: Vec<(Probe, Verdict)>,
    /// The process whose socket makes the first occupied probe fail, as far as it is known.
    pub owner: Owner,
}

impl Registry {
    /// Probes every port of a range as the registry's occupancy policy says. A probe that is inconclusive or
    /// not permitted is returned as a doubt, not as an error.
    ///
    /// The result holds only for the moment of the scan: a port that is free now may be bound before it is
    /// used.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a range that ends before it begins, and every error of the
    /// database.
    pub fn scan(&self, request: &ScanRequest) -> Result<Scan> {
        let range = self.configuration().range(PortUse::Reservations, request.min, request.max)?;
        // A database that cannot be read is reported before thousands of probes.
        self.connect()?;
        let policy = self.configuration().occupancy;
        let (mut found, mut doubts, mut forbidden) = (Vec::new(), Vec::new(), PortSet::default());
        for port in range.ports() {
            for probe in policy.probes() {
                match probe.run(port) {
                    Verdict::Free | Verdict::Closing | Verdict::Dropped => {}
                    Verdict::Occupied => found.push((port, probe)),
                    Verdict::Forbidden(reason) => {
                        forbidden.insert(port);
                        doubts.push(Doubt { port, probe, reason });
                    }
                    Verdict::Unknown(reason) => doubts.push(Doubt { port, probe, reason }),
                }
            }
        }
        // Probed again, because the probes of other allocations bind ports for an instant.
        let found: Vec<_> = found
            .into_iter()
            .filter_map(|(port, probe)| match probe.binding().examine(port) {
                Verdict::Closing => Some((port, probe, true)),
                Verdict::Occupied => Some((port, probe, false)),
                _ => None,
            })
            .collect();
        let bound = found.iter().any(|(_, _, closing)| *closing).then(KernelSockets::bound).flatten();
        let belongs_to_nobody = |port| bound.as_ref().is_some_and(|bound| !bound.have(port));
        let reserved = self.taken_ports(range)?;
        let owners = if found.is_empty() { Owners::default() } else { Owners::snapshot() };
        let finding = |(port, probe, may_be_closing)| Finding {
            port,
            reserved: reserved.contains(port),
            closing: may_be_closing && belongs_to_nobody(port),
            probe,
            owner: owners.of(port, probe),
        };
        let avoids_unsafe_ports = self.configuration().avoids_unsafe_ports(range);
        let mut refused = PortSet::default();
        range
            .ports()
            .filter(|port| avoids_unsafe_ports && is_unsafe(*port))
            .for_each(|port| refused.insert(port));
        let findings = found.into_iter().map(finding).collect();
        Ok(Scan { range, findings, doubts, forbidden, refused })
    }

    /// Whether something has a port, as far as the registry's occupancy policy looks. Where the kernel tells
    /// (on Linux, unless a sandbox forbids to ask) nothing is bound for this. The database is not read.
    #[must_use]
    pub fn port_occupancy(&self, port: Port) -> PortOccupancy {
        let policy = self.configuration().occupancy;
        let probes: Vec<_> = verdicts(policy, port)
            .unwrap_or_else(|| policy.probes().map(|probe| (probe, probe.run(port))).collect());
        let occupied = probes.iter().find(|(_, verdict)| *verdict == Verdict::Occupied);
        let owner = occupied.map(|(probe, _)| Owners::snapshot().of(port, *probe)).unwrap_or_default();
        PortOccupancy { probes, owner }
    }
}
