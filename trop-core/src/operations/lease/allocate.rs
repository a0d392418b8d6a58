//! Taking leases: choosing the ports and storing them, in one transaction.

use rusqlite::Connection;

use super::handle::Lease;
use crate::config::PortUse;
use crate::machine::{HoldingSockets, OccupancyPolicy, ProbeCache};
use crate::model::{
    Blockers, Error, Key, LeaseId, Port, PortRange, Reservation, Result, Tag, Timestamp, identifier, paths,
};
use crate::operations::allocation::{Allocation, AutoCleanup, ObstacleChecks, with_cleanup_retry};
use crate::registry::Registry;
use crate::store::{self, Order};

/// What to lease. All fields have defaults.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LeaseRequest {
    /// The preferred port; for adjacent ports, the first of them. It has to lie in the range, unless nobody
    /// has set one.
    pub preferred: Option<Port>,
    /// Replaces the lower end of the registry's range of leases.
    pub min: Option<Port>,
    /// Replaces the upper end of the registry's range of leases.
    pub max: Option<Port>,
    /// Probes to leave out or to add, in addition to the registry's own policy.
    pub occupancy: OccupancyPolicy,
    /// What it is for, for people reading lists; follows the rule of [`identifier`](crate::identifier).
    pub label: Option<String>,
    /// Whether several ports have to be adjacent.
    pub contiguous: bool,
    /// Whether the lease keeps a socket bound to the port, so that the kernel assigns it to no other program.
    /// A server can then listen on it only if it sets `SO_REUSEADDR`. Linux only.
    pub hold: bool,
}

/// A request with everything decided that does not depend on the database.
struct Plan<'r> {
    count: u32,
    request: &'r LeaseRequest,
    range: PortRange,
    /// Whether the preferred port may lie outside the range, because nobody has set that range.
    may_lie_outside: bool,
    label: Option<&'r str>,
    occupancy: OccupancyPolicy,
    /// The path of the row: the data directory, which always exists and belongs to no project.
    path: String,
    /// The working directory.
    directory: String,
}

/// A port that was chosen for a lease.
struct Chosen {
    id: LeaseId,
    sockets: HoldingSockets,
}

impl Plan<'_> {
    /// Binds the port if it is to be held. Returns `None` if another program has bound it.
    fn hold(&self, port: Port) -> Result<Option<HoldingSockets>> {
        if self.request.hold { HoldingSockets::bind(port) } else { Ok(Some(HoldingSockets::default())) }
    }

    /// The adjacent ports that begin with the preferred one; `None` unless all of them may be wished for.
    fn preferred_run(&self) -> Option<PortRange> {
        let first = self.request.preferred?;
        let last = first.plus(u16::try_from(self.count - 1).ok()?)?;
        let run = PortRange::new("port", first, last).ok()?;
        let is_inside = self.range.contains(first) && self.range.contains(last);
        (is_inside || self.may_lie_outside).then_some(run)
    }

    /// What is checked of a preferred port.
    fn preferred_checks(&self) -> ObstacleChecks {
        ObstacleChecks { range: !self.may_lie_outside, ..ObstacleChecks::PREFERRED }
    }

    fn insert(&self, connection: &Connection, lease: LeaseId, owner: i64) -> Result<()> {
        let reservation = Reservation {
            port: lease.port,
            // Serial numbers start at a random number, so no reservation has this key.
            key: Key::stored(self.path.clone(), Some(Tag::new(&format!("lease-{:x}", lease.serial))?)),
            project: None,
            task: None,
            created_at: Timestamp::now(),
            last_used_at: Timestamp::LAST,
        };
        store::insert(connection, &reservation)?;
        store::insert_lease(connection, lease, owner, self.label, &self.directory)
    }
}

impl Registry {
    /// Leases a port: the preferred one if usable, else the lowest usable one of the range that has rested.
    /// So no number that was given up comes again while there is another one. No port is leased twice at the
    /// same time, not even by different processes.
    ///
    /// # Errors
    /// As [`Registry::lease_many`].
    pub fn lease(&self, request: &LeaseRequest) -> Result<Lease> {
        let mut leases = self.lease_many(1, request)?;
        leases.pop().ok_or(Error::Closed)
    }

    /// Leases several ports, all or none. They are in ascending order, except that the preferred one comes
    /// first if it is among them.
    ///
    /// An exhausted range is cleaned up as for [`Registry::reserve`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a count of 0 or above the size of the range and for a bad label,
    /// [`Error::Exhausted`], also when enough ports are usable but they are not adjacent,
    /// [`Error::Unsupported`] where files cannot be locked or ports cannot be held, [`Error::Busy`],
    /// [`Error::Config`] when only one end of the range is given and does not fit the other, and every error
    /// of the database. Nothing is changed then.
    pub fn lease_many(&self, count: u32, request: &LeaseRequest) -> Result<Vec<Lease>> {
        let range = self.range(PortUse::Leases, request.min, request.max)?;
        if count == 0 || count > range.count() {
            let reason =
                format!("{count} is not possible: it must be 1 to {}, the size of the range", range.count());
            return Err(Error::invalid("count", reason));
        }
        if request.hold && !cfg!(target_os = "linux") {
            return Err(Error::Unsupported { reason: "ports can be held on Linux only".to_owned() });
        }
        if self.connection().is_copy() {
            return Err(Error::Unsupported { reason: "a dry run gives no leases".to_owned() });
        }
        let plan = Plan {
            count,
            request,
            range,
            may_lie_outside: request.min.is_none()
                && request.max.is_none()
                && !self.configuration().is_range_set(PortUse::Leases),
            label: request.label.as_deref().map(|label| identifier("label", label)).transpose()?,
            occupancy: self.configuration().occupancy.with(request.occupancy).for_lease(),
            path: paths::normalise("data_dir", self.data_dir())?,
            directory: paths::current_dir()
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        let (chosen, owner) = self.write(|transaction| {
            let owner = self.session().owner(&self.reaper(transaction))?;
            let attempt = |probes: &mut ProbeCache| self.choose(transaction, &plan, owner, probes);
            let permitted = AutoCleanup::FOR_LEASES;
            let (chosen, _) = with_cleanup_retry(self, transaction, plan.occupancy, permitted, attempt)?;
            Ok((chosen, owner))
        })?;
        let handle = |chosen: &Chosen| Lease::new(self.clone(), chosen.id, plan.label.map(str::to_owned));
        let leases = chosen.iter().map(handle).collect();
        self.session().add(owner, chosen.into_iter().map(|lease| (lease.id, lease.sockets)))?;
        Ok(leases)
    }

    fn choose(
        &self,
        connection: &Connection,
        plan: &Plan<'_>,
        owner: i64,
        probes: &mut ProbeCache,
    ) -> Result<Vec<Chosen>> {
        let allocation = Allocation::new(self, connection, plan.range, probes);
        if plan.request.contiguous && plan.count > 1 {
            self.choose_neighbours(connection, plan, owner, allocation)
        } else {
            self.choose_single(connection, plan, owner, allocation)
        }
    }

    /// The preferred port and the lowest rested ones, each stored at once so that it is not found again.
    fn choose_single(
        &self,
        connection: &Connection,
        plan: &Plan<'_>,
        owner: i64,
        mut allocation: Allocation<'_>,
    ) -> Result<Vec<Chosen>> {
        let mut preferred = plan.request.preferred;
        let mut chosen = Vec::with_capacity(plan.count as usize);
        while chosen.len() < plan.count as usize {
            let port = match preferred.take() {
                Some(port) if allocation.obstacle(port, plan.preferred_checks())?.is_none() => port,
                _ => allocation
                    .first(Order::RestedFirst)
                    .or_else(|error| give_back(connection, &chosen).and(Err(error)))?,
            };
            match plan.hold(port)? {
                Some(sockets) => {
                    let id = LeaseId { port, serial: self.session().next_serial() };
                    plan.insert(connection, id, owner)?;
                    chosen.push(Chosen { id, sockets });
                }
                // Another program has bound it since it was probed.
                None => allocation.note_occupied(port),
            }
        }
        // They were found in another order if those that had rested were used up in between.
        chosen.sort_by_key(|lease| (Some(lease.id.port) != plan.request.preferred, lease.id.port));
        Ok(chosen)
    }

    /// The run that begins with the preferred port, else the lowest one of rested ports, else the lowest one,
    /// else the lowest one with closing ports.
    fn choose_neighbours(
        &self,
        connection: &Connection,
        plan: &Plan<'_>,
        owner: i64,
        mut allocation: Allocation<'_>,
    ) -> Result<Vec<Chosen>> {
        let preferred = plan.preferred_run();
        allocation.read_reserved(preferred.into_iter().flat_map(PortRange::ports))?;
        let rested = store::rested_ports(connection, plan.range)?;
        let closing = ObstacleChecks::MAY_BE_CLOSING;
        let mut run = None;
        if let Some(preferred) = preferred {
            let wished = ObstacleChecks { range: !plan.may_lie_outside, ..closing };
            run = self.find_run(plan, preferred.ports(), wished, &mut allocation)?;
        }
        if run.is_none() {
            let rested = plan.range.ports().filter(|port| rested.contains(*port));
            run = self.find_run(plan, rested, ObstacleChecks::FOUND, &mut allocation)?;
        }
        if run.is_none() && store::rest_is_over(connection, plan.range)? {
            run = self.find_run(plan, plan.range.ports(), ObstacleChecks::FOUND, &mut allocation)?;
        }
        if run.is_none() {
            run = self.find_run(plan, plan.range.ports(), closing, &mut allocation)?;
        }
        if let Some(run) = run {
            for lease in &run {
                plan.insert(connection, lease.id, owner)?;
            }
            return Ok(run);
        }
        Err(match allocation.exhausted() {
            Error::Exhausted { range, blockers, cleanup } => {
                let blockers = Blockers { neighbours: plan.count, ..blockers };
                Error::Exhausted { range, blockers, cleanup }
            }
            error => error,
        })
    }

    /// The lowest run of usable ports among these, which are in ascending order.
    fn find_run(
        &self,
        plan: &Plan<'_>,
        ports: impl Iterator<Item = Port>,
        found: ObstacleChecks,
        allocation: &mut Allocation<'_>,
    ) -> Result<Option<Vec<Chosen>>> {
        let mut run: Vec<Chosen> = Vec::new();
        for port in ports {
            if run.last().is_some_and(|last| last.id.port.plus(1) != Some(port)) {
                run.clear();
            }
            let is_preferred = plan.request.preferred == Some(port);
            let checks = if is_preferred { plan.preferred_checks() } else { found };
            if allocation.obstacle(port, checks)?.is_some() {
                run.clear();
            } else if let Some(sockets) = plan.hold(port)? {
                run.push(Chosen { id: LeaseId { port, serial: self.session().next_serial() }, sockets });
            } else {
                allocation.note_occupied(port);
                run.clear();
            }
            if run.len() == plan.count as usize {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }
}

/// Removes the leases that a failed attempt has stored, because another attempt may follow in the same
/// transaction.
fn give_back(connection: &Connection, chosen: &[Chosen]) -> Result<()> {
    for lease in chosen {
        store::remove_lease(connection, lease.id)?;
    }
    Ok(())
}
