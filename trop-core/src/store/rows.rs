//! Reading and writing rows of `reservations`. Every row that is read is checked.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Rows, params};

use crate::model::{
    Error, Key, Port, PortRange, PortSet, Reservation, Result, Tag, Timestamp, is_identifier, paths,
};

macro_rules! select_where {
    ($condition:expr) => {
        concat!(
            "SELECT path, tag, port, project, task, created_at, last_used_at FROM reservations WHERE ",
            $condition
        )
    };
}

/// Which rows of a path are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Selection<'a> {
    Tagged(&'a Tag),
    Untagged,
    All,
}

/// The reservation of a key. Rows that belong to leases are not reservations.
pub(crate) fn by_key(connection: &Connection, key: &Key) -> Result<Option<Reservation>> {
    let mut statement = connection.prepare_cached(select_where!("path = ?1 AND tag = ?2"))?;
    let row = statement.query_row([key.path(), key.tag_text()], |row| Ok(decode(row))).optional()?;
    match row.transpose()? {
        Some(row) if is_lease(connection, &row)? => Ok(None),
        row => Ok(row),
    }
}

pub(crate) fn by_port(connection: &Connection, port: Port) -> Result<Option<Reservation>> {
    let mut statement = connection.prepare_cached(select_where!("port = ?1"))?;
    let row = statement.query_row([port.get()], |row| Ok(decode(row))).optional()?;
    row.transpose()
}

/// Every reservation, by path, then tag, the untagged one first.
pub(crate) fn list(connection: &Connection) -> Result<Vec<Reservation>> {
    let mut statement = connection.prepare_cached(select_where!("TRUE ORDER BY path, tag"))?;
    reservations(connection, statement.query([])?)
}

/// The rows that are not leases.
fn reservations(connection: &Connection, mut rows: Rows<'_>) -> Result<Vec<Reservation>> {
    let mut reservations = Vec::new();
    while let Some(row) = rows.next()? {
        let row = decode(row)?;
        if !is_lease(connection, &row)? {
            reservations.push(row);
        }
    }
    Ok(reservations)
}

/// Whether a row belongs to a lease. Only rows with [`Timestamp::LAST`] can, so other rows cost no query.
fn is_lease(connection: &Connection, row: &Reservation) -> Result<bool> {
    if row.last_used_at != Timestamp::LAST || !may_have_leases(connection)? {
        return Ok(false);
    }
    Ok(connection.prepare_cached("SELECT 1 FROM trop_leases WHERE port = ?1")?.exists([row.port.get()])?)
}

/// Whether the table of leases exists. It is missing while only other programs have written to the file.
pub(super) fn may_have_leases(connection: &Connection) -> Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'trop_leases'";
    Ok(connection.prepare_cached(sql)?.exists([])?)
}

/// The ports of a range that any row has, leases included.
pub(crate) fn reserved_ports(connection: &Connection, range: PortRange) -> Result<PortSet> {
    let mut statement =
        connection.prepare_cached("SELECT port FROM reservations WHERE port BETWEEN ?1 AND ?2")?;
    let mut rows = statement.query([range.min().get(), range.max().get()])?;
    let mut ports = PortSet::default();
    while let Some(row) = rows.next()? {
        ports.insert(port(row, 0)?);
    }
    Ok(ports)
}

/// Reads every row, leases too, without an index, and checks it.
///
/// # Errors
/// [`Error::Corrupt`] for the first that breaks a rule.
pub(super) fn check_all(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare(
        "SELECT path, tag, port, project, task, created_at, last_used_at FROM reservations NOT INDEXED",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        decode(row)?;
    }
    Ok(())
}

pub(crate) fn is_reserved(connection: &Connection, port: Port) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM reservations WHERE port = ?1")?;
    Ok(statement.exists([port.get()])?)
}

/// A plain insert: a conflict over the port must never delete another key's row.
pub(crate) fn insert(connection: &Connection, reservation: &Reservation) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO reservations (path, tag, port, project, task, created_at, last_used_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let Reservation { port, key, project, task, created_at, last_used_at } = reservation;
    let (created_at, last_used_at) = (created_at.seconds(), last_used_at.seconds());
    expect_one(statement.execute(params![
        key.path(),
        key.tag_text(),
        port.get(),
        project,
        task,
        created_at,
        last_used_at
    ])?)
}

/// Stores the project, the task and the last use of a row.
pub(crate) fn refresh(connection: &Connection, reservation: &Reservation) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE reservations SET project = ?3, task = ?4, last_used_at = ?5 WHERE path = ?1 AND tag = ?2",
    )?;
    let Reservation { key, project, task, last_used_at, .. } = reservation;
    expect_one(statement.execute(params![
        key.path(),
        key.tag_text(),
        project,
        task,
        last_used_at.seconds()
    ])?)
}

/// The selected rows of a path, and of all below it if asked for, in the order of [`list`].
pub(crate) fn select(
    connection: &Connection,
    path: &str,
    selection: Selection<'_>,
    recursive: bool,
) -> Result<Vec<Reservation>> {
    let tag = match selection {
        Selection::Tagged(tag) => Some(tag.as_str()),
        Selection::Untagged => Some(""),
        Selection::All => None,
    };
    if let (Some(tag), false) = (tag, recursive) {
        let mut statement = connection.prepare_cached(select_where!("path = ?1 AND tag = ?2"))?;
        // A statement of its own, which finds the row by its whole key: a path may have any number of tags.
        return reservations(connection, statement.query([path, tag])?);
    }
    let sql = select_where!(
        "(path = ?1 OR path > ?3 AND path < ?4) AND (?2 IS NULL OR tag = ?2) ORDER BY path, tag"
    );
    let below = recursive.then(|| below(path));
    let (after, before) = below.as_ref().map_or((None, None), |(after, before)| (Some(after), Some(before)));
    let mut statement = connection.prepare_cached(sql)?;
    reservations(connection, statement.query(params![path, tag, after, before])?)
}

/// The bounds, both excluded, between which the text of every path below this one lies.
fn below(path: &str) -> (String, String) {
    let separator = std::path::MAIN_SEPARATOR;
    let stem = path.strip_suffix(separator).unwrap_or(path);
    let next = char::from_u32(u32::from(separator) + 1).unwrap_or(char::MAX);
    (format!("{stem}{separator}"), format!("{stem}{next}"))
}

/// Deletes the row of exactly this key, which the caller has just read.
pub(crate) fn remove(connection: &Connection, key: &Key) -> Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM reservations WHERE path = ?1 AND tag = ?2")?;
    expect_one(statement.execute([key.path(), key.tag_text()])?)
}

/// Deletes the row of a port that was leased. A row that is already gone is no error.
pub(super) fn remove_leased(connection: &Connection, port: Port) -> Result<()> {
    connection.prepare_cached("DELETE FROM reservations WHERE port = ?1")?.execute([port.get()])?;
    Ok(())
}

/// Another program's trigger can make a statement do nothing without an error.
fn expect_one(rows: usize) -> Result<()> {
    if rows == 1 {
        return Ok(());
    }
    Err(Error::Conflict { reason: "a trigger of another program ignored it".to_owned() })
}

fn decode(row: &Row<'_>) -> Result<Reservation> {
    decode_fields(row).map_err(|error| match error {
        Error::Corrupt { path, reason } => {
            Error::Corrupt { path, reason: format!("{reason}{}", described(row)) }
        }
        error => error,
    })
}

/// The key of a row that cannot be decoded, as escaped text. Columns that are not text are left out.
fn described(row: &Row<'_>) -> String {
    let mut key = String::new();
    for (column, name) in [(0, "path"), (1, "tag")] {
        if let Ok(ValueRef::Text(bytes)) = row.get_ref(column) {
            let text = String::from_utf8_lossy(bytes);
            let text: String = text.chars().take(300).flat_map(char::escape_debug).collect();
            key += if key.is_empty() { " (" } else { ", " };
            key.extend([name, " \"", &text, "\""]);
        }
    }
    if !key.is_empty() {
        key.push(')');
    }
    key
}

fn decode_fields(row: &Row<'_>) -> Result<Reservation> {
    let path = text(row, 0, "path")?.filter(|path| paths::is_normal(path)).ok_or_else(|| bad("path"))?;
    let tag = match text(row, 1, "tag")? {
        Some("") => None,
        Some(tag) if is_identifier(tag) => Some(Tag::new(tag)?),
        _ => return Err(bad("tag")),
    };
    Ok(Reservation {
        port: port(row, 2)?,
        project: identifier(row, 3, "project")?,
        task: identifier(row, 4, "task")?,
        created_at: timestamp(row, 5, "created_at")?,
        last_used_at: timestamp(row, 6, "last_used_at")?,
        key: Key::stored(path.to_owned(), tag),
    })
}

pub(super) fn port(row: &Row<'_>, column: usize) -> Result<Port> {
    Port::new("port", integer(row, column, "port")?).map_err(|_| bad("port"))
}

fn text<'r>(row: &'r Row<'_>, column: usize, name: &str) -> Result<Option<&'r str>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map(Some).map_err(|_| bad(name)),
        _ => Err(bad(name)),
    }
}

fn identifier(row: &Row<'_>, column: usize, name: &str) -> Result<Option<String>> {
    match text(row, column, name)? {
        Some(value) if !is_identifier(value) => Err(bad(name)),
        value => Ok(value.map(str::to_owned)),
    }
}

fn integer(row: &Row<'_>, column: usize, name: &str) -> Result<i64> {
    match row.get_ref(column)? {
        ValueRef::Integer(number) => Ok(number),
        _ => Err(bad(name)),
    }
}

fn timestamp(row: &Row<'_>, column: usize, name: &str) -> Result<Timestamp> {
    Timestamp::from_seconds(integer(row, column, name)?).ok_or_else(|| bad(name))
}

fn bad(field: &str) -> Error {
    Error::corrupt(format!("a reservation has an invalid value in field={field}"))
}
