//! The rows of owners and leases. A lease is a row of `reservations` with a row here.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::rows;
use crate::model::{Error, LeaseId, Port, PortRange, Result, Timestamp};

/// A stored owner of leases. The name of its file is never used again. Its id may be, once its row is
/// removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnerRow {
    pub(crate) id: i64,
    pub(crate) file: String,
    pub(crate) pid: u32,
    pub(crate) command: String,
}

/// A stored lease. `owner` is `None` when the owner's row is gone.
#[derive(Clone, Debug)]
pub(crate) struct LeaseRow {
    pub(crate) id: LeaseId,
    pub(crate) owner: Option<OwnerRow>,
    pub(crate) label: Option<String>,
    pub(crate) directory: String,
    pub(crate) since: Timestamp,
}

pub(crate) fn insert_owner(connection: &Connection, file: &str, pid: u32, command: &str) -> Result<i64> {
    connection
        .prepare_cached("INSERT INTO trop_owners (file, pid, command, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![file, pid, command, Timestamp::now().seconds()])?;
    Ok(connection.last_insert_rowid())
}

/// Whether this owner is still stored. The file is compared too, because another owner may have been given
/// the same id.
pub(crate) fn has_owner(connection: &Connection, id: i64, file: &str) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM trop_owners WHERE id = ?1 AND file = ?2")?;
    Ok(statement.exists(params![id, file])?)
}

/// The id and the file of the owner with the next higher id.
pub(crate) fn next_owner(connection: &Connection, after: i64) -> Result<Option<(i64, String)>> {
    let mut statement =
        connection.prepare_cached("SELECT id, file FROM trop_owners WHERE id > ?1 ORDER BY id LIMIT 1")?;
    Ok(statement.query_row([after], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// The ids of owners that leases refer to but that are not stored.
pub(crate) fn unknown_owners(connection: &Connection) -> Result<BTreeSet<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT owner FROM trop_leases WHERE owner NOT IN (SELECT id FROM trop_owners)",
    )?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The lease of a port, the id of its owner, and the owner's file if the owner is stored; `None` if the port
/// is not leased.
pub(crate) fn lease_of(
    connection: &Connection,
    port: Port,
) -> Result<Option<(LeaseId, i64, Option<String>)>> {
    let mut statement = connection.prepare_cached(
        "SELECT serial, owner, file FROM trop_leases LEFT JOIN trop_owners ON id = owner WHERE port = ?1",
    )?;
    let lease = |serial| LeaseId { port, serial };
    let found = statement
        .query_row([port.get()], |row| Ok((lease(row.get(0)?), row.get(1)?, row.get(2)?)))
        .optional()?;
    Ok(found)
}

pub(crate) fn insert_lease(
    connection: &Connection,
    lease: LeaseId,
    owner: i64,
    label: Option<&str>,
    directory: &str,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO trop_leases (port, owner, serial, label, directory) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![lease.port.get(), owner, lease.serial, label, directory])?;
    Ok(())
}

/// Ends a lease. Returns whether this lease was stored; another lease of the same port is not touched.
pub(crate) fn remove_lease(connection: &Connection, lease: LeaseId) -> Result<bool> {
    let removed = connection
        .prepare_cached("DELETE FROM trop_leases WHERE port = ?1 AND serial = ?2")?
        .execute(params![lease.port.get(), lease.serial])?;
    if removed > 0 {
        rows::remove_leased(connection, lease.port)?;
    }
    Ok(removed > 0)
}

/// Removes owners with all their leases. Returns the number of leases.
pub(crate) fn remove_owners(connection: &Connection, ids: &BTreeSet<i64>) -> Result<usize> {
    if ids.is_empty() {
        return Ok(0);
    }
    let ended = remove_leases(connection, |owner, _| ids.contains(&owner))?;
    for id in ids {
        connection.prepare_cached("DELETE FROM trop_owners WHERE id = ?1")?.execute([id])?;
    }
    Ok(ended)
}

/// Ends the leases whose owner and serial number are selected. Returns how many. Reads every lease once,
/// because an index would make each of them more expensive.
pub(crate) fn remove_leases(
    connection: &Connection,
    is_selected: impl Fn(i64, i64) -> bool,
) -> Result<usize> {
    let mut ended = Vec::new();
    let mut statement = connection.prepare_cached("SELECT port, serial, owner FROM trop_leases")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let lease = LeaseId { port: rows::port(row, 0)?, serial: row.get(1)? };
        if is_selected(row.get(2)?, lease.serial) {
            ended.push(lease);
        }
    }
    for lease in &ended {
        remove_lease(connection, *lease)?;
    }
    Ok(ended.len())
}

/// Whether a file belongs to an owner that is stored.
pub(crate) fn is_owner_file(connection: &Connection, file: &str) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM trop_owners WHERE file = ?1")?.exists([file])?)
}

/// Every lease of a range, by port. Empty if only programs that do not know leases have written to the file.
pub(crate) fn leases(connection: &Connection, range: PortRange) -> Result<Vec<LeaseRow>> {
    if !rows::may_have_leases(connection)? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(
        "SELECT lease.port, label, directory, reservations.created_at, id, file, pid, command, serial
         FROM trop_leases AS lease JOIN reservations ON reservations.port = lease.port
         LEFT JOIN trop_owners ON id = owner WHERE lease.port BETWEEN ?1 AND ?2 ORDER BY lease.port",
    )?;
    let mut rows = statement.query([range.min().get(), range.max().get()])?;
    let mut leases = Vec::new();
    while let Some(row) = rows.next()? {
        let bad = |field: &str| Error::corrupt(format!("trop_leases: field={field}"));
        let port = Port::from_number(row.get(0)?).ok_or_else(|| bad("port"))?;
        let since = Timestamp::from_seconds(row.get(3)?).ok_or_else(|| bad("created_at"))?;
        let owner = match row.get::<_, Option<i64>>(4)? {
            Some(id) => Some(OwnerRow { id, file: row.get(5)?, pid: row.get(6)?, command: row.get(7)? }),
            None => None,
        };
        let (label, directory, id) = (row.get(1)?, row.get(2)?, LeaseId { port, serial: row.get(8)? });
        leases.push(LeaseRow { id, owner, label, directory, since });
    }
    Ok(leases)
}
