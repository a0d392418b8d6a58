//! What a registry is to its leases: an owner with a file that it locks, and a list of what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::lookup::LeaseInfo;
use super::owner::{Owner, Reclaimer};
use crate::data_dir;
use crate::error::{Error, Result};
use crate::port::Port;
use crate::registry::Registry;
use crate::store;

/// How many files are looked at for ones of owners that were never stored.
const STRAYS: usize = 16;

/// The owner a registry is, and its leases. Locked for moments only and with forks kept out, so that no child ever
/// inherits it locked.
#[derive(Default)]
pub(crate) struct Tenure(Mutex<State>);

/// A lease of this process: the serial number tells it from others of the same port.
pub(crate) type Numbered = (Port, i64);

struct State {
    /// Of the process it is the state of. A forked child begins anew: serial numbers would else be those of its siblings.
    generation: u64,
    owner: Option<Owner>,
    /// The serial numbers of the leases that have not been closed.
    live: BTreeMap<Port, i64>,
    /// Closed, which the database has not been told yet; ended by the next change.
    closed: BTreeSet<Numbered>,
    last_serial: i64,
    /// The last owner of others that was looked at in passing.
    last_seen: i64,
    /// When that look ended.
    last_look: Option<Instant>,
    /// Whether the registry was closed: nothing is leased any more.
    has_ended: bool,
}

impl Default for State {
    fn default() -> State {
        // Somewhere in the positive numbers, unlike where any other owner began.
        let start = RandomState::new().hash_one(std::process::id()) >> 2;
        State {
            generation: store::generation(),
            owner: None,
            live: BTreeMap::new(),
            closed: BTreeSet::new(),
            last_serial: start.cast_signed(),
            last_seen: i64::MIN,
            last_look: None,
            has_ended: false,
        }
    }
}

impl Tenure {
    fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        store::locked_on(&self.0, |state| {
            if state.generation != store::generation() {
                if let Some(inherited) = state.owner.take() {
                    inherited.inherit();
                }
                *state = State { has_ended: state.has_ended, ..State::default() };
            }
            run(state)
        })
    }

    /// For a copy of the registry in memory, in which the same leases are this registry's.
    pub(crate) fn rehearsal(&self) -> Tenure {
        let (live, closed) = self.with(|state| (state.live.clone(), state.closed.clone()));
        Tenure(Mutex::new(State { live, closed, ..State::default() }))
    }

    /// Notes what was leased and is committed. Fails if another thread has closed the registry meanwhile: the owner
    /// and the rows are gone then.
    pub(super) fn begin(&self, owner: i64, leases: impl Iterator<Item = Numbered>) -> Result<()> {
        self.with(|state| {
            if state.has_ended {
                return Err(Error::Closed);
            }
            // Another owner has another database, where these are unknown.
            if state.owner.as_ref().is_some_and(|current| current.id == owner) {
                state.live.extend(leases);
            }
            Ok(())
        })
    }

    pub(super) fn is_live(&self, (port, serial): Numbered) -> bool {
        self.with(|state| state.live.get(&port) == Some(&serial))
    }

    /// Whether a lease is one of this registry in this process.
    pub(crate) fn has(&self, lease: &LeaseInfo) -> bool {
        self.is_live(lease.numbered())
    }

    /// Notes that a lease is to end with the next change; true if it was live.
    pub(super) fn close(&self, lease: Numbered) -> bool {
        self.with(|state| {
            let was_live = state.live.get(&lease.0) == Some(&lease.1);
            if was_live {
                state.live.remove(&lease.0);
                state.closed.insert(lease);
            }
            was_live
        })
    }

    /// What was closed and still is in the database.
    pub(super) fn closed(&self) -> BTreeSet<Numbered> {
        self.with(|state| state.closed.clone())
    }

    /// Ends what was closed, as part of the caller's write transaction. Tells what it was.
    pub(crate) fn end_closed(&self, connection: &Connection) -> Result<BTreeSet<Numbered>> {
        let closed = self.closed();
        for lease in &closed {
            store::remove_lease(connection, *lease)?;
        }
        Ok(closed)
    }

    /// Forgets what has ended, when that is committed.
    pub(crate) fn forget(&self, ended: &BTreeSet<Numbered>) {
        if ended.is_empty() {
            return;
        }
        self.with(|state| {
            state.closed.retain(|lease| !ended.contains(lease));
            state.live.retain(|port, serial| !ended.contains(&(*port, *serial)));
        });
    }

    /// Ends the owner with all its leases, for good. Never waits: what the database is too busy for, others do when they
    /// find that the lock is gone.
    pub(crate) fn end(&self, seat: &store::Seat) {
        if store::usable().is_err() {
            // Forked from inside an operation: another thread may have been in here, and nobody lets it out.
            return;
        }
        let owner = self.with(|state| {
            state.has_ended = true;
            state.live.clear();
            state.closed.clear();
            state.owner.take()
        });
        let Some(owner) = owner else { return };
        if matches!(data_dir::exists(seat.directory()), Ok(true)) {
            let _ = seat.with_in(Duration::ZERO, |database| {
                database.write(|transaction| owner.remove(transaction, seat.directory()))
            });
        }
    }
}

impl Registry {
    /// The id of the owner this registry is, which becomes one with its first lease.
    pub(super) fn owner(&self, connection: &Connection) -> Result<i64> {
        let known = self.tenure().with(|state| {
            if state.has_ended {
                return Err(Error::Closed);
            }
            Ok(state.owner.as_ref().and_then(Owner::key))
        })?;
        if let Some((id, file)) = known
            && store::has_owner(connection, id, &file)?
        {
            return Ok(id);
        }
        self.reclaimer(connection).strays(STRAYS)?;
        // They would become the leases of whoever is given that id.
        self.reclaimer(connection).unknown()?;
        let owner = Owner::create(connection, self.data_dir())?;
        let id = owner.id;
        // The former one is not stored: its transaction failed, or the database was replaced. Or its file was removed,
        // which has ended its leases for everybody else. Nor is there use for the new one if another thread has closed
        // the registry meanwhile.
        let (useless, has_ended) = self.tenure().with(|state| {
            state.live.clear();
            state.closed.clear();
            let useless = if state.has_ended { Some(owner) } else { state.owner.replace(owner) };
            (useless, state.has_ended)
        });
        if let Some(useless) = useless {
            useless.remove(connection, self.data_dir())?;
        }
        if has_ended { Err(Error::Closed) } else { Ok(id) }
    }

    pub(super) fn next_serial(&self) -> i64 {
        self.tenure().with(|state| {
            state.last_serial += 1;
            state.last_serial
        })
    }

    /// What ends the leases of dead owners, inside the caller's write transaction.
    pub(crate) fn reclaimer<'a>(&'a self, connection: &'a Connection) -> Reclaimer<'a> {
        Reclaimer { connection, directory: self.data_dir(), is_rehearsal: self.seat().is_copy() }
    }

    /// What every allocation does first: looks at a few owners, and ends those that are dead. Where allocations follow
    /// each other closely the next look can wait, so that most of them are spared it.
    pub(crate) fn look_in_passing(&self, connection: &Connection) -> Result<()> {
        const INTERVAL: Duration = Duration::from_millis(1);
        let look = self.tenure().with(|state| {
            let is_due = state.last_look.is_none_or(|last| last.elapsed() >= INTERVAL);
            is_due.then(|| (state.last_seen, state.owner.as_ref().map(|owner| owner.id)))
        });
        if let Some((last, own)) = look {
            let last = self.reclaimer(connection).in_passing(last, own)?;
            self.tenure().with(|state| (state.last_seen, state.last_look) = (last, Some(Instant::now())));
        }
        Ok(())
    }
}
