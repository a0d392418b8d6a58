//! Leases that nobody has a handle of: bare numbers, and those whose handles were collected as garbage.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex};

use super::allocate::LeaseRequest;
use super::handle::Lease;
use crate::fork;
use crate::model::{Error, LeaseId, Port, Result};
use crate::registry::{LeaseSession, Registry};

/// How many forgotten leases a process has at most.
const MOST: usize = 256;

/// The forgotten leases of this process, the oldest first. Some may have ended since, with their registry.
static FORGOTTEN: Mutex<VecDeque<Forgotten>> = Mutex::new(VecDeque::new());

struct Forgotten {
    session: Arc<LeaseSession>,
    id: LeaseId,
}

impl Forgotten {
    fn is_open(&self) -> bool {
        self.session.has(self.id)
    }

    /// Only notes the end, because its registry and its connection may be gone.
    fn end(&self) {
        if self.session.close_lease(self.id) {
            self.session.note_closed(self.id);
        }
    }
}

impl Registry {
    /// Returns the number of a port that nobody else gets until this process ends or the registry is closed
    /// by [`Registry::close`]: a lease without a handle. It outlives the registry.
    ///
    /// # Errors
    /// As [`Registry::lease_many`].
    pub fn port(&self, request: &LeaseRequest) -> Result<Port> {
        self.ports(1, request)?.pop().ok_or(Error::Closed)
    }

    /// Returns several of them, all or none, in the order of [`Registry::lease_many`].
    ///
    /// # Errors
    /// As [`Registry::lease_many`].
    pub fn ports(&self, count: u32, request: &LeaseRequest) -> Result<Vec<Port>> {
        let leases = self.lease_many(count, request)?;
        self.session().keep();
        for lease in &leases {
            lease.outlive_handle();
        }
        Ok(leases.iter().map(Lease::port).collect())
    }
}

impl Lease {
    /// Lets the lease outlive its handle: dropping that does not end it any more. It goes on until the
    /// process ends or its registry is closed by [`Registry::close`]. Of more than 256 such leases in a
    /// process the oldest end. Never waits.
    ///
    /// For languages that collect garbage, because their programs keep numbers, not handles. Returns whether
    /// the lease was open; false in a forked child for a lease of its parent.
    pub fn forget(&self) -> bool {
        let Some((session, id)) = self.outlive_handle() else { return false };
        let forgotten = Forgotten { session, id };
        let full = fork::locked_on(&FORGOTTEN, |all| {
            all.push_back(forgotten);
            (all.len() > MOST).then(|| mem::take(all))
        });
        // Without the lock, which each session takes as well.
        if let Some(mut all) = full {
            all.retain(Forgotten::is_open);
            let surplus = all.len().saturating_sub(MOST);
            all.drain(..surplus).for_each(|oldest| oldest.end());
            fork::locked_on(&FORGOTTEN, |newer| {
                all.append(newer);
                *newer = all;
            });
        }
        true
    }
}

/// The ports of the leases of this process that were forgotten and have not ended, the oldest first.
#[must_use]
pub fn forgotten_ports() -> Vec<Port> {
    let all: Vec<_> = fork::locked_on(&FORGOTTEN, |all| {
        all.iter().map(|lease| (Arc::clone(&lease.session), lease.id)).collect()
    });
    all.into_iter().filter(|(session, id)| session.has(*id)).map(|(_, id)| id.port).collect()
}
