//! The least that one durable, exclusive, occupancy-checked reservation can cost.

use std::iter::Cycle;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process;

use rusqlite::{Connection, OptionalExtension};

use crate::measure::{Samples, measure};
use crate::tags::Tags;
use crate::{Engine, Result, database, probe, unknown};

/// What a reservation needs of schema version 2: its table, its primary key and the unique port.
const SCHEMA: &str = "CREATE TABLE reservations (
    path TEXT NOT NULL,
    tag TEXT NOT NULL,
    port INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (path, tag)
)";

pub(crate) struct Floor {
    file: PathBuf,
    path: String,
    connection: Connection,
    range: RangeInclusive<u16>,
    /// The ports of the range, each in turn.
    ports: Cycle<RangeInclusive<u16>>,
    tags: Tags,
}

impl Floor {
    pub(crate) fn open(directory: &Path, min: u16, max: u16) -> Result<Floor> {
        let file = directory.join("floor.db");
        let range = min..=max;
        let mut ports = range.clone().cycle();
        if let Some(last) = start(range.len()).checked_sub(1) {
            ports.nth(last);
        }
        Ok(Floor {
            connection: database::create(&file, SCHEMA)?,
            file,
            path: directory.display().to_string(),
            range,
            ports,
            tags: Tags::default(),
        })
    }

    fn reserve_new(&mut self, count: usize, probed: bool) -> Samples {
        let tags = self.tags.make(count);
        let measured = measure(tags.iter(), |tag| self.reserve(tag, probed));
        self.tags.keep(tags, &measured.results);
        measured.samples(|port| *port)
    }

    fn reserve(&mut self, tag: &str, probed: bool) -> Result<u16> {
        let Floor { connection, path, range, ports, .. } = self;
        database::immediately(connection, || {
            if let Some(port) = look_up(connection, path, tag)? {
                return Ok(port);
            }
            for port in ports.take(range.len()) {
                if probed && !probe::is_free(port) {
                    continue;
                }
                let sql = "INSERT OR IGNORE INTO reservations (path, tag, port) VALUES (?1, ?2, ?3)";
                if connection.prepare_cached(sql)?.execute((&*path, tag, port))? == 1 {
                    return Ok(port);
                }
            }
            Err("no port is left".into())
        })
    }

    fn release(&mut self, count: usize) -> Result<Samples> {
        let tags = self.tags.oldest(count)?;
        let sql = "DELETE FROM reservations WHERE path = ?1 AND tag = ?2";
        let measured =
            measure(tags.iter(), |tag| self.connection.prepare_cached(sql)?.execute((&self.path, tag)));
        self.tags.drop_oldest(&measured.results);
        Ok(measured.samples(|_| None::<u16>))
    }

    /// The last tag, which is reserved.
    fn last(&mut self) -> Result<String> {
        if self.tags.last().is_none() {
            self.reserve_new(1, false);
        }
        Ok(self.tags.last().ok_or("no tag could be reserved")?.to_owned())
    }
}

impl Engine for Floor {
    fn run(&mut self, operation: &str, count: usize) -> Result<Samples> {
        match operation {
            "new" => Ok(self.reserve_new(count, true)),
            "bare" => Ok(self.reserve_new(count, false)),
            "release" => self.release(count),
            "lookup" => {
                let tag = self.last()?;
                Ok(measure(0..count, |_| look_up(&self.connection, &self.path, &tag)).samples(|port| *port))
            }
            "open" => {
                let tag = self.last()?;
                let look = |_| look_up(&database::open(&self.file)?, &self.path, &tag);
                Ok(measure(0..count, look).samples(|port| *port))
            }
            _ => Err(unknown(operation)),
        }
    }
}

fn look_up(connection: &Connection, path: &str, tag: &str) -> rusqlite::Result<Option<u16>> {
    let sql = "SELECT port FROM reservations WHERE path = ?1 AND tag = ?2";
    connection.prepare_cached(sql)?.query_row((path, tag), |row| row.get(0)).optional()
}

/// Where in a range to start: far apart for neighbouring process ids, so that processes that share the file
/// do not try the same ports (Fibonacci hashing, Knuth 1973).
fn start(length: usize) -> usize {
    (process::id().wrapping_mul(0x9E37_79B9) as usize * length) >> 32
}
