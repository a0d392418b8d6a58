//! Determines the schema of a file, and creates the one that this version supports.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::free_ports;
use crate::model::{Error, PortRange, Result};

const SCHEMA_VERSION: i64 = 2;

/// The version of the additional tables. A newer one that says it is compatible with ours is used unchanged.
const EXTENSION_VERSION: i64 = 2;

/// What has to be done before the file can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing: it can be used.
    Ready,
    /// The additional tables are absent, incomplete or older.
    WithoutExtension,
    /// There is nothing in it yet.
    Empty,
    /// Version 1, which a connection that may write has to migrate.
    Old,
}

/// SQLite's counter of schema changes.
pub(super) fn cookie(connection: &Connection) -> Result<i64> {
    Ok(connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))?)
}

/// Determines the state without changing anything.
///
/// # Errors
/// [`Error::Schema`] for a schema that this version does not support, [`Error::Corrupt`] for an invalid
/// version.
pub(super) fn check(connection: &Connection) -> Result<State> {
    let Some(version) = version(connection)? else {
        refuse_foreign_tables(connection)?;
        return Ok(State::Empty);
    };
    match version {
        SCHEMA_VERSION => {}
        1 => return Ok(State::Old),
        newer if newer > SCHEMA_VERSION => {
            return Err(Error::schema(format!(
                "version {version} is newer than version {SCHEMA_VERSION}, the newest this trop knows; update trop"
            )));
        }
        _ => {
            return Err(Error::corrupt(format!("key=\"schema_version\" is {version}, which is no version")));
        }
    }
    let extension = metadata(connection, "ext_version")?;
    let compatible = metadata(connection, "ext_compat")?;
    match extension {
        Some(EXTENSION_VERSION) if is_complete(connection)? => Ok(State::Ready),
        Some(newer) if newer > EXTENSION_VERSION => {
            if compatible.is_some_and(|oldest| oldest <= EXTENSION_VERSION) {
                return Ok(State::Ready);
            }
            Err(Error::schema(format!(
                "the extension has version {newer}, newer than version {EXTENSION_VERSION}; update trop"
            )))
        }
        _ => Ok(State::WithoutExtension),
    }
}

/// The schema version that the file states, supported or not; `None` if it states none.
pub(super) fn version(connection: &Connection) -> Result<Option<i64>> {
    match metadata(connection, "schema_version") {
        // Either there is no such table, or it is not ours. The slower query finds out which.
        Err(Error::Corrupt { .. }) if !has_metadata_table(connection)? => Ok(None),
        version => version,
    }
}

/// Creates what is missing, inside the caller's write transaction. Version 1 is left to
/// [`upgrade::run`](super::upgrade).
pub(super) fn bring_up_to_date(connection: &Connection) -> Result<State> {
    let state = check(connection)?;
    if state == State::Old {
        return Ok(state);
    }
    if state == State::Empty {
        connection
            .execute_batch(include_str!("schema.sql"))
            .map_err(|error| as_schema_error(error, "the schema cannot be created beside what is there"))?;
    }
    if state != State::Ready {
        connection.execute_batch(include_str!("extension.sql"))?;
        free_ports::rebuild(connection, PortRange::ALL)?;
    }
    Ok(State::Ready)
}

/// Drops everything, inside the caller's transaction. Foreign keys must be switched off.
pub(super) fn drop_everything(connection: &Connection) -> Result<()> {
    // Triggers and views are dropped first, because what they refer to has to exist.
    for kind in ["trigger", "view", "index", "table"] {
        let mut statement = connection.prepare(
            "SELECT name FROM sqlite_schema WHERE type = ?1 AND sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        )?;
        let names: Vec<String> = statement.query_map([kind], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for name in names {
            connection.execute_batch(&format!("DROP {kind} IF EXISTS \"{}\"", name.replace('"', "\"\"")))?;
        }
    }
    Ok(())
}

fn as_schema_error(error: rusqlite::Error, reason: &str) -> Error {
    match Error::from(error) {
        Error::Corrupt { reason: detail, .. } | Error::Conflict { reason: detail } => {
            Error::schema(format!("{reason}: {detail}"))
        }
        other => other,
    }
}

fn metadata(connection: &Connection, key: &str) -> Result<Option<i64>> {
    let value = connection
        .prepare_cached("SELECT value FROM metadata WHERE key = ?1")?
        .query_row([key], |row| row.get::<_, Value>(0))
        .optional()?;
    match value {
        None => Ok(None),
        Some(Value::Text(text)) if text.parse::<i64>().is_ok() => Ok(text.parse().ok()),
        Some(_) => Err(Error::corrupt(format!("key=\"{key}\" is not a number"))),
    }
}

/// What this version's extension consists of, in the order of the names.
const EXTENSION: [&str; 12] = [
    "trop_free_ports",
    "trop_free_ports_delete",
    "trop_free_ports_free",
    "trop_free_ports_insert",
    "trop_free_ports_rested",
    "trop_free_ports_update",
    "trop_leases",
    "trop_leases_delete",
    "trop_leases_insert",
    "trop_leases_move",
    "trop_leases_update",
    "trop_owners",
];

/// Whether every object of this version's extension exists. A program that creates `reservations` again drops
/// the triggers on it.
fn is_complete(connection: &Connection) -> Result<bool> {
    // The names are compared here, because SQLite builds a table for a list of values, which costs more than
    // everything else when a registry is opened.
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE name BETWEEN 'trop_' AND 'trop_z'")?;
    let mut rows = statement.query([])?;
    let mut found = [false; EXTENSION.len()];
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_str().unwrap_or_default();
        if let Ok(index) = EXTENSION.binary_search(&name) {
            found[index] = true;
        }
    }
    Ok(found == [true; EXTENSION.len()])
}

/// Whether the additional tables are of exactly this version.
pub(super) fn has_own_extension(connection: &Connection) -> Result<bool> {
    Ok(metadata(connection, "ext_version")? == Some(EXTENSION_VERSION))
}

fn has_metadata_table(connection: &Connection) -> Result<bool> {
    let found = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'metadata')",
        [],
        |row| row.get(0),
    )?;
    Ok(found)
}

/// Returns an error if the file has other tables: then it is another program's database.
fn refuse_foreign_tables(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name <> 'metadata'
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name LIMIT 5",
    )?;
    let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    if names.is_empty() {
        return Ok(());
    }
    let names = names.join(", ").escape_debug().to_string();
    Err(Error::schema(format!("there is no schema version, but other tables are in the way: {names}")))
}
