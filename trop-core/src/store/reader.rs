//! A connection that only reads.
//!
//! With a log beside the file it takes part in SQLite's locks. Without one not even a lock can be had by
//! whoever may not write the directory, so the file is read as if nobody else were there, and the look is
//! made again when it turns out that somebody wrote meanwhile.

use std::path::Path;
use std::time::SystemTime;

use rusqlite::Connection;

use super::attempt::{Attempt, Failure};
use super::file::{DatabaseFile, Mode, connect, leave_log_alone};
use super::schema;
use super::transaction::{Transaction, TransactionMode};
use crate::model::{Error, Result};
use crate::os::fs::{beside, write_failure};
use crate::os::vfs::reusable_wal;

pub(crate) struct Reader {
    connection: Connection,
    file: DatabaseFile,
    /// What there was when the file was opened.
    stamp: Stamp,
    /// Whether the file had version 1.
    is_old: bool,
}

impl Reader {
    /// Opens a file that has a schema this version serves, or one that can be migrated.
    pub(super) fn open(file: DatabaseFile) -> Attempt<Reader> {
        let mut reader = Reader::connected(file)?;
        let looked = reader.inspect(|snapshot| match schema::check(snapshot)? {
            schema::State::Empty => Err(reader.refuse_write()),
            state => Ok(state == schema::State::Old),
        });
        match looked {
            Ok(is_old) => reader.is_old = is_old,
            Err(error) => {
                if reader.stamp.has_log {
                    leave_log_alone(&reader.connection)?;
                }
                return Err(error);
            }
        }
        Ok(reader)
    }

    /// Opens a file whatever is in it. It stays as it is, log and all.
    pub(super) fn open_for_inspection(file: DatabaseFile) -> Attempt<Reader> {
        let reader = Reader::connected(file)?;
        leave_log_alone(&reader.connection)?;
        Ok(reader)
    }

    fn connected(file: DatabaseFile) -> Result<Reader> {
        let stamp = Stamp::of(&file.real);
        let mode = if stamp.has_log { Mode::Read } else { Mode::ReadImmutable };
        Ok(Reader { connection: connect(&file.real, mode)?, file, stamp, is_old: false })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn file(&self) -> &DatabaseFile {
        &self.file
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        self.inspect(|snapshot| {
            if schema::check(snapshot)? == schema::State::Old {
                return Err(needs_migration());
            }
            look(snapshot)
        })
    }

    pub(super) fn inspect<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        self.file.ensure_current()?;
        let seen = Transaction::begin(&self.connection, TransactionMode::Deferred)
            .and_then(|snapshot| look(&snapshot));
        // With a log there are locks, and only failures are due to what has changed.
        let is_in_doubt = !self.stamp.has_log || seen.is_err();
        if is_in_doubt && Stamp::of(&self.file.real) != self.stamp {
            return Err(Failure::Retry);
        }
        Ok(seen?)
    }

    /// Why nothing can be changed.
    pub(super) fn refuse_write(&self) -> Error {
        if self.is_old {
            return needs_migration();
        }
        let path = &self.file.path;
        Error::io("write the database", path, write_failure(path))
    }
}

fn needs_migration() -> Error {
    Error::schema(
        "version 1 was made by an older program and has to be migrated, which needs the right to write; \
         run trop once as the user who may",
    )
}

/// What changes whenever the database is written: the length and time of the file, and whether there is a
/// log.
#[derive(PartialEq)]
struct Stamp {
    file: Option<(u64, Option<SystemTime>)>,
    has_log: bool,
}

impl Stamp {
    fn of(path: &Path) -> Stamp {
        let metadata = std::fs::metadata(path).ok();
        let file = metadata.map(|metadata| (metadata.len(), metadata.modified().ok()));
        Stamp { file, has_log: has_log(path) }
    }
}

/// Whether a log with content lies beside the file, of either kind: written ahead, or to roll back.
pub(super) fn has_log(database: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|suffix| {
        let log = beside(database, suffix);
        std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) && !reusable_wal::is_reusable(&log)
    })
}
