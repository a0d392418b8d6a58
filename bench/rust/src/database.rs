//! The databases of `floor` and `gap`: WAL, `synchronous = NORMAL`, SQLite's own busy handler.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use crate::Result;

/// How long SQLite waits for a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a database and makes its table unless it is there. Any number of processes may do so at once.
pub(crate) fn create(file: &Path, schema: &str) -> Result<Connection> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let connection = open(file)?;
    switch_to_wal(&connection)?;
    immediately(&connection, || {
        // Read from the file, because the schema that the connection has cached may be older.
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'reservations')";
        if !connection.query_row(sql, [], |row| row.get(0))? {
            connection.execute_batch(schema)?;
        }
        Ok(())
    })?;
    Ok(connection)
}

/// Opens a database that exists.
pub(crate) fn open(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    Ok(connection)
}

/// Makes a change in a transaction of its own, which is rolled back if the change fails.
pub(crate) fn immediately<T>(connection: &Connection, change: impl FnOnce() -> Result<T>) -> Result<T> {
    let execute = |sql| connection.prepare_cached(sql)?.execute([]);
    execute("BEGIN IMMEDIATE")?;
    let result = change().and_then(|value| {
        execute("COMMIT")?;
        Ok(value)
    });
    if result.is_err() {
        // The first error is the one to report.
        let _ = execute("ROLLBACK");
    }
    result
}

/// Switching can report "busy" without having waited, when several processes open a new file at once.
fn switch_to_wal(connection: &Connection) -> Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(format!("the journal mode stays '{mode}'").into()),
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
