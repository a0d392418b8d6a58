//! One connection to the database file, and the transactions on it.

use std::cell::Cell;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::transaction::{Lock, Transaction};
use super::{schema, upgrade, wait};
use crate::error::{Error, Result};
use crate::os::{self, FileId};

/// No schema cookie: SQLite's is an unsigned 32-bit number.
const NOT_LOOKED: i64 = -1;

pub(crate) struct Database {
    connection: Connection,
    /// The path as it was given; where links lead may change.
    path: PathBuf,
    /// None in memory.
    file: Option<FileId>,
    access: Access,
    /// SQLite's counter of schema changes when the schema was last found complete.
    schema_cookie: Cell<i64>,
    /// Whether the file had version 1 when it was opened.
    is_old: Cell<bool>,
    /// Whether the journal mode was found or made right.
    logs: Cell<bool>,
    turns: wait::Turns,
}

/// What this user may do with the file.
enum Access {
    ReadWrite,
    /// As the only one who has the file open.
    Exclusive,
    Read(Look),
}

/// What there was when a connection that only reads was opened.
struct Look {
    real: PathBuf,
    stamp: Stamp,
}

/// What changes whenever the database is written: the length and time of the file, and whether there is a log. Without
/// one not even a lock can be had to read, so the file is read as if nobody else were there.
#[derive(Clone, PartialEq)]
struct Stamp {
    file: Option<(u64, Option<SystemTime>)>,
    has_log: bool,
}

impl Database {
    /// Opens an existing file. An empty one gets its schema; a refused one stays as it is; any other is changed by the
    /// first write only, because whoever just reads must neither wait for writers nor need their rights.
    pub(super) fn open(path: &Path) -> Result<Database> {
        let (real, file) = located(path)?;
        let access = if os::is_writable(&real) {
            Access::ReadWrite
        } else {
            Access::Read(Look { stamp: stamp(&real), real: real.clone() })
        };
        let database = Database::connected(path, &real, file, access)?;
        match database.undisturbed(database.inspect()).and_then(|()| database.limit_log()) {
            Ok(()) => Ok(database),
            Err(error) => {
                if has_log(&real) {
                    // Perhaps of a program that was killed: closing would write its log into the file.
                    database.close_without_checkpoint();
                }
                Err(error)
            }
        }
    }

    /// The log is moved into the file when it has some 4 MB. That is SQLite's default too, but as a number of pages, and
    /// ours are smaller.
    fn limit_log(&self) -> Result<()> {
        let page: i64 = self.connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        self.connection
            .execute_batch(&format!("PRAGMA wal_autocheckpoint = {}", 4_000_000 / page.max(512)))?;
        Ok(())
    }

    /// Which file this connection is on; none for a copy in memory.
    pub(super) fn file(&self) -> Option<FileId> {
        self.file
    }

    /// Whether the connection serves every call. One that only reads must not be kept: rights and files change.
    /// Nor one that could not end its transaction.
    pub(super) fn is_reusable(&self) -> bool {
        self.is_writable() && self.connection.is_autocommit()
    }

    fn is_writable(&self) -> bool {
        matches!(self.access, Access::ReadWrite)
    }

    /// Closes so that the files stay as they are.
    pub(super) fn close_without_checkpoint(self) {
        // Failing leaves a checkpoint to be made, which is slow and otherwise harmless.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// Opens an existing file for looking at it whatever is in it. It stays as it is, log and all.
    pub(super) fn open_for_inspection(path: &Path) -> Result<Database> {
        let (real, file) = located(path)?;
        let access = Access::Read(Look { stamp: stamp(&real), real: real.clone() });
        let database = Database::connected(path, &real, file, access)?;
        database.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(database)
    }

    /// Opens an existing file for [`Database::reset`]. Fails with [`Error::Busy`] while anybody else has it open.
    pub(super) fn open_exclusively(path: &Path) -> Result<Database> {
        let (real, file) = located(path)?;
        if !os::is_writable(&real) {
            return Err(Error::io("write the database", path, os::write_failure(&real)));
        }
        Database::connected(path, &real, file, Access::Exclusive)
    }

    /// Empties the database, whatever schema it had, in one transaction.
    pub(crate) fn reset(&self) -> Result<()> {
        let transaction = Transaction::begin(&self.connection, Lock::Exclusive)?;
        schema::drop_everything(&transaction)?;
        schema::bring_up_to_date(&transaction)?;
        transaction.commit()
    }

    /// Closing will leave the log alone, because it may be another file's by then.
    pub(crate) fn forget_files(&self) -> Result<()> {
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(())
    }

    fn connected(path: &Path, real: &Path, file: FileId, access: Access) -> Result<Database> {
        let mut connection = connect(real, &access)?;
        connection.busy_handler(Some(|attempt: i32| wait::pause(attempt.unsigned_abs())))?;
        connection.set_prepared_statement_cache_capacity(64);
        if matches!(access, Access::Exclusive) {
            // Before the first look at the file, or a log's readers would not be noticed.
            connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA foreign_keys = OFF")?;
        }
        // What another program wrote into the schema may not call functions with side effects.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        if !matches!(access, Access::Read(_)) {
            connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA cache_spill = OFF")?;
        }
        Ok(Database {
            connection,
            path: path.to_path_buf(),
            file: Some(file),
            access,
            schema_cookie: Cell::new(NOT_LOOKED),
            is_old: Cell::new(false),
            logs: Cell::new(false),
            turns: wait::Turns::new(Some(real)),
        })
    }

    /// A private copy in memory of what is committed now; takes no lock that writers would notice.
    pub(super) fn copy(&self) -> Result<Database> {
        // A file of version 1 is not migrated, but its copy is.
        self.look(|snapshot| {
            schema::check(snapshot)?;
            let mut memory = Connection::open_in_memory()?;
            Backup::new(snapshot, &mut memory)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
            Database::in_memory(memory, &self.path)
        })
    }

    /// A private registry in memory that is as empty as a new one at the path would be.
    pub(super) fn blank(path: &Path) -> Result<Database> {
        Database::in_memory(Connection::open_in_memory()?, path)
    }

    fn in_memory(connection: Connection, path: &Path) -> Result<Database> {
        connection.set_prepared_statement_cache_capacity(64);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        let database = Database {
            connection,
            path: path.to_path_buf(),
            file: None,
            access: Access::ReadWrite,
            schema_cookie: Cell::new(NOT_LOOKED),
            is_old: Cell::new(false),
            logs: Cell::new(true),
            turns: wait::Turns::new(None),
        };
        database.write(|_| Ok(()))?;
        Ok(database)
    }

    /// Whether the file at the path is still the one this connection is on: a directory that was deleted and
    /// made again must not split the registry in two.
    pub(super) fn is_current(&self) -> bool {
        self.file.is_none_or(|file| os::file_id(&self.path).is_ok_and(|now| now == file))
    }

    /// Begins a look at the file that the path means now.
    fn begin_look(&self) -> Result<Transaction<'_>> {
        if self.is_current() {
            Transaction::begin(&self.connection, Lock::Snapshot)
        } else {
            Err(wait::interrupt())
        }
    }

    /// Begins a change of the file that the path means now. What is written to one that was replaced, perhaps while this
    /// waited for the lock, would be lost.
    fn begin_change(&self) -> Result<Transaction<'_>> {
        let transaction = self.turns.take(|| Transaction::begin(&self.connection, Lock::Writer));
        if self.is_current() { transaction } else { Err(wait::interrupt()) }
    }

    /// One consistent look at the database, without any lock that writers would notice.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut transaction = self.begin_look()?;
        while self.undisturbed(self.is_outdated(&transaction))? {
            drop(transaction);
            self.upgrade()?;
            transaction = self.begin_look()?;
        }
        self.undisturbed(look(&transaction))
    }

    fn is_outdated(&self, connection: &Connection) -> Result<bool> {
        Ok(schema::cookie(connection)? != self.schema_cookie.get()
            && schema::check(connection)? == schema::State::Old)
    }

    /// One consistent look at whatever is there.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let transaction = self.begin_look()?;
        self.undisturbed(look(&transaction))
    }

    /// A look for whoever is about to change something and will look again: the file may have been replaced and its
    /// schema is not checked. None for what fails, which will fail then too, except that nothing is waited for twice.
    pub(crate) fn glance<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<Option<T>> {
        match look(&self.connection) {
            Ok(seen) => Ok(Some(seen)),
            Err(error @ Error::Busy { .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// What was seen, unless somebody wrote meanwhile and it was seen without a lock: then the look is made again.
    fn undisturbed<T>(&self, seen: Result<T>) -> Result<T> {
        match &self.access {
            Access::Read(look) if stamp(&look.real) != look.stamp => {
                // With a log there are locks, and only failures are due to what has changed.
                if !look.stamp.has_log || seen.is_err() {
                    return Err(wait::interrupt());
                }
                seen
            }
            _ => seen,
        }
    }

    /// One change, complete or not at all; the only writer on this machine while it lasts.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if self.is_old.get() {
            // Before the journal mode is touched: a refused file stays as it is.
            self.upgrade()?;
        }
        if !self.is_writable() {
            return Err(Error::io("write the database", &self.path, os::write_failure(&self.path)));
        }
        if !self.logs.get() {
            if !is_wal(&self.connection)? {
                switch_to_wal(&self.connection)?;
            }
            self.logs.set(true);
        }
        let changed = self.change(change);
        self.turns.end();
        changed
    }

    fn change<T>(&self, change: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut transaction = self.begin_change()?;
        let mut cookie = schema::cookie(&transaction)?;
        while cookie != self.schema_cookie.get() {
            let state = schema::bring_up_to_date(&transaction)?;
            cookie = schema::cookie(&transaction)?;
            if state != schema::State::Old {
                break;
            }
            drop(transaction);
            self.upgrade()?;
            transaction = self.begin_change()?;
            cookie = schema::cookie(&transaction)?;
        }
        let value = change(&transaction)?;
        transaction.commit()?;
        self.schema_cookie.set(cookie);
        Ok(value)
    }

    /// Migrates version 1, unless another process was faster.
    fn upgrade(&self) -> Result<()> {
        if !self.is_writable() {
            return Err(Error::schema(
                "version 1 was made by an older program and has to be migrated, which needs the right to write; \
                 run trop once as the user who may",
            ));
        }
        // Nobody can repeat it, so it is to survive a power cut. Cannot be set inside a transaction.
        self.connection.execute_batch("PRAGMA synchronous = FULL")?;
        let result = self.upgrade_durably();
        self.turns.end();
        self.connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        let migrated = result?;
        self.is_old.set(false);
        if let (Some(count), Some(_)) = (migrated, self.file) {
            log::warn!(
                "trop: migrated '{}' from schema version 1 to 2 with its {count} reservations; \
                 older programs will refuse it from now on",
                self.path.display()
            );
        }
        Ok(())
    }

    fn upgrade_durably(&self) -> Result<Option<i64>> {
        let transaction = self.begin_change()?;
        if schema::check(&transaction)? != schema::State::Old {
            return Ok(None);
        }
        let count = upgrade::run(&transaction)?;
        schema::bring_up_to_date(&transaction)?;
        transaction.commit()?;
        Ok(Some(count))
    }

    fn inspect(&self) -> Result<()> {
        let (cookie, state) = {
            // One snapshot, begun by the first of them: another process may be creating the schema at this moment.
            let snapshot = Transaction::begin(&self.connection, Lock::Snapshot)?;
            (schema::cookie(&snapshot)?, schema::check(&snapshot)?)
        };
        match state {
            schema::State::Ready => self.schema_cookie.set(cookie),
            schema::State::WithoutExtension => {}
            schema::State::Old => self.is_old.set(true),
            schema::State::Empty => {
                // Small pages make a commit cheaper: each touched page goes to the log whole.
                self.connection.execute_batch("PRAGMA page_size = 1024")?;
                self.write(|_| Ok(()))?;
            }
        }
        Ok(())
    }
}

/// The physical path of a file, and which it is. SQLite follows links too before it looks for the files beside it.
fn located(path: &Path) -> Result<(PathBuf, FileId)> {
    let inspected = |source| Error::io("inspect the database", path, source);
    let real = fs::canonicalize(path).map_err(inspected)?;
    let file = os::file_id(&real).map_err(inspected)?;
    Ok((real, file))
}

fn connect(path: &Path, access: &Access) -> Result<Connection> {
    // The pool uses a connection from one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read_only = flags | OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = match access {
        Access::ReadWrite => {
            let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE;
            Connection::open_with_flags_and_vfs(path, flags, os::vfs::name())?
        }
        Access::Exclusive => Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?,
        Access::Read(look) if look.stamp.has_log => Connection::open_with_flags(path, read_only)?,
        Access::Read(_) => {
            let mut uri = String::from("file:");
            for byte in path.as_os_str().as_encoded_bytes() {
                // Writing to a string cannot fail.
                let _ = write!(uri, "%{byte:02x}");
            }
            uri.push_str("?immutable=1");
            Connection::open_with_flags(uri, read_only | OpenFlags::SQLITE_OPEN_URI)?
        }
    };
    Ok(connection)
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok().map(|metadata| (metadata.len(), metadata.modified().ok()));
    Stamp { file, has_log: has_log(path) }
}

/// Whether a log with content lies beside the file, of either kind: written ahead, or to roll back.
fn has_log(path: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|suffix| {
        let log = super::beside(path, suffix);
        fs::metadata(&log).is_ok_and(|log| log.len() > 0) && !os::vfs::kept::is_kept(&log)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Or others would not be told that it is free.
    #[test]
    fn a_change_that_fails_gives_back_the_lock_too() {
        let directory = tempfile::tempdir().unwrap();
        crate::data_dir::prepare(directory.path(), true).unwrap();
        wait::start(std::time::Instant::now() + Duration::from_secs(60));
        let database = Database::open(&directory.path().join("trop.db")).unwrap();
        assert!(database.turns.take(|| Ok(wait::pause(u32::MAX))).unwrap());
        assert!(database.turns.is_held());
        let failed = database.write(|_| Err::<(), _>(Error::Closed));
        assert!(matches!(failed, Err(Error::Closed)));
        assert!(!database.turns.is_held());
    }

    #[test]
    fn commits_are_synchronous_and_the_schema_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        crate::data_dir::prepare(directory.path(), true).unwrap();
        wait::start(std::time::Instant::now());
        let database = Database::open(&directory.path().join("trop.db")).unwrap();
        let pragma = |name: &str| -> i64 {
            database.connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap()
        };
        assert_eq!(pragma("synchronous"), 1, "NORMAL");
        assert_eq!(pragma("cache_spill"), 0, "which the VFS relies on");
        assert_eq!(pragma("wal_autocheckpoint"), 3906);
        assert_eq!(pragma("trusted_schema"), 0);
        assert_eq!(pragma("page_size"), 1024);
    }
}
