//! Finds out who has leases, and who has a port.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::slice;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::model::{LeaseId, Port, PortRange, PortSet, Reservation, Result, Timestamp};
use crate::registry::{Registry, keepers, maker_has_ended, noted_ends};
use crate::store::{self, LeaseRow};

/// A lease of any process, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// The port.
    pub port: Port,
    /// What it is for.
    pub label: Option<String>,
    /// Whether its owner is alive. An ended lease blocks no port and is removed by one of the next
    /// allocations.
    pub alive: bool,
    /// The id of the process that took it, as that process itself sees it; none if it is not known any more.
    pub pid: Option<u32>,
    /// The command line of that process.
    pub command: Option<String>,
    /// The working directory it was taken in.
    pub directory: String,
    /// When it was taken.
    pub since: Timestamp,
    /// Whether the process that took it is running. A lease outlives that process in the children that it has
    /// forked.
    pub process_state: ProcessState,
    /// The process that keeps a lease whose own process has ended, the one with the lowest id if there are
    /// several; none if it cannot be found, because it is another user's or in another container.
    pub kept_by: Option<u32>,
    id: LeaseId,
    owner_file: Option<String>,
}

/// Whether a process is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessState {
    /// It is running.
    Running,
    /// It has ended.
    Ended,
    /// That cannot be told, as of a process in another container.
    Unknown,
}

impl ProcessState {
    /// `running`, `ended` or `unknown`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ProcessState::Running => "running",
            ProcessState::Ended => "ended",
            ProcessState::Unknown => "unknown",
        }
    }
}

impl LeaseInfo {
    pub(crate) fn id(&self) -> LeaseId {
        self.id
    }

    /// `alive` or `ended`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.alive { "alive" } else { "ended" }
    }

    /// Who has it, for people: the process that took it, by its id and command line as far as they are known,
    /// and who keeps it when that process has ended.
    #[must_use]
    pub fn holder(&self) -> String {
        match self.keeper() {
            Some(keeper) => format!("{}, which has ended; {keeper} keeps it", self.taker()),
            None => self.taker(),
        }
    }

    /// The process that took it.
    pub(crate) fn taker(&self) -> String {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => format!("process {pid} ({command})"),
            _ => "a process nobody knows any more".to_owned(),
        }
    }

    /// The process that keeps it if the one that took it has ended, for people.
    #[must_use]
    pub fn keeper(&self) -> Option<String> {
        let is_kept = self.alive && self.process_state == ProcessState::Ended;
        is_kept.then(|| match self.kept_by {
            Some(pid) => format!("process {pid}"),
            None => "a process that cannot be named (another user's, or in another container)".to_owned(),
        })
    }

    /// How long ago it was taken, in whole seconds.
    #[must_use]
    pub fn age(&self) -> Duration {
        let seconds = Timestamp::now().seconds() - self.since.seconds();
        Duration::from_secs(seconds.try_into().unwrap_or(0))
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
            "process_state": self.process_state.name(),
            "kept_by": self.kept_by,
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
    /// Every lease of every process, by port, including those that have ended and were not yet removed.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn leases(&self) -> Result<Vec<LeaseInfo>> {
        let rows = self.read(|snapshot| store::leases(snapshot, PortRange::ALL))?;
        let mut view = self.view();
        let mut leases: Vec<_> = rows.into_iter().map(|row| view.describe(row)).collect();
        find_keepers(&mut leases);
        Ok(leases)
    }

    /// The leases this registry has in this process, by port.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn own_leases(&self) -> Result<Vec<LeaseInfo>> {
        let mut leases = self.leases()?;
        leases.retain(|lease| self.session().has(lease.id));
        Ok(leases)
    }

    /// Returns who has a port, if anyone. A lease that has ended is returned too, as not alive.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn holder(&self, port: Port) -> Result<Option<Holder>> {
        let mut holder = self.read(|snapshot| self.holder_in(snapshot, port))?;
        if let Some(Holder::Lease(lease)) = &mut holder {
            find_keepers(slice::from_mut(lease));
        }
        Ok(holder)
    }

    /// As [`Registry::holder`], in the caller's transaction, and without [`find_keepers`].
    pub(crate) fn holder_in(&self, connection: &Connection, port: Port) -> Result<Option<Holder>> {
        Ok(match store::leases(connection, PortRange::only(port))?.pop() {
            Some(lease) => Some(Holder::Lease(self.view().describe(lease))),
            None => store::by_port(connection, port)?.map(Holder::Reservation),
        })
    }

    /// The ports of a range that are reserved or leased, without those of leases that have ended.
    pub(crate) fn taken_ports(&self, range: PortRange) -> Result<PortSet> {
        let (mut ports, leases) = self.read(|snapshot| {
            Ok((store::reserved_ports(snapshot, range)?, store::leases(snapshot, range)?))
        })?;
        let mut view = self.view();
        for lease in leases.into_iter().map(|lease| view.describe(lease)) {
            if !lease.alive {
                ports.remove(lease.port);
            }
        }
        Ok(ports)
    }

    fn view(&self) -> View<'_> {
        View { directory: self.data_dir(), noted: BTreeMap::new(), closed: self.session().closed_leases() }
    }
}

/// Finds out who keeps the leases whose own processes have ended. Not for a transaction: it may have to look
/// at every process.
pub(crate) fn find_keepers(leases: &mut [LeaseInfo]) {
    let mut found = None;
    for lease in leases.iter_mut().filter(|lease| lease.alive && lease.process_state == ProcessState::Ended) {
        let found = found.get_or_insert_with(keepers);
        lease.kept_by = lease.owner_file.as_ref().and_then(|file| found.get(file).copied());
    }
}

/// Determines which leases have ended. Each owner is checked once.
struct View<'r> {
    directory: &'r Path,
    /// By the owner's file: the leases that it has noted as ended; `None` for a dead owner.
    noted: BTreeMap<String, Option<BTreeSet<i64>>>,
    /// Leases of this process that were closed and not yet removed.
    closed: BTreeSet<LeaseId>,
}

impl View<'_> {
    fn describe(&mut self, row: LeaseRow) -> LeaseInfo {
        let LeaseRow { id, owner, label, directory, since } = row;
        let alive = !self.closed.contains(&id)
            && owner.as_ref().is_some_and(|owner| {
                let look = || noted_ends(self.directory, &owner.file);
                let ends = self.noted.entry(owner.file.clone()).or_insert_with(look);
                ends.as_ref().is_some_and(|ends| !ends.contains(&id.serial))
            });
        let process_state = match owner.as_ref().and_then(|owner| maker_has_ended(&owner.file)) {
            Some(true) => ProcessState::Ended,
            Some(false) => ProcessState::Running,
            None => ProcessState::Unknown,
        };
        let owner_file = owner.as_ref().map(|owner| owner.file.clone());
        let (pid, command) = owner.map(|owner| (owner.pid, owner.command)).unzip();
        LeaseInfo {
            port: id.port,
            label,
            alive,
            pid,
            command,
            directory,
            since,
            process_state,
            kept_by: None,
            id,
            owner_file,
        }
    }
}
