//! The same guarantees written the obvious way: the lowest free port by a query.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension};

use crate::measure::{Samples, measure};
use crate::tags::Tags;
use crate::{Engine, Result, database, probe, unknown};

/// Tables and indexes of schema version 2.
const SCHEMA: &str = include_str!("../../../trop-core/src/store/schema.sql");

/// The lowest port from ?1 to ?2 that nobody has.
const LOWEST: &str = "
    SELECT ?1 AS port WHERE ?1 <= ?2 AND NOT EXISTS (SELECT 1 FROM reservations WHERE port = ?1)
    UNION ALL
    SELECT * FROM (
        SELECT port + 1 FROM reservations AS taken
        WHERE port >= ?1 AND port < ?2
            AND NOT EXISTS (SELECT 1 FROM reservations WHERE port = taken.port + 1)
        ORDER BY port
        LIMIT 1
    )
    LIMIT 1";

pub(crate) struct Gap {
    path: String,
    connection: Connection,
    min: u16,
    max: u16,
    tags: Tags,
}

impl Gap {
    pub(crate) fn open(directory: &Path, min: u16, max: u16) -> Result<Gap> {
        let connection = database::create(&directory.join("gap.db"), SCHEMA)?;
        Ok(Gap { path: directory.display().to_string(), connection, min, max, tags: Tags::default() })
    }

    fn reserve(&self, tag: &str) -> Result<u16> {
        let Gap { path, connection, .. } = self;
        database::immediately(connection, || {
            let sql = "SELECT port FROM reservations WHERE path = ?1 AND tag = ?2";
            let found =
                connection.prepare_cached(sql)?.query_row((path, tag), |row| row.get(0)).optional()?;
            if let Some(port) = found {
                return Ok(port);
            }
            let port = self.lowest()?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().cast_signed();
            let sql = "INSERT INTO reservations (path, tag, port, created_at, last_used_at)
                VALUES (?1, ?2, ?3, ?4, ?4)";
            connection.prepare_cached(sql)?.execute((path, tag, port, now))?;
            Ok(port)
        })
    }

    fn lowest(&self) -> Result<u16> {
        let mut from = self.min;
        loop {
            let mut lowest = self.connection.prepare_cached(LOWEST)?;
            let port = lowest.query_row((from, self.max), |row| row.get(0)).optional()?;
            let port: u16 = port.ok_or("no port is left")?;
            if probe::is_free(port) {
                return Ok(port);
            }
            from = port.checked_add(1).ok_or("no port is left")?;
        }
    }
}

impl Engine for Gap {
    fn run(&mut self, operation: &str, count: usize) -> Result<Samples> {
        match operation {
            "new" | "lease" => {
                let tags = self.tags.make(count);
                Ok(measure(tags.iter(), |tag| self.reserve(tag)).samples(|port| *port))
            }
            _ => Err(unknown(operation)),
        }
    }
}
