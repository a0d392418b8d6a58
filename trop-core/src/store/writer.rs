//! A connection that reads and writes.

use std::cell::Cell;

use rusqlite::Connection;

use super::attempt::Attempt;
use super::file::{DatabaseFile, Mode, connect, leave_log_alone};
use super::lock_wait::{self, FairLock, Timing, Turn};
use super::reader::has_log;
use super::transaction::{Transaction, TransactionMode};
use super::{schema, upgrade};
use crate::model::{Error, Result};
use crate::os::fs::ensure_writable;

/// A value that no schema cookie has, because SQLite's is an unsigned 32-bit number.
const NOT_SEEN: i64 = -1;

pub(crate) struct Writer {
    connection: Connection,
    file: DatabaseFile,
    /// SQLite's counter of schema changes when the schema was last found complete.
    schema_cookie: Cell<i64>,
    /// Whether the file had version 1 when it was opened.
    is_old: Cell<bool>,
    /// Whether the journal mode is known to be WAL.
    is_in_wal_mode: Cell<bool>,
    fair_lock: FairLock,
    /// Whether no other connection can have the file open.
    is_exclusive: bool,
}

impl Writer {
    /// Opens a file and gives it the schema if it is empty.
    pub(super) fn open(file: DatabaseFile) -> Attempt<Writer> {
        let writer = Writer::connected(file, Mode::ReadWrite)?;
        if let Err(error) = writer.inspect_schema().and_then(|()| Ok(writer.limit_log()?)) {
            if has_log(&writer.file.real) {
                // The log may belong to a program that was killed. Closing would write it into the file.
                let _ = leave_log_alone(&writer.connection);
            }
            return Err(error);
        }
        Ok(writer)
    }

    /// Opens a file for [`Writer::reset`]. Fails with [`Error::Busy`] while another connection has it open.
    pub(super) fn open_exclusively(file: DatabaseFile) -> Result<Writer> {
        ensure_writable(&file.real).map_err(|source| Error::io("write the database", &file.path, source))?;
        Writer::connected(file, Mode::Exclusive)
    }

    fn connected(file: DatabaseFile, mode: Mode) -> Result<Writer> {
        Ok(Writer {
            connection: connect(&file.real, mode)?,
            schema_cookie: Cell::new(NOT_SEEN),
            is_old: Cell::new(false),
            is_in_wal_mode: Cell::new(false),
            fair_lock: FairLock::new(Some(&file.real), Timing::default()),
            is_exclusive: matches!(mode, Mode::Exclusive),
            file,
        })
    }

    fn inspect_schema(&self) -> Attempt<()> {
        let (cookie, state) = {
            // One snapshot for both: another process may be creating the schema at this moment.
            let snapshot = Transaction::begin(&self.connection, TransactionMode::Deferred)?;
            (schema::cookie(&snapshot)?, schema::check(&snapshot)?)
        };
        match state {
            schema::State::Ready => self.schema_cookie.set(cookie),
            schema::State::WithoutExtension => {}
            schema::State::Old => self.is_old.set(true),
            schema::State::Empty => {
                // Small pages make a commit cheaper, because every changed page is written to the log as a
                // whole.
                self.connection.execute_batch("PRAGMA page_size = 1024")?;
                self.write(|_| Ok(()))?;
            }
        }
        Ok(())
    }

    /// Makes SQLite run a checkpoint when the log has about 4 MB. That is its default too, but expressed as a
    /// number of pages, and our pages are smaller.
    fn limit_log(&self) -> Result<()> {
        let page: i64 = self.connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = 4_000_000 / page.max(512);
        self.connection.execute_batch(&format!("PRAGMA wal_autocheckpoint = {pages}"))?;
        Ok(())
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn file(&self) -> &DatabaseFile {
        &self.file
    }

    pub(super) fn is_reusable(&self) -> bool {
        !self.is_exclusive && self.connection.is_autocommit()
    }

    pub(super) fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        let mut snapshot = self.begin_read()?;
        while self.is_outdated(&snapshot)? {
            drop(snapshot);
            self.upgrade()?;
            snapshot = self.begin_read()?;
        }
        Ok(query(&snapshot)?)
    }

    pub(super) fn inspect<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        Ok(query(&*self.begin_read()?)?)
    }

    fn begin_read(&self) -> Attempt<Transaction<'_>> {
        self.file.ensure_current()?;
        Ok(Transaction::begin(&self.connection, TransactionMode::Deferred)?)
    }

    fn is_outdated(&self, snapshot: &Connection) -> Result<bool> {
        Ok(schema::cookie(snapshot)? != self.schema_cookie.get()
            && schema::check(snapshot)? == schema::State::Old)
    }

    pub(super) fn write<T>(&self, change: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        if self.is_old.get() {
            // Before the journal mode is changed, so that a refused file stays unchanged.
            self.upgrade()?;
        }
        if !self.is_in_wal_mode.get() {
            if !is_wal(&self.connection)? {
                switch_to_wal(&self.connection)?;
            }
            self.is_in_wal_mode.set(true);
        }
        self.change(&self.fair_lock.turn(), change)
    }

    fn change<T>(&self, turn: &Turn<'_>, change: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        let mut transaction = self.begin_change(turn)?;
        let mut cookie = schema::cookie(&transaction)?;
        while cookie != self.schema_cookie.get() {
            let state = schema::bring_up_to_date(&transaction)?;
            cookie = schema::cookie(&transaction)?;
            if state != schema::State::Old {
                break;
            }
            drop(transaction);
            self.upgrade()?;
            transaction = self.begin_change(turn)?;
            cookie = schema::cookie(&transaction)?;
        }
        let value = change(&transaction)?;
        transaction.commit()?;
        self.schema_cookie.set(cookie);
        Ok(value)
    }

    /// Begins a write transaction, and checks that the path still leads to this file. What is written to a
    /// file that was replaced, perhaps while this waited for the lock, would be lost.
    fn begin_change(&self, turn: &Turn<'_>) -> Attempt<Transaction<'_>> {
        let transaction = turn.acquire(|| Transaction::begin(&self.connection, TransactionMode::Immediate));
        self.file.ensure_current()?;
        Ok(transaction?)
    }

    /// Migrates version 1, unless another process was faster.
    fn upgrade(&self) -> Attempt<()> {
        // A migration cannot be repeated, so it has to survive a power cut. The setting cannot be changed
        // inside a transaction.
        self.connection.execute_batch("PRAGMA synchronous = FULL")?;
        let migrated = self.upgrade_durably(&self.fair_lock.turn());
        self.connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        let migrated = migrated?;
        self.is_old.set(false);
        if let Some(count) = migrated {
            log::warn!(
                "trop: migrated '{}' from schema version 1 to 2 with its {count} reservations; \
                 older programs will refuse it from now on",
                self.file.path.display()
            );
        }
        Ok(())
    }

    fn upgrade_durably(&self, turn: &Turn<'_>) -> Attempt<Option<i64>> {
        let transaction = self.begin_change(turn)?;
        if schema::check(&transaction)? != schema::State::Old {
            return Ok(None);
        }
        let count = upgrade::run(&transaction)?;
        schema::bring_up_to_date(&transaction)?;
        transaction.commit()?;
        Ok(Some(count))
    }

    /// Empties the database, whatever schema it had, in one transaction. The connection must have been opened
    /// exclusively.
    pub(super) fn reset(&self) -> Result<()> {
        let transaction = Transaction::begin(&self.connection, TransactionMode::Exclusive)?;
        schema::drop_everything(&transaction)?;
        schema::bring_up_to_date(&transaction)?;
        transaction.commit()
    }
}

fn is_wal(connection: &Connection) -> Result<bool> {
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    Ok(mode == "wal")
}

/// Switching can report "busy" without calling the busy handler when several processes open a new file at
/// once, so the wait is made here.
fn switch_to_wal(connection: &Connection) -> Result<()> {
    for attempt in 0.. {
        let answer = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match answer.map_err(Error::from) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(Error::Unsupported {
                    reason: format!(
                        "write-ahead logging cannot be switched on here (the journal mode stays '{mode}'); \
                         set TROP_DATA_DIR to a directory on a local disk"
                    ),
                });
            }
            Err(Error::Busy { .. }) if lock_wait::pause(attempt) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::store::Failure;
    use crate::store::connection::Database;
    use crate::store::data_dir;

    fn opened(directory: &std::path::Path) -> Writer {
        data_dir::prepare(directory, true).unwrap();
        lock_wait::start(Instant::now() + Duration::from_secs(60));
        match Database::open(&directory.join("trop.db")) {
            Ok(Database::Writer(writer)) => writer,
            _ => panic!("it can be written"),
        }
    }

    /// Otherwise waiters would not be woken.
    #[test]
    fn a_change_that_fails_ends_its_turn() {
        let directory = tempfile::tempdir().unwrap();
        let writer = opened(directory.path());
        let turn = writer.fair_lock.turn();
        assert!(turn.acquire(|| Ok(lock_wait::pause(u32::MAX))).unwrap());
        std::mem::forget(turn);
        assert!(writer.fair_lock.is_turn_begun());
        let failed = writer.write(|_| Err::<(), _>(Error::Closed));
        assert!(matches!(failed, Err(Failure::Error(Error::Closed))));
        assert!(!writer.fair_lock.is_turn_begun());
    }

    #[test]
    fn commits_are_synchronous_and_the_schema_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let writer = opened(directory.path());
        let pragma = |name: &str| -> i64 {
            writer.connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap()
        };
        assert_eq!(pragma("synchronous"), 1, "NORMAL");
        assert_eq!(pragma("cache_spill"), 0, "which the VFS relies on");
        assert_eq!(pragma("wal_autocheckpoint"), 3906);
        assert_eq!(pragma("trusted_schema"), 0);
        assert_eq!(pragma("page_size"), 1024);
    }
}
