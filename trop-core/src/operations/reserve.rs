//! `reserve`: the same port for the same key, a new one for a new key.

use std::path::PathBuf;
use std::time::Instant;

use rusqlite::Connection;

use super::allocation::{Allocation, AutoCleanup, ObstacleChecks, with_cleanup_retry};
use super::cleanup::Cleanup;
use super::metadata::{Field, MayChange, Metadata};
use crate::config::PortUse;
use crate::machine::{OccupancyPolicy, ProbeCache};
use crate::model::{Key, Port, PortRange, Refusal, Reservation, Result, Tag, Timestamp, paths};
use crate::registry::Registry;
use crate::store::{self, Order};

/// What to reserve. All fields have defaults.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "each is an independent switch of the contract")]
pub struct ReserveRequest {
    /// The path of the key; none means the physical working directory.
    pub path: Option<PathBuf>,
    /// The tag of the key.
    pub tag: Option<Tag>,
    /// The project to store.
    pub project: Field,
    /// The task to store.
    pub task: Field,
    /// The preferred port of a new key. An existing key keeps its port, unless it is overwritten.
    pub preferred: Option<Port>,
    /// Replaces the lower end of the registry's range.
    pub min: Option<Port>,
    /// Replaces the upper end of the registry's range.
    pub max: Option<Port>,
    /// Probes to leave out or to add, in addition to the registry's own policy.
    pub occupancy: OccupancyPolicy,
    /// Whether a port is allocated for an existing key again, as if it had none.
    pub overwrite: bool,
    /// Whether the preferred port may be in use.
    pub ignore_occupied: bool,
    /// Whether the preferred port may be excluded.
    pub ignore_exclusions: bool,
    /// Whether the path may be unrelated to the working directory; true by default.
    pub allow_unrelated_path: bool,
    /// Whether the stored project may be changed.
    pub allow_project_change: bool,
    /// Whether the stored task may be changed.
    pub allow_task_change: bool,
    /// All of `overwrite`, `ignore_occupied`, `ignore_exclusions` and the three permissions.
    pub force: bool,
    /// Whether reservations of missing directories are kept when the range is exhausted.
    pub disable_autoprune: bool,
    /// Whether reservations that were not used for long are kept when the range is exhausted.
    pub disable_autoexpire: bool,
}

impl Default for ReserveRequest {
    fn default() -> ReserveRequest {
        ReserveRequest {
            path: None,
            tag: None,
            project: Field::Omitted,
            task: Field::Omitted,
            preferred: None,
            min: None,
            max: None,
            occupancy: OccupancyPolicy::default(),
            overwrite: false,
            ignore_occupied: false,
            ignore_exclusions: false,
            allow_unrelated_path: true,
            allow_project_change: false,
            allow_task_change: false,
            force: false,
            disable_autoprune: false,
            disable_autoexpire: false,
        }
    }
}

impl ReserveRequest {
    /// Replaces the path by the absolute path that it means now, for requests that are executed later or on
    /// another thread.
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn pin_path(&mut self) -> Result<()> {
        paths::pin(&mut self.path)
    }
}

/// What [`Registry::reserve`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reserved {
    /// The reservation as it is now.
    pub reservation: Reservation,
    /// Whether the key was new.
    pub created: bool,
    /// Why a new or overwritten key did not get the preferred port it asked for.
    pub refusal: Option<Refusal>,
    /// What had to be removed because the range was exhausted.
    pub cleanup: Option<Cleanup>,
}

/// A request with everything decided that does not depend on the database.
struct Plan<'r> {
    request: &'r ReserveRequest,
    key: Key,
    /// Whether the path may be used. Determined before the lock is taken, because directories may hang, and
    /// reported afterwards, because the error for a locked database has priority.
    is_permitted: bool,
    range: PortRange,
    metadata: Metadata,
    occupancy: OccupancyPolicy,
}

impl Plan<'_> {
    /// Whether an existing key is given a port as if it had none.
    fn reallocates(&self) -> bool {
        self.request.overwrite || self.request.force
    }
}

/// The result of executing a plan.
#[allow(clippy::large_enum_variant, reason = "nearly every one is the large one")]
enum Outcome {
    Done(Reserved),
    /// The key is new, and the names that git gives have to be looked up first, without the lock. Nothing was
    /// changed.
    NeedsGit,
}

impl Registry {
    /// Reserves the port of a key: the one it has, else the preferred one if usable, else the lowest usable
    /// one of the range.
    ///
    /// An exhausted range is cleaned up, as far as that is not switched off, and tried once more.
    ///
    /// # Errors
    /// Of [`Error`](crate::Error): `Exhausted`, `Busy`, `UnrelatedPath`, `StickyField`, `InvalidArgument` for
    /// a project or task that breaks the identifier rule, `Config` when only one end of the range is given
    /// and it does not fit the other, and every error of the database. Nothing is changed then.
    pub fn reserve(&self, request: &ReserveRequest) -> Result<Reserved> {
        let mut plan = self.plan(request)?;
        let last_stored = self.recent_keys().time(&plan.key);
        if let Some(reservation) = self.unchanged(&plan, last_stored)? {
            return Ok(Reserved { reservation, created: false, refusal: None, cleanup: None });
        }
        if last_stored.is_none() {
            self.prepare(&mut plan)?;
        }
        let mut wait = self.connection().timeout();
        loop {
            let began = Instant::now();
            match self.write_within(wait, |transaction| self.execute(transaction, &plan))? {
                Outcome::Done(reserved) => {
                    self.recent_keys().add(plan.key, reserved.reservation.last_used_at);
                    return Ok(reserved);
                }
                Outcome::NeedsGit => {
                    // The time that git takes does not count as a wait for the database.
                    wait = wait.saturating_sub(began.elapsed());
                    plan.metadata.ask_git(self.checkouts(), plan.key.path());
                }
            }
        }
    }

    fn plan<'r>(&self, request: &'r ReserveRequest) -> Result<Plan<'r>> {
        let settings = self.configuration();
        let may_change = MayChange {
            project: request.allow_project_change || request.force,
            task: request.allow_task_change || request.force,
        };
        let range = self.range(PortUse::Reservations, request.min, request.max)?;
        let metadata = Metadata::new(settings, &request.project, &request.task, may_change)?;
        let key = Key::new(request.path.as_deref(), request.tag.clone())?;
        let is_permitted = request.allow_unrelated_path || request.force || self.is_related(key.path())?;
        let occupancy = settings.occupancy.with(request.occupancy);
        Ok(Plan { request, key, is_permitted, range, metadata, occupancy })
    }

    /// Returns the reservation of a key that this registry stored in the current second, if nothing about it
    /// would change. It is read without the write lock.
    fn unchanged(&self, plan: &Plan<'_>, last_stored: Option<Timestamp>) -> Result<Option<Reservation>> {
        let now = Timestamp::now();
        if !plan.is_permitted || plan.reallocates() || last_stored != Some(now) {
            return Ok(None);
        }
        let stored = self.find(&plan.key)?;
        Ok(stored.filter(|stored| plan.metadata.keeps(stored, now)))
    }

    /// Looks up the names that git gives for a key that seems to be new. This may be slow, and would
    /// otherwise be done between two transactions.
    fn prepare(&self, plan: &mut Plan<'_>) -> Result<()> {
        if plan.is_permitted && plan.metadata.needs_git() {
            let stored = self
                .connection()
                .run(|database| database.peek_unchecked(|connection| store::by_key(connection, &plan.key)))?;
            if let Some(None) = stored {
                plan.metadata.ask_git(self.checkouts(), plan.key.path());
            }
        }
        Ok(())
    }

    fn execute(&self, connection: &Connection, plan: &Plan<'_>) -> Result<Outcome> {
        if !plan.is_permitted {
            return Err(self.unrelated(plan.key.path()));
        }
        let metadata = &plan.metadata;
        let now = Timestamp::now();
        let Some(stored) = store::by_key(connection, &plan.key)? else {
            if metadata.needs_git() {
                return Ok(Outcome::NeedsGit);
            }
            let (project, task) = metadata.initial();
            let new = |port| Reservation {
                port,
                key: plan.key.clone(),
                project: project.clone(),
                task: task.clone(),
                created_at: now,
                last_used_at: now,
            };
            return self.allocate_and_insert(connection, plan, true, new).map(Outcome::Done);
        };
        let reservation = metadata.used(&stored, now)?;
        if plan.reallocates() {
            // Removed first, so that its own port is a candidate like any other. A failure rolls this back.
            store::remove(connection, &plan.key)?;
            let moved = |port| Reservation { port, ..reservation.clone() };
            return self.allocate_and_insert(connection, plan, false, moved).map(Outcome::Done);
        }
        if reservation != stored {
            store::refresh(connection, &reservation)?;
        }
        Ok(Outcome::Done(Reserved { reservation, created: false, refusal: None, cleanup: None }))
    }

    /// Allocates a port and stores the row that `with_port` makes of it.
    fn allocate_and_insert(
        &self,
        connection: &Connection,
        plan: &Plan<'_>,
        created: bool,
        with_port: impl Fn(Port) -> Reservation,
    ) -> Result<Reserved> {
        let request = plan.request;
        let permitted = AutoCleanup {
            prune: !request.disable_autoprune,
            expire: !request.disable_autoexpire,
            ..AutoCleanup::ALL
        };
        let attempt = |probes: &mut ProbeCache| self.allocate(connection, plan, probes);
        let ((port, refusal), cleanup) =
            with_cleanup_retry(self, connection, plan.occupancy, permitted, attempt)?;
        let reservation = with_port(port);
        store::insert(connection, &reservation)?;
        Ok(Reserved { reservation, created, refusal, cleanup })
    }

    /// The preferred port, else the lowest usable one and why the preferred one was not used.
    fn allocate(
        &self,
        connection: &Connection,
        plan: &Plan<'_>,
        probes: &mut ProbeCache,
    ) -> Result<(Port, Option<Refusal>)> {
        let mut allocation = Allocation::new(self, connection, plan.range, probes);
        let mut refusal = None;
        let request = plan.request;
        if let Some(port) = request.preferred {
            let checks = ObstacleChecks {
                exclusions: !(request.ignore_exclusions || request.force),
                occupancy: !(request.ignore_occupied || request.force),
                ..ObstacleChecks::PREFERRED
            };
            refusal = allocation.obstacle(port, checks)?;
            if refusal.is_none() {
                return Ok((port, None));
            }
        }
        Ok((allocation.first(Order::Lowest)?, refusal))
    }
}
