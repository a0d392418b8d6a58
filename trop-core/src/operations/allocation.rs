//! Whether a port may be given out: all decisions go through here. And the clean-up of an exhausted range.

use rusqlite::Connection;

use super::cleanup::{self, Cleanup, Scope};
use crate::machine::{OccupancyPolicy, ProbeCache};
use crate::model::{AutomaticCleanup, Blockers, Error, Port, PortRange, PortSet, Refusal, Result, is_unsafe};
use crate::registry::Registry;
use crate::store::{self, Found, Order};

/// One search for ports, inside the caller's write transaction.
///
/// The obstacles of a port are, in the contract's order: it lies outside the range, it is reserved, excluded,
/// occupied, or refused by web clients.
pub(super) struct Allocation<'a> {
    registry: &'a Registry,
    connection: &'a Connection,
    range: PortRange,
    /// Whether ports that web clients refuse are passed over.
    avoids_unsafe_ports: bool,
    probes: ProbeCache,
    /// Every reserved port, once they were read: an allocation of several ports tests the same ones
    /// repeatedly.
    reserved: Option<PortSet>,
    /// The ports that [`Allocation::obstacle`] has tested since then.
    tested: Option<PortSet>,
}

/// Which obstacles are checked. A reserved port always has one.
#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is an independent check of the contract")]
pub(super) struct ObstacleChecks {
    pub(super) range: bool,
    pub(super) exclusions: bool,
    pub(super) web_clients: bool,
    pub(super) occupancy: bool,
}

impl ObstacleChecks {
    /// For a port that a search has come upon.
    pub(super) const FOUND: ObstacleChecks =
        ObstacleChecks { range: true, exclusions: true, web_clients: true, occupancy: true };
    /// For a port that the caller prefers.
    pub(super) const PREFERRED: ObstacleChecks =
        ObstacleChecks { web_clients: false, ..ObstacleChecks::FOUND };
}

impl<'a> Allocation<'a> {
    pub(super) fn new(
        registry: &'a Registry,
        connection: &'a Connection,
        range: PortRange,
        occupancy: OccupancyPolicy,
    ) -> Allocation<'a> {
        let avoids_unsafe_ports = registry.configuration().avoids_unsafe_ports(range);
        let probes = ProbeCache::new(occupancy);
        Allocation { registry, connection, range, avoids_unsafe_ports, probes, reserved: None, tested: None }
    }

    /// Reads every reserved port at once, for an allocation of several ports. Ports in `wanted` that dead
    /// owners lease are freed first.
    pub(super) fn read_reserved(&mut self, wanted: impl IntoIterator<Item = Port>) -> Result<()> {
        for port in wanted {
            self.registry.reaper(self.connection).reap_port(port)?;
        }
        self.reserved = Some(store::reserved_ports(self.connection, PortRange::ALL)?);
        self.tested = Some(PortSet::default());
        Ok(())
    }

    /// Returns the first obstacle of a port, if there is one. A lease that has ended is no obstacle.
    pub(super) fn obstacle(&mut self, port: Port, checks: ObstacleChecks) -> Result<Option<Refusal>> {
        if let Some(tested) = &mut self.tested {
            tested.insert(port);
        }
        Ok(if checks.range && !self.range.contains(port) {
            Some(Refusal::OutsideRange)
        } else if self.is_reserved(port)? {
            Some(Refusal::Reserved)
        } else if checks.exclusions && self.excluded().contains(port) {
            Some(Refusal::Excluded)
        } else if checks.occupancy && self.probes.is_occupied(port) {
            Some(Refusal::Occupied)
        } else if checks.web_clients && self.avoids_unsafe_ports && is_unsafe(port) {
            Some(Refusal::Refused)
        } else {
            None
        })
    }

    /// The first port of the range, in this order, that has no obstacle.
    ///
    /// # Errors
    /// [`Error::Exhausted`] with the reasons.
    pub(super) fn first(&mut self, order: Order) -> Result<Port> {
        let passed_over = self.registry.configuration().passed_over(self.range);
        let probes = &mut self.probes;
        let accept = |port| !probes.is_occupied(port);
        match store::next_free(self.connection, self.range, order, passed_over, accept)? {
            Found::Port(port) => Ok(port),
            Found::Nothing => {
                self.reserved = Some(store::reserved_ports(self.connection, PortRange::ALL)?);
                Err(self.exhausted_because(|_| true))
            }
        }
    }

    /// Notes that a port was given out.
    pub(super) fn note_given(&mut self, port: Port) {
        if let Some(reserved) = &mut self.reserved {
            reserved.insert(port);
        }
    }

    /// Notes that something has bound a port since it was probed.
    pub(super) fn note_occupied(&mut self, port: Port) {
        self.probes.note_occupied(port);
    }

    /// The error after a search for several ports, with the obstacles of those that were tested.
    pub(super) fn exhausted(&mut self) -> Error {
        let tested = self.tested.take().unwrap_or_default();
        self.exhausted_because(|port| tested.contains(port))
    }

    fn exhausted_because(&mut self, is_tested: impl Fn(Port) -> bool) -> Error {
        let range = self.range;
        let mut blockers = Blockers { probe_failure: self.probes.failure(), ..Blockers::default() };
        for port in range.ports().filter(|port| is_tested(*port)) {
            match self.obstacle(port, ObstacleChecks::FOUND) {
                Ok(Some(Refusal::Reserved)) => blockers.reserved += 1,
                Ok(Some(Refusal::Excluded)) => blockers.excluded += 1,
                Ok(Some(Refusal::Refused)) => blockers.refused += 1,
                Ok(Some(_)) => blockers.occupied += 1,
                Ok(None) => {}
                Err(error) => return error,
            }
        }
        Error::Exhausted { range, blockers, cleanup: AutomaticCleanup::default() }
    }

    fn is_reserved(&self, port: Port) -> Result<bool> {
        match &self.reserved {
            Some(reserved) => Ok(reserved.contains(port)),
            None => Ok(store::is_reserved(self.connection, port)?
                && !self.registry.reaper(self.connection).reap_port(port)?),
        }
    }

    fn excluded(&self) -> &PortSet {
        &self.registry.configuration().excluded
    }
}

/// Which parts of the automatic clean-up a request permits.
#[derive(Clone, Copy)]
pub(super) struct AutoCleanup {
    pub(super) prune: bool,
    pub(super) expire: bool,
}

impl AutoCleanup {
    pub(super) const ALL: AutoCleanup = AutoCleanup { prune: true, expire: true };
}

/// Makes an attempt to allocate ports. If the range is exhausted, ends the leases of dead owners and tries
/// again. If it is still exhausted, cleans up as far as the request and the configuration permit, and tries
/// once more. All of this is part of the caller's transaction, which has to be rolled back after an error.
/// Returns the result of the clean-up, if there was one.
pub(super) fn with_cleanup_retry<T>(
    registry: &Registry,
    connection: &Connection,
    permitted: AutoCleanup,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<(T, Option<Cleanup>)> {
    let reaper = registry.reaper(connection);
    registry.session().reap_next(&reaper)?;
    let mut result = attempt();
    // Leases that have ended do not block ports, so this does not count as the retry after a clean-up.
    if matches!(result, Err(Error::Exhausted { .. })) && reaper.reap_all()? {
        result = attempt();
    }
    let configuration = registry.configuration();
    let prune = permitted.prune && !configuration.disable_autoprune;
    let expire = permitted.expire && !configuration.disable_autoexpire;
    match result {
        Err(Error::Exhausted { .. }) if prune || expire => {}
        result => return result.map(|value| (value, None)),
    }
    let cleanup =
        cleanup::remove_now(connection, Scope { prune, expire, days: configuration.expire_after_days })?;
    match attempt() {
        Ok(value) => Ok((value, Some(cleanup))),
        Err(Error::Exhausted { range, blockers, .. }) => {
            let cleanup = AutomaticCleanup { prunes: prune, expires: expire };
            Err(Error::Exhausted { range, blockers, cleanup })
        }
        Err(error) => Err(error),
    }
}
