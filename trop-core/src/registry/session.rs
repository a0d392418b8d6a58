//! The lease session of an open registry: the owner that it is, and the list of its leases.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::owner::{Owner, Reaper};
use crate::fork;
use crate::machine::HoldingSockets;
use crate::model::{Error, LeaseId, Port, Result};
use crate::store::{self, ConnectionSlot, data_dir};

/// How many lock files are checked when an owner is created, to find those of owners that were never stored.
const LOCK_FILES: usize = 16;

/// The sessions of registries that gave out a number without a handle.
static KEPT: Mutex<Vec<Arc<LeaseSession>>> = Mutex::new(Vec::new());

/// The owner that a registry is, and its leases. Only locked through [`fork::locked_on`], so that no forked
/// child inherits it locked.
#[derive(Default)]
pub(crate) struct LeaseSession(Mutex<State>);

struct State {
    /// The fork generation of the process that this state belongs to. A forked child starts with a new state,
    /// because it would otherwise use the same serial numbers as its siblings.
    generation: u64,
    owner: Option<Owner>,
    /// The leases that have not been closed.
    live: BTreeMap<Port, Live>,
    /// Leases that were closed and are still in the database; the next change removes them.
    to_remove: BTreeSet<LeaseId>,
    last_serial: i64,
    /// The id of the last owner that [`LeaseSession::reap_next`] checked.
    last_reaped: i64,
    /// When it was checked.
    last_check: Option<Instant>,
    /// Whether the registry was closed. It gives no leases any more.
    closed: bool,
    /// Whether the session is one of [`KEPT`].
    kept: bool,
}

struct Live {
    serial: i64,
    #[allow(dead_code, reason = "bound as long as they exist")]
    sockets: HoldingSockets,
}

impl State {
    fn has(&self, lease: LeaseId) -> bool {
        self.live.get(&lease.port).is_some_and(|live| live.serial == lease.serial)
    }

    /// Keeps the lock and the sockets of the parent process open until this forked child ends, because the
    /// leases of the parent are shared with its children.
    fn inherit(&mut self) {
        mem::forget((self.owner.take(), mem::take(&mut self.live)));
    }
}

impl Default for State {
    fn default() -> State {
        // A random positive number, so that owners start far from each other.
        let start = RandomState::new().hash_one(std::process::id()) >> 2;
        State {
            generation: fork::generation(),
            owner: None,
            live: BTreeMap::new(),
            to_remove: BTreeSet::new(),
            last_serial: start.cast_signed(),
            last_reaped: i64::MIN,
            last_check: None,
            closed: false,
            kept: false,
        }
    }
}

impl LeaseSession {
    fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        fork::locked_on(&self.0, |state| {
            if state.generation != fork::generation() {
                state.inherit();
                *state = State { closed: state.closed, ..State::default() };
            }
            run(state)
        })
    }

    /// Returns the session for a copy of the registry in memory. It has the same leases as this one.
    pub(crate) fn dry_run(&self) -> LeaseSession {
        self.with(|state| {
            let copy = |live: &Live| Live { serial: live.serial, sockets: HoldingSockets::default() };
            let live = state.live.iter().map(|(port, live)| (*port, copy(live))).collect();
            let to_remove = state.to_remove.clone();
            LeaseSession(Mutex::new(State { live, to_remove, ..State::default() }))
        })
    }

    /// Returns the id of the owner that this registry is, inside the caller's write transaction. The first
    /// lease creates the owner.
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
        // Otherwise these leases would become those of the next owner that gets the same id.
        reaper.remove_ownerless_leases()?;
        let owner = Owner::create(connection, directory)?;
        let id = owner.id;
        // A former owner is useless. It is not stored, because its transaction failed or the database was
        // replaced, or its file was removed, which ended its leases for all other processes. The new owner is
        // useless if another thread has closed the registry meanwhile.
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

    /// Checks a few owners and reaps those that are dead. Every allocation does this first, unless it was
    /// done within the last millisecond.
    pub(crate) fn reap_next(&self, reaper: &Reaper<'_>) -> Result<()> {
        const INTERVAL: Duration = Duration::from_millis(1);
        let due = self.with(|state| {
            let is_due = state.last_check.is_none_or(|last| last.elapsed() >= INTERVAL);
            is_due.then(|| (state.last_reaped, state.owner.as_ref().map(|owner| owner.id)))
        });
        if let Some((last, own)) = due {
            let last = reaper.reap_next(last, own)?;
            self.with(|state| (state.last_reaped, state.last_check) = (last, Some(Instant::now())));
        }
        Ok(())
    }

    /// Adds leases that were committed. Fails if another thread has closed the registry meanwhile, because
    /// the owner and the rows are gone then.
    pub(crate) fn add(
        &self,
        owner: i64,
        leases: impl Iterator<Item = (LeaseId, HoldingSockets)>,
    ) -> Result<()> {
        self.with(|state| {
            if state.closed {
                return Err(Error::Closed);
            }
            // If another thread has replaced the owner meanwhile, the leases of the former one have ended.
            if state.owner.as_ref().is_some_and(|current| current.id == owner) {
                let live = |(LeaseId { port, serial }, sockets)| (port, Live { serial, sockets });
                state.live.extend(leases.map(live));
            }
            Ok(())
        })
    }

    /// Whether a lease belongs to this registry in this process and was not closed.
    pub(crate) fn has(&self, lease: LeaseId) -> bool {
        self.with(|state| state.has(lease))
    }

    /// Whether its registry was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.with(|state| state.closed)
    }

    /// Lets this session outlive its registry, until that is closed explicitly or the process ends.
    pub(crate) fn keep(self: &Arc<Self>) {
        if !self.with(|state| mem::replace(&mut state.kept, true)) {
            fork::locked_on(&KEPT, |kept| kept.push(Arc::clone(self)));
        }
    }

    /// Marks a lease to be ended by the next change. Returns whether it was live.
    pub(crate) fn close_lease(&self, lease: LeaseId) -> bool {
        self.with(|state| {
            let was_live = state.has(lease);
            if was_live {
                state.live.remove(&lease.port);
                state.to_remove.insert(lease);
            }
            was_live
        })
    }

    /// Notes for other processes that a lease was closed, unless it has been removed from the database.
    pub(crate) fn note_closed(&self, lease: LeaseId) {
        self.with(|state| {
            if state.to_remove.contains(&lease)
                && let Some(owner) = &mut state.owner
            {
                owner.note_ended([lease.serial]);
            }
        });
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

    /// Forgets leases whose end was committed.
    pub(crate) fn forget(&self, ended: &BTreeSet<LeaseId>) {
        if ended.is_empty() {
            return;
        }
        self.with(|state| {
            state.to_remove.retain(|lease| !ended.contains(lease));
            state.live.retain(|port, live| !ended.contains(&LeaseId { port: *port, serial: live.serial }));
            if state.to_remove.is_empty()
                && let Some(owner) = &mut state.owner
            {
                owner.clear_notes();
            }
        });
    }

    /// Ends the owner with all its leases, for good. Never waits: if the database is busy, other processes
    /// remove the leases when they find that the lock is released, or, while a forked child shares it, that
    /// their end was noted.
    pub(super) fn close(&self, slot: &ConnectionSlot) {
        if fork::is_broken() {
            // In a process that was forked from inside an operation, the state may be locked by a thread that
            // does not exist here.
            return;
        }
        let (owner, live, to_remove) = self.with(|state| {
            state.closed = true;
            (state.owner.take(), mem::take(&mut state.live), mem::take(&mut state.to_remove))
        });
        fork::locked_on(&KEPT, |kept| kept.retain(|session| !ptr::eq(Arc::as_ptr(session), self)));
        let Some(mut owner) = owner else { return };
        if matches!(data_dir::exists(slot.directory()), Ok(true)) {
            let removed = slot.run_within(Duration::ZERO, |database| {
                database.write(|transaction| owner.remove(transaction, slot.directory()))
            });
            if removed.is_err() {
                let closed = to_remove.iter().map(|lease| lease.serial);
                owner.note_ended(live.values().map(|live| live.serial).chain(closed));
            }
        }
    }
}

impl Drop for LeaseSession {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.generation != fork::generation() {
            state.inherit();
        }
    }
}
