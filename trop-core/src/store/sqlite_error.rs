//! Translates SQLite's errors into those of this crate.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::model::{Error, OPEN};
use crate::os::fs;

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        use rusqlite::ErrorCode as Sqlite;
        let io = |action, source| Error::io(action, Path::new(""), source);
        let Some(code) = error.sqlite_error_code() else {
            return Error::corrupt(error.to_string());
        };
        match code {
            Sqlite::DatabaseBusy | Sqlite::DatabaseLocked | Sqlite::FileLockingProtocolFailed => {
                Error::Busy { waited: Duration::ZERO }
            }
            Sqlite::NotADatabase => {
                Error::corrupt("physical database corruption: the file is not an SQLite database")
            }
            Sqlite::DatabaseCorrupt => Error::corrupt(format!("physical database corruption: {error}")),
            Sqlite::DiskFull => io("write the database", fs::failure(io::ErrorKind::StorageFull)),
            Sqlite::ReadOnly | Sqlite::PermissionDenied | Sqlite::AuthorizationForStatementDenied => {
                io("write the database", fs::failure(io::ErrorKind::PermissionDenied))
            }
            Sqlite::OutOfMemory => io("use the database", fs::failure(io::ErrorKind::OutOfMemory)),
            Sqlite::CannotOpen => io(OPEN, io::Error::other(error.to_string())),
            Sqlite::SystemIoFailure => io("read or write the database", fs::failure(io::ErrorKind::Other)),
            Sqlite::ConstraintViolation => Error::Conflict { reason: error.to_string() },
            _ => Error::corrupt(error.to_string()),
        }
    }
}

/// Fills in what code deep inside a database call does not know: the file, the wait that was allowed, and why
/// the file cannot be opened.
pub(super) fn complete(mut error: Error, database: &Path, wait: Duration) -> Error {
    match &mut error {
        Error::Io { path, source, action: OPEN, .. } if path.as_os_str().is_empty() => {
            *path = database.to_path_buf();
            *source = fs::open_failure(database);
        }
        Error::Corrupt { path, .. } | Error::Schema { path, .. } | Error::Io { path, .. }
            if path.as_os_str().is_empty() =>
        {
            *path = database.to_path_buf();
        }
        Error::Busy { waited } => *waited = wait,
        _ => {}
    }
    error
}
