//! One connection to the database file, and the transactions on it.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::{schema, wait};
use crate::error::{Error, Result};
use crate::os::{self, FileId};

/// No schema cookie: SQLite's is an unsigned 32-bit number.
const NOT_LOOKED: i64 = -1;

pub(crate) struct Database {
    connection: Connection,
    file: FileId,
    /// SQLite's counter of schema changes when the schema was last looked at.
    schema_cookie: Cell<i64>,
}

impl Database {
    /// Opens an existing file and makes sure of its schema; an empty one gets it, a refused one stays as it is.
    pub(super) fn open(path: &Path) -> Result<Database> {
        let file = os::file_id(path).map_err(|source| Error::io("inspect the database", path, source))?;
        // The pool uses a connection from one thread at a time.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_handler(Some(|attempt: i32| wait::pause(attempt.unsigned_abs())))?;
        connection.set_prepared_statement_cache_capacity(64);
        // What another program wrote into the schema may not call functions with side effects.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        let has_log = fs::metadata(with_suffix(path, "-wal")).is_ok_and(|log| log.len() > 0);
        let database = Database { connection, file, schema_cookie: Cell::new(NOT_LOOKED) };
        match database.ensure_schema() {
            Ok(()) => Ok(database),
            Err(error) => {
                if has_log {
                    // Of a program that was killed: closing would write its log into the file.
                    database.close_without_checkpoint();
                }
                Err(error)
            }
        }
    }

    /// Which file this connection is on.
    pub(super) fn file(&self) -> FileId {
        self.file
    }

    /// Closes so that the files stay as they are.
    pub(super) fn close_without_checkpoint(self) {
        // Failing leaves a checkpoint to be made, which is slow and otherwise harmless.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// One consistent look at the database, without any lock that writers would notice.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Deferred)?;
        let cookie = schema::cookie(&transaction)?;
        if cookie != self.schema_cookie.get() {
            if schema::check(&transaction)? != schema::State::Ready {
                drop(transaction);
                self.write(|_| Ok(()))?;
                return self.read(look);
            }
            self.schema_cookie.set(cookie);
        }
        look(&transaction)
    }

    /// One change, complete or not at all; the only writer on this machine while it lasts.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let mut cookie = schema::cookie(&transaction)?;
        if cookie != self.schema_cookie.get() {
            schema::bring_up_to_date(&transaction)?;
            cookie = schema::cookie(&transaction)?;
        }
        let value = change(&transaction)?;
        transaction.commit()?;
        self.schema_cookie.set(cookie);
        Ok(value)
    }

    fn ensure_schema(&self) -> Result<()> {
        let connection = &self.connection;
        let (cookie, state) = {
            // One snapshot, begun by the first of them: another process may be creating the schema at this moment.
            let snapshot = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
            (schema::cookie(&snapshot)?, schema::check(&snapshot)?)
        };
        if state == schema::State::Ready {
            self.schema_cookie.set(cookie);
            if !is_wal(connection)? {
                switch_to_wal(connection)?;
            }
            return Ok(());
        }
        // Small pages make a commit cheaper: each touched page goes to the log whole. Ignored once the file has content.
        connection.execute_batch("PRAGMA page_size = 1024")?;
        switch_to_wal(connection)?;
        self.write(|_| Ok(()))
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn is_wal(connection: &Connection) -> Result<bool> {
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    Ok(mode == "wal")
}

/// Switching can report "busy" without having waited, when several processes open a new file at once.
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
            Err(Error::Busy { .. }) if wait::pause(attempt) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
