//! Migrates version 1 to version 2: every row is kept unchanged, or nothing is changed.

use rusqlite::Connection;

use super::rows;
use crate::model::{Error, Result};

/// What the old tables are called while their rows are copied.
const STAGING: [(&str, &str); 2] =
    [("metadata", "trop_old_metadata"), ("reservations", "trop_old_reservations")];

const COLUMNS: [(&str, &[&str]); 2] = [
    ("metadata", &["key", "value"]),
    ("reservations", &["path", "tag", "port", "project", "task", "created_at", "last_used_at"]),
];

/// What version 2 cannot hold, and how to count it. GROUP BY treats NULL as equal to NULL.
const FAULTS: [(&str, &str); 9] = [
    (
        "duplicate keys (path and tag)",
        "SELECT count(*) FROM (SELECT 1 FROM reservations NOT INDEXED GROUP BY +path, +tag HAVING count(*) > 1)",
    ),
    (
        "duplicate ports",
        "SELECT count(*) FROM (SELECT 1 FROM reservations NOT INDEXED GROUP BY +port HAVING count(*) > 1)",
    ),
    ("empty tags", "SELECT count(*) FROM reservations NOT INDEXED WHERE tag = ''"),
    (
        "ports that are no integer from 1 to 65535",
        "SELECT count(*) FROM reservations NOT INDEXED
         WHERE typeof(port) <> 'integer' OR port NOT BETWEEN 1 AND 65535",
    ),
    (
        "negative or non-integer times",
        "SELECT count(*) FROM reservations NOT INDEXED
         WHERE typeof(created_at) <> 'integer' OR created_at < 0
            OR typeof(last_used_at) <> 'integer' OR last_used_at < 0",
    ),
    (
        "values of a wrong type",
        "SELECT count(*) FROM reservations NOT INDEXED
         WHERE typeof(path) <> 'text' OR typeof(tag) NOT IN ('text', 'null')
            OR typeof(project) NOT IN ('text', 'null') OR typeof(task) NOT IN ('text', 'null')",
    ),
    (
        "metadata of a wrong type",
        "SELECT count(*) FROM metadata NOT INDEXED WHERE typeof(key) <> 'text' OR typeof(value) <> 'text'",
    ),
    (
        "duplicate metadata keys",
        "SELECT count(*) FROM (SELECT 1 FROM metadata NOT INDEXED GROUP BY +key HAVING count(*) > 1)",
    ),
    (
        "left-over tables of an interrupted migration",
        "SELECT count(*) FROM sqlite_schema
         WHERE type = 'table' AND name NOT IN ('reservations', 'metadata') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
           AND (name LIKE '%reservations%' OR name LIKE '%metadata%')",
    ),
];

/// Rebuilds a version 1 database as version 2, inside the caller's write transaction. Returns the number of
/// reservations.
///
/// # Errors
/// [`Error::Schema`] with counts of what version 2 cannot hold, [`Error::Corrupt`]. The caller must roll
/// back.
pub(super) fn run(connection: &Connection) -> Result<i64> {
    refuse_unknown_layouts(connection)?;
    refuse_faults(connection)?;
    refuse_damage(connection)?;
    let before = counts(connection, &["reservations", "metadata"])?;

    // An index keeps its name when its table is renamed, and the new table needs the names.
    for index in indexes(connection)? {
        connection.execute_batch(&format!("DROP INDEX {}", quoted(&index)))?;
    }
    for (table, staging) in STAGING {
        connection.execute_batch(&format!("ALTER TABLE {table} RENAME TO {staging}"))?;
    }
    connection.execute_batch(include_str!("schema.sql"))?;
    connection.execute_batch(
        "INSERT INTO metadata SELECT key, value FROM trop_old_metadata WHERE key <> 'schema_version';
         INSERT INTO reservations (path, tag, port, project, task, created_at, last_used_at)
         SELECT path, coalesce(tag, ''), port, project, task, created_at, last_used_at FROM trop_old_reservations;
         DROP TABLE trop_old_reservations;
         DROP TABLE trop_old_metadata;",
    )?;

    if counts(connection, &["reservations", "metadata"])? != before {
        return Err(Error::corrupt("migrating it would have lost rows"));
    }
    rows::check_all(connection).map_err(|error| match error {
        Error::Corrupt { reason, .. } => refusal(&reason),
        error => error,
    })?;
    Ok(before[0])
}

fn refuse_unknown_layouts(connection: &Connection) -> Result<()> {
    for (table, expected) in COLUMNS {
        let mut statement =
            connection.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid")?;
        let columns: Vec<String> =
            statement.query_map([table], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let hidden: bool = connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM pragma_table_xinfo(?1) WHERE hidden <> 0)",
            [table],
            |row| row.get(0),
        )?;
        if columns != expected || hidden {
            return Err(refusal(&format!(
                "unknown layout: the columns of {table} are not those of version 1"
            )));
        }
    }
    // Rebuilding a table would drop or break what depends on it.
    let strange: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type IN ('trigger', 'view')
            OR type = 'index' AND sql IS NOT NULL AND tbl_name IN ('reservations', 'metadata') AND name NOT IN
               ('idx_reservations_port', 'idx_reservations_project', 'idx_reservations_last_used')",
        [],
        |row| row.get(0),
    )?;
    let references: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_schema AS other JOIN pragma_foreign_key_list(other.name) AS reference
         WHERE other.type = 'table' AND lower(reference.\"table\") IN ('reservations', 'metadata')",
        [],
        |row| row.get(0),
    )?;
    if strange + references > 0 {
        return Err(refusal(&format!(
            "unknown layout: {strange} triggers, views or indexes and {references} foreign keys of another program"
        )));
    }
    Ok(())
}

fn refuse_faults(connection: &Connection) -> Result<()> {
    let mut found = Vec::new();
    for (name, sql) in FAULTS {
        let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
        if count > 0 {
            found.push(format!("{name}: {count}"));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(refusal(&found.join("; "))) }
}

fn refuse_damage(connection: &Connection) -> Result<()> {
    let integrity: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if integrity == "ok" {
        return Ok(());
    }
    Err(Error::corrupt(format!("physical database corruption: {integrity}")))
}

fn refusal(reason: &str) -> Error {
    Error::schema(format!(
        "version 1 cannot be migrated to version 2: {reason}. Nothing was changed; \
         correct this with the older program, or use another data directory"
    ))
}

fn counts(connection: &Connection, tables: &[&str]) -> Result<Vec<i64>> {
    let count = |table| {
        connection.query_row(&format!("SELECT count(*) FROM {table} NOT INDEXED"), [], |row| row.get(0))
    };
    Ok(tables.iter().map(count).collect::<Result<_, _>>()?)
}

fn indexes(connection: &Connection) -> Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema
         WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ('reservations', 'metadata')",
    )?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
