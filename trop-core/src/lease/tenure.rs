//! What a registry is to its leases: an owner with a file that it locks, and a list of what it has.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::owner::{Owner, Reclaimer};
use crate::data_dir;
use crate::error::Result;
use crate::port::Port;
use crate::registry::Registry;
use crate::store;

/// How many files are looked at for ones of owners that were never stored.
const STRAYS: usize = 16;

/// The owner a registry is, and its leases. Locked for moments only and with forks kept out, so that no child ever
/// inherits it locked.
#[derive(Default)]
pub(crate) struct Tenure(Mutex<State>);

pub(super) struct State {
    pub(super) owner: Option<Owner>,
    /// The serial numbers of the leases that have not been closed.
    pub(super) live: BTreeMap<Port, i64>,
    /// Closed at a moment when the database was busy; ended by the next call.
    pub(super) pending: Vec<(Port, i64)>,
    last_serial: i64,
    /// The last owner of others that was looked at in passing.
    cursor: i64,
}

impl Default for State {
    fn default() -> State {
        // Somewhere in the positive numbers, unlike where any other owner began.
        let start = RandomState::new().hash_one(std::process::id()) >> 2;
        let last_serial = start.cast_signed();
        State { owner: None, live: BTreeMap::new(), pending: Vec::new(), last_serial, cursor: 0 }
    }
}

impl Tenure {
    /// What a rehearsal has: no owner, but the same right to end the leases there are.
    pub(crate) fn rehearsal(&self) -> Tenure {
        Tenure(Mutex::new(State { live: self.with(|state| state.live.clone()), ..State::default() }))
    }

    pub(super) fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        store::locked(|| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(inherited) = state.owner.take_if(|owner| !owner.is_own()) {
                inherited.inherit();
                *state = State::default();
            }
            run(&mut state)
        })
    }
}

impl Registry {
    /// The id of the owner this registry is, which becomes one with its first lease.
    pub(super) fn owner(&self, connection: &Connection) -> Result<i64> {
        let known = self.tenure().with(|state| state.owner.as_ref().map(Owner::key));
        if let Some((id, file)) = known
            && store::has_owner(connection, id, &file)?
        {
            return Ok(id);
        }
        self.reclaimer(connection).strays(STRAYS)?;
        let owner = Owner::create(connection, self.data_dir())?;
        let id = owner.id;
        // One that is not stored has no leases: its transaction failed, or the database was replaced.
        let former = self.tenure().with(|state| {
            state.live.clear();
            state.pending.clear();
            state.owner.replace(owner)
        });
        if let Some(former) = former {
            former.remove(connection, self.data_dir())?;
        }
        Ok(id)
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

    /// What every allocation does first: ends what was closed while the database was busy, and looks at a few owners.
    pub(crate) fn tidy(&self, connection: &Connection) -> Result<()> {
        let (cursor, own, pending) = self
            .tenure()
            .with(|state| (state.cursor, state.owner.as_ref().map(|owner| owner.id), state.pending.clone()));
        // They stay pending until that is committed: ending one twice does nothing.
        for (port, serial) in pending {
            store::remove_lease(connection, port, serial)?;
        }
        let cursor = self.reclaimer(connection).in_passing(cursor, own)?;
        self.tenure().with(|state| state.cursor = cursor);
        Ok(())
    }
}

/// Ends an owner with all its leases. Never waits: what the database is too busy for, others do when they find that the
/// lock is gone.
pub(crate) fn end_tenure(tenure: &Tenure, seat: &store::Seat) {
    let owner = tenure.with(|state| {
        state.live.clear();
        state.pending.clear();
        state.owner.take()
    });
    let Some(owner) = owner else { return };
    if matches!(data_dir::exists(seat.directory()), Ok(true)) {
        let _ = seat.with_in(Duration::ZERO, |database| {
            database.write(|transaction| owner.remove(transaction, seat.directory()))
        });
    }
}
