//! `reserve`: the same port for the same key, a new one for a new key.

use std::path::PathBuf;
use std::time::Instant;

use rusqlite::Connection;

use crate::candidates::{Minds, Probing};
use crate::cleanup::{self, Cleanup, Permitted};
use crate::error::Result;
use crate::metadata::{Field, MayChange, Metadata};
use crate::occupancy::OccupancyPolicy;
use crate::paths;
use crate::port::{Port, PortRange};
use crate::registry::Registry;
use crate::reservation::{Key, Reservation, Timestamp};
use crate::store::{self, Database};
use crate::tag::Tag;

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
    /// A wish for a new key; an existing one keeps its port, unless it is overwritten.
    pub preferred: Option<Port>,
    /// Replaces the lower end of the registry's range.
    pub min: Option<Port>,
    /// Replaces the upper end of the registry's range.
    pub max: Option<Port>,
    /// Probes to leave out or to add, beside what the registry's own policy says.
    pub occupancy: OccupancyPolicy,
    /// Whether an existing key is given a port anew, as if it had none.
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
    /// Whether an exhausted range is left with the reservations of missing directories.
    pub disable_autoprune: bool,
    /// Whether an exhausted range is left with the reservations that were not used for long.
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
    /// Fixes the path to what it means now, for requests that are carried out later or on another thread.
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn pin_path(&mut self) -> Result<()> {
        paths::pin(&mut self.path)
    }
}

/// Why a preferred port was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It lies outside the range.
    OutsideRange,
    /// Another key holds it.
    Reserved,
    /// It is on the exclusion list.
    Excluded,
    /// Something on this machine has it bound, or may have.
    Occupied,
}

impl Refusal {
    /// The name every language uses: `outside_range`, `reserved`, `excluded` or `occupied`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Refusal::OutsideRange => "outside_range",
            Refusal::Reserved => "reserved",
            Refusal::Excluded => "excluded",
            Refusal::Occupied => "occupied",
        }
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
struct Wish<'r> {
    request: &'r ReserveRequest,
    key: Key,
    range: PortRange,
    metadata: Metadata,
    occupancy: OccupancyPolicy,
}

impl Wish<'_> {
    /// Whether an existing key is given a port as if it had none.
    fn is_anew(&self) -> bool {
        self.request.overwrite || self.request.force
    }
}

impl Registry {
    /// The port of a key: the one it has, else its preferred one if usable, else the lowest usable one of the range.
    ///
    /// An exhausted range is cleaned up, as far as that is not switched off, and tried once more.
    ///
    /// # Errors
    /// Of [`Error`](crate::Error): `Exhausted`, `Busy`, `UnrelatedPath`, `StickyField`, `InvalidArgument` for a project
    /// or task that breaks the identifier rule, `Config` when only one end of the range is given and it does not fit the
    /// other, and every error of the database. Nothing is changed then.
    pub fn reserve(&self, request: &ReserveRequest) -> Result<Reserved> {
        let settings = self.configuration();
        let may_change = MayChange {
            project: request.allow_project_change || request.force,
            task: request.allow_task_change || request.force,
        };
        let mut wish = Wish {
            request,
            range: self.range(request.min, request.max)?,
            metadata: Metadata::new(settings, &request.project, &request.task, may_change)?,
            occupancy: settings.occupancy.with(request.occupancy),
            key: Key::new(request.path.as_deref(), request.tag.clone())?,
        };
        let may_be_unrelated = request.allow_unrelated_path || request.force;
        // Looked at before the lock, reported after it: directories may hang, and a locked database comes first.
        let related = may_be_unrelated || self.is_related(wish.key.path())?;
        if related && let Some(reservation) = self.look_ahead(&mut wish)? {
            return Ok(Reserved { reservation, created: false, refusal: None, cleanup: None });
        }
        let mut wait = self.seat().timeout();
        let reserved = loop {
            let began = Instant::now();
            let reserved = self.write_in(wait, |transaction| {
                if !related {
                    return Err(self.unrelated(wish.key.path()));
                }
                self.carry_out(transaction, &wish)
            })?;
            if let Some(reserved) = reserved {
                break reserved;
            }
            wait = wait.saturating_sub(began.elapsed());
            wish.metadata.infer(self.git(), wish.key.path());
        };
        self.recent().add(wish.key, reserved.reservation.last_used_at);
        Ok(reserved)
    }

    /// Looks without the lock, unless the key is known: git, which may be slow, is asked about a new one. Tells the
    /// reservation of a key that this registry stored in the current second, if nothing about it would change.
    fn look_ahead(&self, wish: &mut Wish<'_>) -> Result<Option<Reservation>> {
        let now = Timestamp::now();
        let last = self.recent().time(&wish.key);
        let may_be_unchanged = last == Some(now) && !wish.is_anew();
        if may_be_unchanged {
            let stored = self.find(&wish.key)?;
            return Ok(stored.filter(|stored| wish.metadata.keeps(stored, now)));
        }
        if last.is_none() && wish.metadata.is_inferable() {
            let glance = |database: &Database| database.glance(|now| store::by_key(now, &wish.key));
            if let Some(None) = self.seat().with(glance)? {
                wish.metadata.infer(self.git(), wish.key.path());
            }
        }
        Ok(None)
    }

    /// None if the key is a new one and git has to be asked about it first, without the lock.
    fn carry_out(&self, connection: &Connection, wish: &Wish<'_>) -> Result<Option<Reserved>> {
        let metadata = &wish.metadata;
        let now = Timestamp::now();
        let Some(stored) = store::by_key(connection, &wish.key)? else {
            if wish.metadata.is_inferable() {
                return Ok(None);
            }
            let (project, task) = metadata.initial();
            let new = |port| Reservation {
                port,
                key: wish.key.clone(),
                project: project.clone(),
                task: task.clone(),
                created_at: now,
                last_used_at: now,
            };
            return self.take(connection, wish, true, new).map(Some);
        };
        let reservation = metadata.used(&stored, now)?;
        if wish.is_anew() {
            // Lifted out first, so that its own port is a candidate like any other. A failure puts it back.
            store::remove(connection, &wish.key)?;
            let anew = |port| Reservation { port, ..reservation.clone() };
            return self.take(connection, wish, false, anew).map(Some);
        }
        if reservation != stored {
            store::refresh(connection, &reservation)?;
        }
        Ok(Some(Reserved { reservation, created: false, refusal: None, cleanup: None }))
    }

    /// Allocates a port and stores the row `made` of it.
    fn take(
        &self,
        connection: &Connection,
        wish: &Wish<'_>,
        created: bool,
        made: impl Fn(Port) -> Reservation,
    ) -> Result<Reserved> {
        let request = wish.request;
        let permitted = Permitted { prune: !request.disable_autoprune, expire: !request.disable_autoexpire };
        let attempt = || self.allocate(connection, wish);
        let ((port, refusal), cleanup) = cleanup::allocate(self, connection, permitted, attempt)?;
        let reservation = made(port);
        store::insert(connection, &reservation)?;
        Ok(Reserved { reservation, created, refusal, cleanup })
    }

    /// The preferred port, else the lowest usable one and what spoke against the preferred one.
    fn allocate(&self, connection: &Connection, wish: &Wish<'_>) -> Result<(Port, Option<Refusal>)> {
        let mut probing = Probing::new(wish.occupancy);
        let mut refusal = None;
        if let Some(port) = wish.request.preferred {
            let request = wish.request;
            let minds = Minds {
                exclusions: !(request.ignore_exclusions || request.force),
                occupancy: !(request.ignore_occupied || request.force),
            };
            refusal = self.refuse(connection, port, wish.range, minds, &mut probing)?;
            if refusal.is_none() {
                return Ok((port, None));
            }
        }
        let excluded = &self.configuration().excluded;
        Ok((store::lowest_usable(connection, wish.range, excluded, &mut probing)?, refusal))
    }
}
