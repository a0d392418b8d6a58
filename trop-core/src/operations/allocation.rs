//! Whether a port may be given out: all decisions go through here. And the clean-up of an exhausted range.

use rusqlite::Connection;

use super::cleanup::{self, Cleanup, Scope};
use crate::machine::{Availability, OccupancyPolicy, ProbeCache};
use crate::model::{AutomaticCleanup, Blockers, Error, Port, PortRange, PortSet, Refusal, Result, is_unsafe};
use crate::registry::Registry;
use crate::store::{self, Found, Order};

/// One search for ports, inside the caller's write transaction.
///
/// The obstacles of a port are, in the contract's order: it lies outside the range, it is reserved, excluded,
/// occupied (or not to be bound by this user), refused by web clients, or closing.
pub(super) struct Allocation<'a> {
    registry: &'a Registry,
    connection: &'a Connection,
    range: PortRange,
    /// Whether ports that web clients refuse are passed over.
    avoids_unsafe_ports: bool,
    probes: &'a mut ProbeCache,
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
    pub(super) closing: bool,
}

impl ObstacleChecks {
    /// For a port that a search has come upon.
    pub(super) const FOUND: ObstacleChecks =
        ObstacleChecks { range: true, exclusions: true, web_clients: true, occupancy: true, closing: true };
    /// For a port that a search has come upon that found none without connections.
    pub(super) const MAY_BE_CLOSING: ObstacleChecks =
        ObstacleChecks { closing: false, ..ObstacleChecks::FOUND };
    /// For a port that the caller prefers.
    pub(super) const PREFERRED: ObstacleChecks =
        ObstacleChecks { web_clients: false, ..ObstacleChecks::MAY_BE_CLOSING };
}

/// After so many closing ports, a search takes one of them.
const MOST_CLOSING: usize = 32;

impl<'a> Allocation<'a> {
    pub(super) fn new(
        registry: &'a Registry,
        connection: &'a Connection,
        range: PortRange,
        probes: &'a mut ProbeCache,
    ) -> Allocation<'a> {
        let avoids_unsafe_ports = registry.configuration().avoids_unsafe_ports(range);
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
        if checks.range && !self.range.contains(port) {
            return Ok(Some(Refusal::OutsideRange));
        }
        if self.is_reserved(port)? {
            return Ok(Some(Refusal::Reserved));
        }
        if checks.exclusions && self.excluded().contains(port) {
            return Ok(Some(Refusal::Excluded));
        }
        let is_refused = checks.web_clients && self.avoids_unsafe_ports && is_unsafe(port);
        let availability = match (checks.occupancy, is_refused) {
            (false, _) => Availability::Free,
            (true, false) => self.probes.availability(port),
            (true, true) => self.probes.availability_unprobed(port),
        };
        Ok(match availability {
            Availability::InUse => Some(Refusal::Occupied),
            Availability::Forbidden => Some(Refusal::Forbidden),
            _ if is_refused => Some(Refusal::Refused),
            Availability::Closing if checks.closing => Some(Refusal::Closing),
            _ => None,
        })
    }

    /// The first port of the range, in this order, that has no obstacle. If there is none, or only behind
    /// many closing ones, the first closing one. For a moment after that, leases take the first one, closing
    /// or not.
    ///
    /// # Errors
    /// [`Error::Exhausted`] with the reasons.
    pub(super) fn first(&mut self, order: Order) -> Result<Port> {
        let passed_over = self.registry.configuration().passed_over(self.range);
        let closing_range = self.registry.closing_range();
        let are_all_closing = order == Order::RestedFirst && closing_range.is(self.range);
        let most = if are_all_closing { 1 } else { MOST_CLOSING };
        if are_all_closing && let Some(bound) = closing_range.answer() {
            self.probes.use_bound(bound);
        }
        let mut closing = Vec::new();
        let probes = &mut *self.probes;
        let found = store::next_free(self.connection, self.range, order, passed_over, |port| {
            match probes.availability(port) {
                Availability::Free => true,
                Availability::Closing if !closing.contains(&port) => {
                    closing.push(port);
                    closing.len() == most
                }
                _ => false,
            }
        })?;
        if are_all_closing {
            closing_range.note_answer(self.probes.bound());
        } else if closing.len() == MOST_CLOSING {
            closing_range.note(self.range, self.probes.bound());
        }
        if let Found::Port(port) = found
            && (closing.first() == Some(&port) || !closing.contains(&port))
        {
            return Ok(port);
        }
        for port in closing {
            if !self.is_reserved(port)? && self.probes.is_still_usable(port) {
                return Ok(port);
            }
        }
        match found {
            // Those that were closing have become something else, so the next search goes on behind them.
            Found::Port(_) => self.first(order),
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
                Ok(Some(Refusal::Closing)) => blockers.closing += 1,
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
    /// Whether it is left out if no port of the range is reserved.
    pub(super) only_if_reserved: bool,
}

impl AutoCleanup {
    pub(super) const ALL: AutoCleanup = AutoCleanup { prune: true, expire: true, only_if_reserved: false };
    /// A lease that other programs are in the way of removes nobody's reservation.
    pub(super) const FOR_LEASES: AutoCleanup = AutoCleanup { only_if_reserved: true, ..AutoCleanup::ALL };
}

/// Makes an attempt to allocate ports. If the range is exhausted, ends the leases of dead owners and tries
/// again. If it is still exhausted, cleans up as far as the request and the configuration permit, and tries
/// once more. All of this is part of the caller's transaction, which has to be rolled back after an error.
/// Returns the result of the clean-up, if there was one.
///
/// The attempts share what was found about sockets, so that no port is probed twice.
pub(super) fn with_cleanup_retry<T>(
    registry: &Registry,
    connection: &Connection,
    occupancy: OccupancyPolicy,
    permitted: AutoCleanup,
    mut attempt: impl FnMut(&mut ProbeCache) -> Result<T>,
) -> Result<(T, Option<Cleanup>)> {
    let reaper = registry.reaper(connection);
    registry.session().reap_next(&reaper)?;
    let mut probes = ProbeCache::new(occupancy);
    let mut result = attempt(&mut probes);
    // Leases that have ended do not block ports, so this does not count as the retry after a clean-up.
    if matches!(result, Err(Error::Exhausted { .. })) && reaper.reap_all()? {
        result = attempt(&mut probes);
    }
    let configuration = registry.configuration();
    let prune = permitted.prune && !configuration.disable_autoprune;
    let expire = permitted.expire && !configuration.disable_autoexpire;
    match result {
        Err(Error::Exhausted { range, blockers, .. })
            if permitted.only_if_reserved && blockers.reserved == 0 =>
        {
            let cleanup = AutomaticCleanup { is_pointless: true, ..AutomaticCleanup::default() };
            return Err(Error::Exhausted { range, blockers, cleanup });
        }
        Err(Error::Exhausted { .. }) if prune || expire => {}
        result => return result.map(|value| (value, None)),
    }
    let cleanup =
        cleanup::remove_now(connection, Scope { prune, expire, days: configuration.expire_after_days })?;
    match attempt(&mut probes) {
        Ok(value) => Ok((value, Some(cleanup))),
        Err(Error::Exhausted { range, blockers, .. }) => {
            let cleanup = AutomaticCleanup { prunes: prune, expires: expire, is_pointless: false };
            Err(Error::Exhausted { range, blockers, cleanup })
        }
        Err(error) => Err(error),
    }
}
