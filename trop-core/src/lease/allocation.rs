//! Taking leases: choosing the ports and storing them, in one transaction.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use rusqlite::Connection;

use super::Lease;
use super::socket::Held;
use crate::candidates::{Candidates, Minds, Probing};
use crate::cleanup::{self, Permitted};
use crate::error::{AutomaticCleanup, Blockers, Error, Result};
use crate::occupancy::OccupancyPolicy;
use crate::paths;
use crate::port::{Port, PortRange};
use crate::registry::Registry;
use crate::reservation::{Key, Reservation, Timestamp};
use crate::store;
use crate::tag::{Tag, identifier};

/// What to lease. All fields have defaults.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LeaseRequest {
    /// A wish for the port, or for the first of several.
    pub preferred: Option<Port>,
    /// Replaces the lower end of the registry's range.
    pub min: Option<Port>,
    /// Replaces the upper end of the registry's range.
    pub max: Option<Port>,
    /// Probes to leave out or to add, beside what the registry's own policy says.
    pub occupancy: OccupancyPolicy,
    /// What it is for, for people reading lists; follows the rule of [`identifier`](crate::identifier).
    pub label: Option<String>,
    /// Whether several ports have to be neighbours.
    pub contiguous: bool,
    /// Whether the lease keeps a socket bound to the port, so that the kernel picks it for nobody else. A server that
    /// sets `SO_REUSEADDR` can listen on it all the same, one that does not cannot. Linux only.
    pub hold: bool,
}

/// A request with everything decided that does not depend on the database.
struct Wish<'r> {
    count: u32,
    request: &'r LeaseRequest,
    range: PortRange,
    label: Option<&'r str>,
    occupancy: OccupancyPolicy,
    /// The path of the row: the data directory, which always exists and is nobody's project.
    path: String,
    /// The working directory.
    directory: String,
}

/// A port as good as leased.
struct Taken {
    port: Port,
    serial: i64,
    held: Held,
}

impl Wish<'_> {
    /// Binds the port if it is to be held. None if somebody was faster.
    fn hold(&self, port: Port) -> Result<Option<Held>> {
        if self.request.hold { Held::bind(port) } else { Ok(Some(Held::default())) }
    }

    /// The neighbours that begin with the preferred port, as far as they lie in the range.
    fn preferred_run(&self) -> Option<PortRange> {
        let first = self.request.preferred?;
        let last = first.plus(u16::try_from(self.count - 1).ok()?)?;
        let run = PortRange::new("port", first, last).ok()?;
        (self.range.contains(first) && self.range.contains(last)).then_some(run)
    }

    fn store(&self, connection: &Connection, lease: &Taken, owner: i64) -> Result<()> {
        let Taken { port, serial, .. } = *lease;
        let reservation = Reservation {
            port,
            // Nobody can have reserved a key that nobody knows.
            key: Key::stored(self.path.clone(), Some(Tag::new(&format!("lease-{serial:x}"))?)),
            project: None,
            task: None,
            created_at: Timestamp::now(),
            last_used_at: Timestamp::LAST,
        };
        store::insert(connection, &reservation)?;
        store::insert_lease(connection, port, owner, serial, self.label, &self.directory)
    }
}

impl Registry {
    /// A port of one's own: the preferred one if usable, else the lowest usable one of the range. Two leases never
    /// have the same port, whoever asks.
    ///
    /// # Errors
    /// As [`Registry::lease_many`].
    pub fn lease(&self, request: &LeaseRequest) -> Result<Lease> {
        let mut leases = self.lease_many(1, request)?;
        leases.pop().ok_or(Error::Closed)
    }

    /// Several ports, all or none, in ascending order unless the preferred one is among them, which comes first.
    ///
    /// An exhausted range is cleaned up as for [`Registry::reserve`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a count of 0 or above the size of the range and for a bad label,
    /// [`Error::Exhausted`], also when there are ports enough but no neighbours, [`Error::Unsupported`] where files
    /// cannot be locked or ports not held, [`Error::Busy`], [`Error::Config`] when only one end of the range is given and
    /// does not fit the other, and every error of the database. Nothing is changed then.
    pub fn lease_many(&self, count: u32, request: &LeaseRequest) -> Result<Vec<Lease>> {
        let range = self.range(request.min, request.max)?;
        if count == 0 || count > range.count() {
            let reason =
                format!("{count} is not possible: it must be 1 to {}, the size of the range", range.count());
            return Err(Error::invalid("count", reason));
        }
        if request.hold && !cfg!(target_os = "linux") {
            return Err(Error::Unsupported { reason: "ports can be held on Linux only".to_owned() });
        }
        if self.seat().is_copy() {
            return Err(Error::Unsupported { reason: "a rehearsal gives no leases".to_owned() });
        }
        let wish = Wish {
            count,
            request,
            range,
            label: request.label.as_deref().map(|label| identifier("label", label)).transpose()?,
            occupancy: self.configuration().occupancy.with(request.occupancy),
            path: paths::normalise("data_dir", self.data_dir())?,
            directory: paths::current_dir()
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        let (taken, owner) = self.write(|transaction| {
            let owner = self.owner(transaction)?;
            let attempt = || self.choose_leases(transaction, &wish, owner);
            Ok((cleanup::allocate(self, transaction, Permitted::ALL, attempt)?.0, owner))
        })?;
        self.tenure().begin(owner, taken.iter().map(|lease| (lease.port, lease.serial)))?;
        let leased = |Taken { port, serial, held }: Taken| {
            let label = wish.label.map(str::to_owned);
            let (registry, generation) = (self.clone(), store::generation());
            let (closed, held) = (AtomicBool::new(false), Mutex::new(held));
            Lease { registry, port, label, serial, generation, pid: std::process::id(), closed, held }
        };
        Ok(taken.into_iter().map(leased).collect())
    }

    fn choose_leases(&self, connection: &Connection, wish: &Wish<'_>, owner: i64) -> Result<Vec<Taken>> {
        if wish.request.contiguous && wish.count > 1 {
            self.choose_neighbours(connection, wish, owner)
        } else {
            self.choose_lowest(connection, wish, owner)
        }
    }

    /// The preferred port and the lowest ones, each stored at once so that it is not found again.
    fn choose_lowest(&self, connection: &Connection, wish: &Wish<'_>, owner: i64) -> Result<Vec<Taken>> {
        let excluded = &self.configuration().excluded;
        let mut probing = Probing::new(wish.occupancy);
        let mut preferred = wish.request.preferred;
        let mut taken = Vec::with_capacity(wish.count as usize);
        while taken.len() < wish.count as usize {
            let port = match preferred.take() {
                Some(port)
                    if self.refuse(connection, port, wish.range, Minds::ALL, &mut probing)?.is_none() =>
                {
                    port
                }
                _ => store::lowest_usable(connection, wish.range, excluded, &mut probing)
                    .or_else(|error| give_back(connection, &taken).and(Err(error)))?,
            };
            match wish.hold(port)? {
                Some(held) => {
                    let lease = Taken { port, serial: self.next_serial(), held };
                    wish.store(connection, &lease, owner)?;
                    taken.push(lease);
                }
                // Somebody bound it since it was probed.
                None => probing.add(port),
            }
        }
        Ok(taken)
    }

    /// The run that begins with the preferred port, else the lowest one.
    fn choose_neighbours(&self, connection: &Connection, wish: &Wish<'_>, owner: i64) -> Result<Vec<Taken>> {
        let range = wish.range;
        let preferred = wish.preferred_run();
        for port in preferred.into_iter().flat_map(PortRange::ports) {
            self.reclaimer(connection).port(port)?;
        }
        let excluded = &self.configuration().excluded;
        let mut candidates = Candidates::read(connection, excluded, wish.occupancy)?;
        for place in preferred.into_iter().chain([range]) {
            if let Some(run) = self.find_run(wish, place, &mut candidates)? {
                for lease in &run {
                    wish.store(connection, lease, owner)?;
                }
                return Ok(run);
            }
        }
        let blockers = Blockers { neighbours: wish.count, ..candidates.blockers(range) };
        Err(Error::Exhausted { range, blockers, cleanup: AutomaticCleanup::default() })
    }

    /// The lowest run of a range.
    fn find_run(
        &self,
        wish: &Wish<'_>,
        range: PortRange,
        candidates: &mut Candidates<'_>,
    ) -> Result<Option<Vec<Taken>>> {
        let mut run = Vec::new();
        for port in range.ports() {
            if candidates.refuse(port).is_some() {
                run.clear();
            } else if let Some(held) = wish.hold(port)? {
                run.push(Taken { port, serial: self.next_serial(), held });
            } else {
                candidates.occupy(port);
                run.clear();
            }
            if run.len() == wish.count as usize {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }
}

/// Ends what an attempt that failed had stored: there may be another one in the same transaction.
fn give_back(connection: &Connection, taken: &[Taken]) -> Result<()> {
    for Taken { port, serial, .. } in taken {
        store::remove_lease(connection, (*port, *serial))?;
    }
    Ok(())
}
