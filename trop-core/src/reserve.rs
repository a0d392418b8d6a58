//! `reserve`: the same port for the same key, a new one for a new key.

use std::path::PathBuf;

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::occupancy::Occupancy;
use crate::paths;
use crate::port::{Port, PortRange};
use crate::registry::Registry;
use crate::reservation::{Key, Reservation, Timestamp};
use crate::store;
use crate::tag::Tag;

/// What to reserve. All fields have defaults.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReserveRequest {
    /// The path of the key; none means the physical working directory.
    pub path: Option<PathBuf>,
    /// The tag of the key.
    pub tag: Option<Tag>,
    /// A wish for a new key; an existing one keeps its port.
    pub preferred: Option<Port>,
    /// Replaces the lower end of the registry's range.
    pub min: Option<Port>,
    /// Replaces the upper end of the registry's range.
    pub max: Option<Port>,
    /// Whether the path may be unrelated to the working directory; true by default.
    pub allow_unrelated_path: bool,
}

impl Default for ReserveRequest {
    fn default() -> ReserveRequest {
        ReserveRequest {
            path: None,
            tag: None,
            preferred: None,
            min: None,
            max: None,
            allow_unrelated_path: true,
        }
    }
}

impl ReserveRequest {
    /// Fixes the path to what it means now, for requests that are carried out later or on another thread.
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn pin_path(&mut self) -> Result<()> {
        let key = Key::new(self.path.as_deref(), None)?;
        self.path = Some(PathBuf::from(key.path()));
        Ok(())
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
    /// Why a new key did not get the preferred port it asked for.
    pub refusal: Option<Refusal>,
}

/// What will be written, decided from what the transaction sees.
enum Plan {
    Keep(Reservation),
    Take { port: Port, refusal: Option<Refusal> },
}

impl Registry {
    /// The port of a key: the one it has, else its preferred one if usable, else the lowest usable one of the range.
    ///
    /// # Errors
    /// [`Error::Exhausted`], [`Error::Busy`], [`Error::UnrelatedPath`], [`Error::Config`] when only one end of
    /// the range is given and it does not fit the other, and every error of the database. Nothing is changed then.
    pub fn reserve(&self, request: &ReserveRequest) -> Result<Reserved> {
        let range = self.range(request.min, request.max)?;
        let key = Key::new(request.path.as_deref(), request.tag.clone())?;
        // Looked at before the lock, reported after it: directories may hang, and a locked database comes first.
        let related = request.allow_unrelated_path || self.is_related(key.path())?;
        self.seat().with(|database| {
            database.write(|transaction| {
                if !related {
                    return Err(self.unrelated(key.path()));
                }
                let plan = self.plan(transaction, &key, request.preferred, range)?;
                execute(transaction, &key, plan)
            })
        })
    }

    fn plan(
        &self,
        connection: &Connection,
        key: &Key,
        preferred: Option<Port>,
        range: PortRange,
    ) -> Result<Plan> {
        if let Some(existing) = store::by_key(connection, key)? {
            return Ok(Plan::Keep(existing));
        }
        let mut refusal = None;
        if let Some(port) = preferred {
            refusal = self.refuse(connection, port, range)?;
            if refusal.is_none() {
                return Ok(Plan::Take { port, refusal });
            }
        }
        let settings = self.settings();
        let port = store::lowest_usable(connection, range, &settings.excluded, settings.occupancy)?;
        Ok(Plan::Take { port, refusal })
    }

    /// The first obstacle in the contract's order, if there is one.
    fn refuse(&self, connection: &Connection, port: Port, range: PortRange) -> Result<Option<Refusal>> {
        let settings = self.settings();
        Ok(if !range.contains(port) {
            Some(Refusal::OutsideRange)
        } else if store::is_reserved(connection, port)? {
            Some(Refusal::Reserved)
        } else if settings.excluded.contains(port) {
            Some(Refusal::Excluded)
        } else if settings.occupancy.probe(port) != Occupancy::Free {
            Some(Refusal::Occupied)
        } else {
            None
        })
    }

    fn range(&self, min: Option<Port>, max: Option<Port>) -> Result<PortRange> {
        let ports = self.settings().ports;
        match (min, max) {
            (None, None) => Ok(ports),
            (Some(min), Some(max)) => PortRange::new("min", min, max),
            _ => {
                let (min, max) = (min.unwrap_or(ports.min()), max.unwrap_or(ports.max()));
                PortRange::new("ports", min, max).map_err(|_| Error::Config {
                    setting: "ports",
                    reason: format!("min {min} is above max {max}; give both ends of the range"),
                })
            }
        }
    }

    pub(crate) fn is_related(&self, path: &str) -> Result<bool> {
        if self.settings().allow_unrelated_path {
            return Ok(true);
        }
        let base = self.base()?;
        Ok(paths::is_related(path.as_ref(), base))
    }

    pub(crate) fn unrelated(&self, path: &str) -> Error {
        let base = self.base().map(std::path::Path::to_path_buf).unwrap_or_default();
        Error::UnrelatedPath { path: path.to_owned(), base }
    }
}

fn execute(connection: &Connection, key: &Key, plan: Plan) -> Result<Reserved> {
    let now = Timestamp::now();
    match plan {
        Plan::Keep(mut reservation) => {
            if reservation.last_used_at != now {
                store::touch(connection, key, now)?;
                reservation.last_used_at = now;
            }
            Ok(Reserved { reservation, created: false, refusal: None })
        }
        Plan::Take { port, refusal } => {
            store::insert(connection, key, port, now)?;
            let reservation = Reservation {
                port,
                key: key.clone(),
                project: None,
                task: None,
                created_at: now,
                last_used_at: now,
            };
            Ok(Reserved { reservation, created: true, refusal })
        }
    }
}
