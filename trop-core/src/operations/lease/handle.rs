//! A lease in the process that took it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::holding::HoldingSockets;
use crate::fork;
use crate::model::{Error, LeaseId, Port, Result};
use crate::registry::Registry;
use crate::store::data_dir;

/// A port that belongs to this process until the lease is closed or dropped, or the process ends in any way.
///
/// A child made by `fork` shares it: it lasts until the last of them ends, and closing it in the child does
/// nothing.
pub struct Lease {
    registry: Registry,
    id: LeaseId,
    label: Option<String>,
    generation: u64,
    /// The process that took it.
    pid: u32,
    closed: AtomicBool,
    sockets: Mutex<HoldingSockets>,
}

impl Lease {
    pub(super) fn new(
        registry: Registry,
        id: LeaseId,
        label: Option<String>,
        sockets: HoldingSockets,
    ) -> Lease {
        Lease {
            registry,
            id,
            label,
            generation: fork::generation(),
            pid: std::process::id(),
            closed: AtomicBool::new(false),
            sockets: Mutex::new(sockets),
        }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> Port {
        self.id.port
    }

    /// The process that took it.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it is for.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Whether neither the lease nor its registry was closed. Always true in a forked child.
    #[must_use]
    pub fn is_open(&self) -> bool {
        if self.generation != fork::generation() {
            return true;
        }
        !self.closed.load(Ordering::SeqCst) && self.registry.session().has(self.id)
    }

    /// Gives the port back. Closing twice is no error. Closing it in a forked child does nothing.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) and every error of the database. For this process the lease has
    /// ended all the same. The port is given back by the next change of its registry or, once the process has
    /// ended, by the next allocation that needs it.
    pub fn close(&self) -> Result<()> {
        self.end(self.registry.connection().timeout())
    }

    /// Gives the port back without waiting for a busy database, as dropping the lease does. If the database
    /// is busy, the next change of its registry gives it back.
    pub fn end_without_waiting(&self) {
        // After a failure the next change ends the lease.
        let _ = self.end(Duration::ZERO);
    }

    fn end(&self, wait: Duration) -> Result<()> {
        if self.generation != fork::generation() || self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = HoldingSockets::default();
        let was_live = self.registry.session().close_lease(self.id);
        // Without a database there is nothing to give back, and none must be created.
        if !was_live || matches!(data_dir::exists(self.registry.data_dir()), Ok(false)) {
            return Ok(());
        }
        // Every change ends the leases that were closed.
        match self.registry.write_within(wait, |_| Ok(())) {
            // Another thread closed the registry meanwhile, which ended the lease as well.
            Err(Error::Closed) => Ok(()),
            result => result,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end_without_waiting();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("port", &self.id.port)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}
