//! What an open registry has to do with leases: the owner it is, and the list of leases it has.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::owner::{Owner, Reaper};
use crate::fork;
use crate::model::{Error, LeaseId, Port, Result};
use crate::store::{self, ConnectionSlot, data_dir};

/// How many lock files are looked at when an owner is made, to find those of owners that were never stored.
const LOCK_FILES: usize = 16;

/// The owner a registry is, and its leases. Only locked through [`fork::locked_on`], so that no forked child
/// inherits it locked.
#[derive(Default)]
pub(crate) struct LeaseSession(Mutex<State>);

struct State {
    /// Of the process this is the state of. A forked child starts with a new state, or it would use the
    /// serial numbers of its siblings.
    generation: u64,
    owner: Option<Owner>,
    /// The serial numbers of the leases that have not been closed.
    live: BTreeMap<Port, i64>,
    /// Leases that were closed and are still in the database; the next change removes them.
    to_remove: BTreeSet<LeaseId>,
    last_serial: i64,
    /// The last owner that [`LeaseSession::reap_next`] looked at.
    last_reaped: i64,
    /// When that was.
    last_look: Option<Instant>,
    /// Whether the registry was closed: nothing is leased any more.
    closed: bool,
}

impl Default for State {
    fn default() -> State {
        // Somewhere in the positive numbers, far from where any other owner started.
        let start = RandomState::new().hash_one(std::process::id()) >> 2;
        State {
            generation: fork::generation(),
            owner: None,
            live: BTreeMap::new(),
            to_remove: BTreeSet::new(),
            last_serial: start.cast_signed(),
            last_reaped: i64::MIN,
            last_look: None,
            closed: false,
        }
    }
}

impl LeaseSession {
    fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        fork::locked_on(&self.0, |state| {
            if state.generation != fork::generation() {
                if let Some(inherited) = state.owner.take() {
                    inherited.inherit();
                }
                *state = State { closed: state.closed, ..State::default() };
            }
            run(state)
        })
    }

    /// For a copy of the registry in memory, in which the same leases are this registry's.
    pub(crate) fn dry_run(&self) -> LeaseSession {
        let (live, to_remove) = self.with(|state| (state.live.clone(), state.to_remove.clone()));
        LeaseSession(Mutex::new(State { live, to_remove, ..State::default() }))
    }

    /// The id of the owner this registry is, inside the caller's write transaction. The first lease makes
    /// one.
    pub(crate) fn owner(&self, reaper: &Reaper<'_>) -> Result<i64> {
        let (connection, directory) = (reaper.connection, reaper.directory);
        let known = self.with(|state| {
            if state.closed {
                return Err(Error::Closed);
            }
            Ok(state.owner.as_ref().and_then(Owner::key))
        })?;
        if let Some((id, file)) = known
            && store::has_owner(connection, id, &file)?
        {
            return Ok(id);
        }
        reaper.remove_orphaned_lock_files(LOCK_FILES)?;
        // They would become the leases of whoever is given that id.
        reaper.remove_ownerless_leases()?;
        let owner = Owner::create(connection, directory)?;
        let id = owner.id;
        // The former owner is not stored: its transaction failed, or the database was replaced. Or its file
        // was removed, which has ended its leases for everybody else. And the new one is of no use if another
        // thread has closed the registry meanwhile.
        let (useless, closed) = self.with(|state| {
            state.live.clear();
            state.to_remove.clear();
            let useless = if state.closed { Some(owner) } else { state.owner.replace(owner) };
            (useless, state.closed)
        });
        if let Some(useless) = useless {
            useless.remove(connection, directory)?;
        }
        if closed { Err(Error::Closed) } else { Ok(id) }
    }

    /// A serial number that no other lease of this owner has.
    pub(crate) fn next_serial(&self) -> i64 {
        self.with(|state| {
            state.last_serial += 1;
            state.last_serial
        })
    }

    /// What every allocation does first: looks at a few owners and reaps those that are dead. Where
    /// allocations follow each other closely the next look can wait, so that most of them are spared it.
    pub(crate) fn reap_next(&self, reaper: &Reaper<'_>) -> Result<()> {
        const INTERVAL: Duration = Duration::from_millis(1);
        let look = self.with(|state| {
            let is_due = state.last_look.is_none_or(|last| last.elapsed() >= INTERVAL);
            is_due.then(|| (state.last_reaped, state.owner.as_ref().map(|owner| owner.id)))
        });
        if let Some((last, own)) = look {
            let last = reaper.reap_next(last, own)?;
            self.with(|state| (state.last_reaped, state.last_look) = (last, Some(Instant::now())));
        }
        Ok(())
    }

    /// Notes what was leased and is committed. Fails if another thread has closed the registry meanwhile: the
    /// owner and the rows are gone then.
    pub(crate) fn add(&self, owner: i64, leases: impl Iterator<Item = LeaseId>) -> Result<()> {
        self.with(|state| {
            if state.closed {
                return Err(Error::Closed);
            }
            // Another owner has another database, where these are unknown.
            if state.owner.as_ref().is_some_and(|current| current.id == owner) {
                state.live.extend(leases.map(|lease| (lease.port, lease.serial)));
            }
            Ok(())
        })
    }

    /// Whether a lease is one of this registry in this process, and was not closed.
    pub(crate) fn has(&self, lease: LeaseId) -> bool {
        self.with(|state| state.live.get(&lease.port) == Some(&lease.serial))
    }

    /// Notes that a lease is to end with the next change. Returns whether it was live.
    pub(crate) fn close_lease(&self, lease: LeaseId) -> bool {
        self.with(|state| {
            let was_live = state.live.get(&lease.port) == Some(&lease.serial);
            if was_live {
                state.live.remove(&lease.port);
                state.to_remove.insert(lease);
            }
            was_live
        })
    }

    /// The leases that were closed and are still in the database.
    pub(crate) fn closed_leases(&self) -> BTreeSet<LeaseId> {
        self.with(|state| state.to_remove.clone())
    }

    /// Removes the closed leases as part of the caller's write transaction, and returns them.
    pub(super) fn remove_closed(&self, connection: &Connection) -> Result<BTreeSet<LeaseId>> {
        let closed = self.closed_leases();
        for lease in &closed {
            store::remove_lease(connection, *lease)?;
        }
        Ok(closed)
    }

    /// Forgets leases that have ended, when that is committed.
    pub(crate) fn forget(&self, ended: &BTreeSet<LeaseId>) {
        if ended.is_empty() {
            return;
        }
        self.with(|state| {
            state.to_remove.retain(|lease| !ended.contains(lease));
            state.live.retain(|port, serial| !ended.contains(&LeaseId { port: *port, serial: *serial }));
        });
    }

    /// Ends the owner with all its leases, for good. Never waits: what the database is too busy for, others
    /// do when they find that the lock is gone.
    pub(super) fn close(&self, slot: &ConnectionSlot) {
        if fork::is_broken() {
            // Forked from inside an operation: another thread may have been in here, and nobody lets it out.
            return;
        }
        let owner = self.with(|state| {
            state.closed = true;
            state.live.clear();
            state.to_remove.clear();
            state.owner.take()
        });
        let Some(owner) = owner else { return };
        if matches!(data_dir::exists(slot.directory()), Ok(true)) {
            let _ = slot.run_within(Duration::ZERO, |database| {
                database.write(|transaction| owner.remove(transaction, slot.directory()))
            });
        }
    }
}
