//! The database file, and what all connections to it have in common.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::attempt::{Attempt, Failure};
use super::lock_wait;
use crate::model::{Error, Result};
use crate::os::fs::{self, FileId};
use crate::os::vfs;

/// The database's file name inside the data directory.
pub(crate) const DATABASE: &str = "trop.db";

/// Whether there is a database in the directory.
///
/// # Errors
/// [`Error::Io`] when that cannot be determined, [`Error::Corrupt`] when something that is not a file has its
/// name.
pub(crate) fn exists(directory: &Path) -> Result<bool> {
    let database = directory.join(DATABASE);
    match std::fs::metadata(&database) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(Error::Corrupt {
            path: database,
            reason: "it is a directory or another thing that is not a file".to_owned(),
        }),
        Err(error) if fs::is_missing(&error) => Ok(false),
        Err(source) => Err(Error::io("inspect the database", &database, source)),
    }
}

/// The file a connection is on.
pub(super) struct DatabaseFile {
    /// The path as it was given. The targets of symbolic links in it may change.
    pub(super) path: PathBuf,
    /// The physical path. SQLite too follows symbolic links before it looks for the files beside the
    /// database.
    pub(super) real: PathBuf,
    pub(super) id: FileId,
}

impl DatabaseFile {
    pub(super) fn at(path: &Path) -> Result<DatabaseFile> {
        let inspected = |source| Error::io("inspect the database", path, source);
        let real = std::fs::canonicalize(path).map_err(inspected)?;
        let id = fs::file_id(&real).map_err(inspected)?;
        Ok(DatabaseFile { path: path.to_path_buf(), real, id })
    }

    /// Whether the path still leads to this file. If a directory was deleted and created again, going on with
    /// the old file would split the registry in two.
    pub(super) fn is_current(&self) -> bool {
        fs::file_id(&self.path).is_ok_and(|now| now == self.id)
    }

    pub(super) fn ensure_current(&self) -> Attempt<()> {
        if self.is_current() { Ok(()) } else { Err(Failure::Retry) }
    }
}

/// How SQLite opens a file.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    /// Through the VFS of [`vfs`].
    ReadWrite,
    /// Through SQLite's own VFS, so that files are handled exactly as SQLite does by itself.
    Exclusive,
    Read,
    /// Without any lock, as if no other program used the file.
    ReadImmutable,
}

/// Opens a connection with the settings that all connections have in common.
pub(super) fn connect(path: &Path, mode: Mode) -> Result<Connection> {
    // A connection is used by one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let (read_only, read_write) =
        (flags | OpenFlags::SQLITE_OPEN_READ_ONLY, flags | OpenFlags::SQLITE_OPEN_READ_WRITE);
    let mut connection = match mode {
        Mode::ReadWrite => Connection::open_with_flags_and_vfs(path, read_write, vfs::name())?,
        Mode::Exclusive => Connection::open_with_flags(path, read_write)?,
        Mode::Read => Connection::open_with_flags(path, read_only)?,
        Mode::ReadImmutable => {
            Connection::open_with_flags(immutable_uri(path), read_only | OpenFlags::SQLITE_OPEN_URI)?
        }
    };
    connection.busy_handler(Some(|attempt: i32| lock_wait::pause(attempt.unsigned_abs())))?;
    if matches!(mode, Mode::Exclusive) {
        // Set before the first access to the file, or readers of a write-ahead log would not be noticed.
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA foreign_keys = OFF")?;
    }
    distrust_schema(&connection)?;
    if matches!(mode, Mode::ReadWrite | Mode::Exclusive) {
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA cache_spill = OFF")?;
    }
    Ok(connection)
}

/// Forbids the schema, parts of which another program may have written, to call functions with side effects.
pub(super) fn distrust_schema(connection: &Connection) -> Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(())
}

/// Makes closing neither run a checkpoint nor delete the log, even for the last connection.
pub(super) fn leave_log_alone(connection: &Connection) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(uri, "%{byte:02x}");
    }
    uri.push_str("?immutable=1");
    uri
}
