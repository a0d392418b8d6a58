//! Who has leases, and who has a port.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::owner;
use crate::error::Result;
use crate::port::{Port, PortRange, PortSet};
use crate::registry::Registry;
use crate::reservation::{Reservation, Timestamp};
use crate::store::{self, LeaseRow};

/// A lease of anybody, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// The port.
    pub port: Port,
    /// What it is for.
    pub label: Option<String>,
    /// Whether its owner is alive. An ended lease is in nobody's way and disappears with the next allocations.
    pub alive: bool,
    /// The id of the process that took it, in that process's own view; none if nobody knows any more.
    pub pid: Option<u32>,
    /// The command line of that process.
    pub command: Option<String>,
    /// The working directory it was taken in.
    pub directory: String,
    /// When it was taken.
    pub since: Timestamp,
}

impl LeaseInfo {
    /// `alive` or `ended`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.alive { "alive" } else { "ended" }
    }

    /// The lease as a JSON object, in the names of `trop list --leases`; times as text in UTC.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "port": self.port.get(),
            "label": self.label,
            "state": self.state(),
            "pid": self.pid,
            "command": self.command,
            "directory": self.directory,
            "since": self.since.to_string(),
        })
    }
}

/// Who has a port in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// A key has it reserved.
    Reservation(Reservation),
    /// A process has it leased, or had.
    Lease(LeaseInfo),
}

impl Registry {
    /// Every lease of everybody, by port, also those that have ended and were not yet cleared away.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn leases(&self) -> Result<Vec<LeaseInfo>> {
        let rows =
            self.seat().with(|database| database.read(|snapshot| store::leases(snapshot, PortRange::ALL)))?;
        let mut known = BTreeMap::new();
        Ok(rows.into_iter().map(|row| self.describe(row, &mut known)).collect())
    }

    /// The leases this registry has in this process, by port.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn own_leases(&self) -> Result<Vec<LeaseInfo>> {
        let own = self.tenure().with(|state| state.live.clone());
        let mut leases = self.leases()?;
        leases.retain(|lease| own.contains_key(&lease.port));
        Ok(leases)
    }

    /// Who has a port; an ended lease is told as such.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn holder(&self, port: Port) -> Result<Option<Holder>> {
        self.seat().with(|database| database.read(|snapshot| self.holder_in(snapshot, port)))
    }

    /// As [`Registry::holder`], in the caller's transaction.
    pub(crate) fn holder_in(&self, connection: &Connection, port: Port) -> Result<Option<Holder>> {
        let only = PortRange::new("port", port, port)?;
        Ok(match store::leases(connection, only)?.pop() {
            Some(lease) => Some(Holder::Lease(self.describe(lease, &mut BTreeMap::new()))),
            None => store::by_port(connection, port)?.map(Holder::Reservation),
        })
    }

    /// The serial number of the lease that this registry has of a port in this process.
    pub(crate) fn own_lease(&self, port: Port) -> Option<i64> {
        self.tenure().with(|state| state.live.get(&port).copied())
    }

    /// Forgets a lease that was ended by other means than closing it.
    pub(crate) fn forget_lease(&self, port: Port, serial: i64) {
        self.tenure().with(|state| {
            if state.live.get(&port) == Some(&serial) {
                state.live.remove(&port);
            }
        });
    }

    /// The ports of a range that somebody has; not those of leases that have ended.
    pub(crate) fn taken_ports(&self, range: PortRange) -> Result<PortSet> {
        let (mut ports, leases) = self.seat().with(|database| {
            database.read(|snapshot| {
                Ok((store::reserved_ports(snapshot, range)?, store::leases(snapshot, range)?))
            })
        })?;
        let mut known = BTreeMap::new();
        for lease in leases.into_iter().map(|lease| self.describe(lease, &mut known)) {
            if !lease.alive {
                ports.remove(lease.port);
            }
        }
        Ok(ports)
    }

    fn describe(&self, row: LeaseRow, known: &mut BTreeMap<String, bool>) -> LeaseInfo {
        let LeaseRow { port, owner, label, directory, since } = row;
        let alive = owner.as_ref().is_some_and(|owner| {
            let look = || owner::is_alive(self.data_dir(), &owner.file);
            *known.entry(owner.file.clone()).or_insert_with(look)
        });
        let (pid, command) = owner.map(|owner| (owner.pid, owner.command)).unzip();
        LeaseInfo { port, label, alive, pid, command, directory, since }
    }
}
