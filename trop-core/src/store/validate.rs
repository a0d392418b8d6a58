//! Checks a database of schema version 2 in every respect, without changing anything.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension};

use super::{definition, rows, schema};
use crate::model::{Error, Result};

/// The three indexes that belong to version 2, and their one column each.
const INDEXES: [(&str, &str); 3] = [
    ("idx_reservations_port", "port"),
    ("idx_reservations_project", "project"),
    ("idx_reservations_last_used", "last_used_at"),
];

/// Checks everything. Faults of rows come before those of the structure, because they say more.
///
/// # Errors
/// [`Error::Corrupt`] for the first fault, [`Error::Schema`] for a version this program does not serve.
pub(crate) fn validate(connection: &Connection) -> Result<()> {
    check_version(connection)?;
    check_columns(connection)?;
    rows::check_all(connection)?;
    check_duplicates(connection)?;
    check_metadata(connection)?;
    check_leases(connection)?;
    check_tables(connection)?;
    check_indexes(connection)?;
    check_references(connection)?;
    check_pages(connection)
}

fn check_version(connection: &Connection) -> Result<()> {
    if schema::version(connection)?.is_none() {
        // Without a version, nothing else in the file can be trusted.
        return Err(Error::corrupt("key=\"schema_version\" is missing"));
    }
    match schema::check(connection)? {
        schema::State::Ready | schema::State::WithoutExtension | schema::State::Empty => Ok(()),
        schema::State::Old => Err(Error::schema(
            "version 1 was made by an older program; the next use by a program that may write will migrate it",
        )),
    }
}

/// Without these columns not even the rows can be read.
fn check_columns(connection: &Connection) -> Result<()> {
    let columns: [(&str, &[&str]); 2] = [
        ("metadata", &["key", "value"]),
        ("reservations", &["path", "tag", "port", "project", "task", "created_at", "last_used_at"]),
    ];
    for (table, expected) in columns {
        let mut statement = connection.prepare("SELECT name FROM pragma_table_xinfo(?1) ORDER BY cid")?;
        let found: Vec<String> = statement.query_map([table], |row| row.get(0))?.collect::<Result<_, _>>()?;
        if found != expected {
            return Err(Error::corrupt(format!("the columns of table {table} are not those of version 2")));
        }
    }
    Ok(())
}

/// Reads the table itself, because the indexes that should prevent duplicates may be missing or wrong.
fn check_duplicates(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare("SELECT path, tag, port FROM reservations NOT INDEXED")?;
    let mut rows = statement.query([])?;
    let (mut keys, mut ports) = (HashSet::new(), HashSet::new());
    let (mut same_key, mut same_port) = (None, None);
    while let Some(row) = rows.next()? {
        let key: (String, String) = (row.get(0)?, row.get(1)?);
        let port: i64 = row.get(2)?;
        if !ports.insert(port) {
            same_port.get_or_insert(port);
        }
        if keys.contains(&key) {
            same_key.get_or_insert(key);
        } else {
            keys.insert(key);
        }
    }
    if let Some((path, tag)) = same_key {
        let (path, tag) = (path.escape_debug(), tag.escape_debug());
        return Err(Error::corrupt(format!("duplicate logical key: path \"{path}\", tag \"{tag}\"")));
    }
    if let Some(port) = same_port {
        return Err(Error::corrupt(format!("two reservations have the same port {port}")));
    }
    Ok(())
}

fn check_metadata(connection: &Connection) -> Result<()> {
    let key: Option<String> = connection
        .query_row(
            "SELECT CASE typeof(key) WHEN 'text' THEN key ELSE '(no text)' END FROM metadata NOT INDEXED
             WHERE typeof(key) <> 'text' OR typeof(value) <> 'text'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(key) = key {
        return Err(Error::corrupt(format!(
            "metadata has a value of a wrong type: key=\"{}\"",
            key.escape_debug()
        )));
    }
    let double: Option<String> = connection
        .query_row("SELECT key FROM metadata NOT INDEXED GROUP BY +key HAVING count(*) > 1", [], |row| {
            row.get(0)
        })
        .optional()?;
    match double {
        Some(key) => Err(Error::corrupt(format!("metadata has two values: key=\"{}\"", key.escape_debug()))),
        None => Ok(()),
    }
}

/// Every row of `trop_leases` needs a row of `reservations`. Without one it would hold no port.
fn check_leases(connection: &Connection) -> Result<()> {
    if !table_exists(connection, "trop_leases")? {
        return Ok(());
    }
    let orphan: Option<i64> = connection
        .query_row(
            "SELECT port FROM trop_leases WHERE port NOT IN (SELECT port FROM reservations NOT INDEXED)",
            [],
            |row| row.get(0),
        )
        .optional()?;
    match orphan {
        Some(port) => Err(Error::corrupt(format!("trop_leases has port {port}, which is not reserved"))),
        None => Ok(()),
    }
}

fn table_exists(connection: &Connection, table: &str) -> Result<bool> {
    let mut statement =
        connection.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?;
    Ok(statement.exists([table])?)
}

/// The definitions, compared by what they mean: layout, comments and the order of constraints do not matter.
fn check_tables(connection: &Connection) -> Result<()> {
    let version_2 = schema_of(include_str!("schema.sql"));
    // This program does not know what other versions of the extension contain.
    let extension = match schema::check(connection)? {
        schema::State::Ready if schema::has_own_extension(connection)? => {
            schema_of(include_str!("extension.sql"))
        }
        _ => Vec::new(),
    };
    for expected in version_2.into_iter().chain(extension) {
        let sql: Option<String> = connection
            .query_row(
                "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1",
                [&expected.name],
                |row| row.get(0),
            )
            .optional()?;
        let found = sql.as_deref().and_then(definition::parse);
        if let Some(difference) = expected.difference(found.as_ref()) {
            return Err(Error::corrupt(format!("table {}: {difference}", expected.name)));
        }
    }
    Ok(())
}

/// The table definitions of a script of our own.
fn schema_of(script: &str) -> Vec<definition::Table> {
    script.split_inclusive(';').filter_map(definition::parse).collect()
}

fn check_indexes(connection: &Connection) -> Result<()> {
    for (index, column) in INDEXES {
        let wrong = |what: &str| Error::corrupt(format!("index {index} {what}"));
        let found: Option<(bool, bool)> = connection
            .query_row(
                "SELECT \"unique\", partial FROM pragma_index_list('reservations') WHERE name = ?1",
                [index],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        match found {
            None => return Err(wrong("is missing")),
            Some((true, _)) => return Err(wrong("is unique and must be plain")),
            Some((_, true)) => return Err(wrong("covers only a part of the rows")),
            Some((false, false)) => {}
        }
        let mut statement = connection
            .prepare("SELECT name, \"desc\", coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")?;
        let columns: Vec<(Option<String>, bool, String)> = statement
            .query_map([index], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        if columns != [(Some(column.to_owned()), false, "BINARY".to_owned())] {
            return Err(wrong(&format!("is not an ascending index on {column} alone")));
        }
    }
    Ok(())
}

fn check_references(connection: &Connection) -> Result<()> {
    let table: Option<String> = connection
        .query_row("SELECT \"table\" FROM pragma_foreign_key_check", [], |row| row.get(0))
        .optional()?;
    match table {
        Some(table) => {
            Err(Error::corrupt(format!("table \"{}\" has a broken foreign key", table.escape_debug())))
        }
        None => Ok(()),
    }
}

fn check_pages(connection: &Connection) -> Result<()> {
    let answer: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if answer == "ok" {
        return Ok(());
    }
    Err(Error::corrupt(format!("physical database corruption: {}", answer.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_of_all_tables_are_known() {
        let names = |script| schema_of(script).into_iter().map(|table| table.name).collect::<Vec<_>>();
        assert_eq!(names(include_str!("schema.sql")), ["metadata", "reservations"]);
        assert_eq!(names(include_str!("extension.sql")), ["trop_owners", "trop_leases", "trop_free_ports"]);
    }
}
