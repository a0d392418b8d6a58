//! `prune`, `expire` and both at once: remove reservations that are not needed any more.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::model::{Error, Key, Reservation, Result, Timestamp};
use crate::os::fs::is_link_loop;
use crate::registry::Registry;
use crate::store;

const SECONDS_A_DAY: i64 = 86400;

/// What a clean-up removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleanup {
    /// The reservations whose path is no directory any more, by path, then tag.
    pub pruned: Vec<Reservation>,
    /// The reservations that were not used for more than `days` and were not pruned, the oldest first.
    pub expired: Vec<Reservation>,
    /// The paths that could not be inspected and therefore kept their reservations, in their order.
    pub preserved: Vec<Preserved>,
    /// The age limit in days of 86400 seconds.
    pub days: u32,
    /// The time from which ages were counted.
    pub now: Timestamp,
}

impl Cleanup {
    /// How many reservations were removed.
    #[must_use]
    pub fn total(&self) -> usize {
        self.pruned.len() + self.expired.len()
    }

    /// The clean-up as a JSON object with `pruned` and `expired` (arrays as of [`Reservation::to_json`]),
    /// `preserved` (an array of objects with `path` and `cause`) and `days`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let rows = |rows: &[Reservation]| -> Vec<Value> { rows.iter().map(Reservation::to_json).collect() };
        let preserved = |kept: &Preserved| json!({ "path": kept.path, "cause": kept.cause });
        json!({
            "pruned": rows(&self.pruned),
            "expired": rows(&self.expired),
            "preserved": self.preserved.iter().map(preserved).collect::<Vec<_>>(),
            "days": self.days,
        })
    }
}

/// A path for which it is not known whether its directory is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preserved {
    /// The path.
    pub path: String,
    /// What the operating system answered, such as `permission denied`.
    pub cause: String,
}

/// Which reservations a clean-up looks for.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    pub(super) prune: bool,
    pub(super) expire: bool,
    pub(super) days: u32,
}

impl Registry {
    /// Removes the reservations whose path is certainly not a directory any more, all or none.
    ///
    /// Directories are inspected, with symbolic links followed, before the database is locked.
    ///
    /// # Errors
    /// [`Error::Busy`] and every error of the database. Nothing is changed then.
    pub fn prune(&self) -> Result<Cleanup> {
        self.clean(Scope { prune: true, expire: false, days: self.configuration().expire_after_days })
    }

    /// Removes the reservations that were last used more than `days` days ago, all or none; none means the
    /// configured number, 30 by default.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for 0 days, [`Error::Busy`] and every error of the database. Nothing is
    /// changed then.
    pub fn expire(&self, days: Option<u32>) -> Result<Cleanup> {
        self.clean(Scope { prune: false, expire: true, days: self.days(days)? })
    }

    /// [`Registry::prune`] and [`Registry::expire`] in one step, all or none. What both would remove counts
    /// as pruned.
    ///
    /// # Errors
    /// As [`Registry::expire`].
    pub fn autoclean(&self, days: Option<u32>) -> Result<Cleanup> {
        self.clean(Scope { prune: true, expire: true, days: self.days(days)? })
    }

    fn days(&self, days: Option<u32>) -> Result<u32> {
        match days {
            Some(0) => Err(Error::invalid("days", "0 would remove everything; it must be > 0")),
            Some(days) => Ok(days),
            None => Ok(self.configuration().expire_after_days),
        }
    }

    fn clean(&self, scope: Scope) -> Result<Cleanup> {
        let survey = if scope.prune { self.survey()? } else { Survey::default() };
        self.remove(scope, &survey)
    }

    fn survey(&self) -> Result<Survey> {
        let mut survey = Survey::default();
        for row in self.list()? {
            survey.paths.inspect(row.key.path());
            survey.rows.insert(row.key.clone(), row);
        }
        Ok(survey)
    }

    fn remove(&self, scope: Scope, survey: &Survey) -> Result<Cleanup> {
        self.write(|transaction| {
            // Only directories that were found missing are inspected again: one that hangs must not be
            // accessed under the lock.
            let mut again = Inspection::default();
            sweep(transaction, scope, |row| match survey.paths.known(row.key.path()) {
                Some(DirectoryState::Gone) if survey.rows.get(&row.key) == Some(row) => {
                    again.inspect(row.key.path()).clone()
                }
                Some(unknown @ DirectoryState::Unknown(_)) => unknown.clone(),
                _ => DirectoryState::Present,
            })
        })
    }
}

/// The rows and directories as they were before the lock was taken.
#[derive(Default)]
struct Survey {
    rows: BTreeMap<Key, Reservation>,
    paths: Inspection,
}

/// Cleans up for an allocation, in the caller's write transaction.
pub(super) fn remove_now(connection: &Connection, scope: Scope) -> Result<Cleanup> {
    let mut inspection = Inspection::default();
    sweep(connection, scope, |row| inspection.inspect(row.key.path()).clone())
}

/// Selects rows and removes them. `judge` returns the state of a row's directory; it is called only if
/// `scope` prunes.
fn sweep(
    connection: &Connection,
    scope: Scope,
    mut judge: impl FnMut(&Reservation) -> DirectoryState,
) -> Result<Cleanup> {
    let now = Timestamp::now();
    let limit = i64::from(scope.days) * SECONDS_A_DAY;
    let (mut pruned, mut expired) = (Vec::new(), Vec::new());
    let mut preserved = BTreeMap::new();
    for row in store::list(connection)? {
        let state = if scope.prune { judge(&row) } else { DirectoryState::Present };
        if matches!(state, DirectoryState::Gone) {
            pruned.push(row);
        } else if scope.expire && now.seconds() - row.last_used_at.seconds() > limit {
            expired.push(row);
        } else if let DirectoryState::Unknown(cause) = state {
            preserved.insert(row.key.path().to_owned(), cause);
        }
    }
    expired.sort_by(|a, b| (a.last_used_at, &a.key).cmp(&(b.last_used_at, &b.key)));
    for row in pruned.iter().chain(&expired) {
        store::remove(connection, &row.key)?;
    }
    let preserved = preserved.into_iter().map(|(path, cause)| Preserved { path, cause }).collect();
    Ok(Cleanup { pruned, expired, preserved, days: scope.days, now })
}

/// What is known of a path's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
enum DirectoryState {
    Present,
    /// There is no directory, or it is something else, or its name is not valid on this system.
    Gone,
    /// It could not be inspected, for this reason.
    Unknown(String),
}

/// The states of directories. Each path is inspected once.
#[derive(Default)]
struct Inspection(BTreeMap<String, DirectoryState>);

impl Inspection {
    fn inspect(&mut self, path: &str) -> &DirectoryState {
        self.0.entry(path.to_owned()).or_insert_with(|| state_of(fs::metadata(Path::new(path))))
    }

    fn known(&self, path: &str) -> Option<&DirectoryState> {
        self.0.get(path)
    }
}

/// Only a definite answer makes a reservation removable. A mount that is unavailable for a moment does not
/// give one.
fn state_of(found: io::Result<fs::Metadata>) -> DirectoryState {
    use io::ErrorKind as Kind;
    let error = match found {
        Ok(metadata) if metadata.is_dir() => return DirectoryState::Present,
        Ok(_) => return DirectoryState::Gone,
        Err(error) => error,
    };
    match error.kind() {
        Kind::NotFound | Kind::NotADirectory | Kind::InvalidFilename | Kind::InvalidInput => {
            DirectoryState::Gone
        }
        Kind::PermissionDenied => DirectoryState::Unknown("permission denied".to_owned()),
        _ if is_link_loop(&error) => DirectoryState::Unknown("symlink loop".to_owned()),
        _ => DirectoryState::Unknown(error.to_string()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::config::RegistryOptions;
    use crate::model::Tag;
    use crate::operations::ReserveRequest;

    const SCOPE: Scope = Scope { prune: true, expire: true, days: 30 };

    fn request(path: &Path, tag: &str) -> ReserveRequest {
        let mut request = ReserveRequest::default();
        (request.path, request.tag) = (Some(path.into()), Some(Tag::new(tag).unwrap()));
        request.occupancy.skip = true;
        request
    }

    /// Trap 51 (a refreshed row is deleted).
    #[test]
    fn what_changes_between_the_survey_and_the_lock_survives() {
        let scratch = tempfile::tempdir().unwrap();
        let options = RegistryOptions { data_dir: Some(scratch.path().join("data")), ..Default::default() };
        let registry = Registry::open(options).unwrap();
        let (gone, back) = (scratch.path().join("gone"), scratch.path().join("back"));
        let requests = [(&gone, "refreshed"), (&gone, "stale"), (&gone, "moved"), (&back, "returned")]
            .map(|(path, tag)| request(path, tag));
        for request in &requests {
            registry.reserve(request).unwrap();
        }
        // All of them look old, so that another reservation of the same key changes the row.
        let age = |connection: &Connection| {
            for row in store::list(connection)? {
                let last_used_at = Timestamp::from_seconds(1000).unwrap_or(row.last_used_at);
                store::refresh(connection, &Reservation { last_used_at, ..row })?;
            }
            Ok(())
        };
        registry.write(age).unwrap();

        let survey = registry.survey().unwrap();
        registry.reserve(&requests[0]).unwrap();
        fs::create_dir(&back).unwrap();
        registry.reserve(&request(&gone, "new")).unwrap();
        let mut moved = request(&gone, "moved");
        (moved.overwrite, moved.preferred) = (true, crate::Port::from_number(5500));
        registry.reserve(&moved).unwrap();
        let cleanup = registry.remove(Scope { expire: false, ..SCOPE }, &survey).unwrap();

        let tags = |rows: &[Reservation]| -> Vec<String> {
            rows.iter().filter_map(|row| row.key.tag().map(Tag::to_string)).collect()
        };
        assert_eq!(tags(&cleanup.pruned), ["stale"]);
        assert_eq!(tags(&registry.list().unwrap()), ["returned", "moved", "new", "refreshed"]);
        assert_eq!(tags(&registry.autoclean(None).unwrap().expired), ["returned"]);
        assert_eq!(registry.list().unwrap(), []);
    }

    /// Traps 50 (an unreadable directory is missing), 56 (an impossible path stays).
    #[test]
    fn only_definite_answers_make_a_reservation_removable() {
        let of = |number| state_of(Err(io::Error::from_raw_os_error(number)));
        for definite in [libc::ENOENT, libc::ENOTDIR, libc::ENAMETOOLONG, libc::EINVAL] {
            assert_eq!(of(definite), DirectoryState::Gone, "{definite}");
        }
        assert_eq!(of(libc::EACCES), DirectoryState::Unknown("permission denied".to_owned()));
        assert_eq!(of(libc::ELOOP), DirectoryState::Unknown("symlink loop".to_owned()));
        for unknown in
            [libc::ESTALE, libc::EBUSY, libc::ETIMEDOUT, libc::EIO, libc::EHOSTDOWN, libc::ENOTCONN]
        {
            assert!(matches!(of(unknown), DirectoryState::Unknown(_)), "{unknown}");
        }
        assert_eq!(state_of(fs::metadata("/dev/null")), DirectoryState::Gone);
        assert_eq!(state_of(fs::metadata("/")), DirectoryState::Present);
    }
}
