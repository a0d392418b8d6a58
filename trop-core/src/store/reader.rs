//! A connection that only reads.
//!
//! With a log beside the file it uses SQLite's locks. Without one, a user who may not write the directory
//! cannot take a lock at all. The file is then read without locks, and the query is repeated if the file was
//! written meanwhile.

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
    /// The state of the files when the connection was opened.
    stamp: Stamp,
    /// Whether the file had version 1.
    is_old: bool,
}

impl Reader {
    /// Opens a file whose schema this version supports or can migrate.
    pub(super) fn open(file: DatabaseFile) -> Attempt<Reader> {
        let mut reader = Reader::connected(file)?;
        let inspected = reader.inspect(|snapshot| match schema::check(snapshot)? {
            schema::State::Empty => Err(reader.refuse_write()),
            state => Ok(state == schema::State::Old),
        });
        match inspected {
            Ok(is_old) => reader.is_old = is_old,
            Err(error) => {
                if reader.stamp.has_log {
                    // Not the error to report.
                    let _ = leave_log_alone(&reader.connection);
                }
                return Err(error);
            }
        }
        Ok(reader)
    }

    /// Opens a file, whatever its content. Neither the file nor its log is changed.
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

    pub(super) fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        self.inspect(|snapshot| {
            if schema::check(snapshot)? == schema::State::Old {
                return Err(needs_migration());
            }
            query(snapshot)
        })
    }

    pub(super) fn inspect<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        self.file.ensure_current()?;
        let seen = Transaction::begin(&self.connection, TransactionMode::Deferred)
            .and_then(|snapshot| query(&snapshot));
        // With a log there are locks, so a change of the files matters only if the query failed.
        let is_in_doubt = !self.stamp.has_log || seen.is_err();
        if is_in_doubt && Stamp::of(&self.file.real) != self.stamp {
            return Err(Failure::Retry);
        }
        Ok(seen?)
    }

    /// The error for an attempt to write.
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

/// The part of the files' state that changes whenever the database is written: the length and time of the
/// file, and whether there is a log.
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

/// Whether a write-ahead log or a rollback journal with content lies beside the file. A log that is kept for
/// reuse has none.
pub(super) fn has_log(database: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|suffix| {
        let log = beside(database, suffix);
        std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) && !reusable_wal::is_reusable(&log)
    })
}
