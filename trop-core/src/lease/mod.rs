//! Leases: ports that live exactly as long as whoever asked for them.

mod allocation;
mod listening;
mod lookup;
mod owner;
mod socket;
mod tenure;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use allocation::LeaseRequest;
pub use lookup::{Holder, LeaseInfo};
pub(crate) use tenure::Tenure;

use crate::data_dir;
use crate::error::{Error, Result};
use crate::port::Port;
use crate::registry::Registry;
use crate::store;
use socket::Held;

/// A port that belongs to this process until the lease is closed or dropped, or the process ends in any way.
///
/// A child made by `fork` shares it: it lasts until the last of them ends, and closing it in the child does nothing.
pub struct Lease {
    registry: Registry,
    port: Port,
    label: Option<String>,
    /// Tells it from other leases the same owner had of the same port.
    serial: i64,
    generation: u64,
    /// The process that took it.
    pid: u32,
    closed: AtomicBool,
    held: Mutex<Held>,
}

impl Lease {
    /// The port.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// What it is for.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Whether it has not ended: neither it nor its registry was closed. In a forked child it lasts as the parent's does.
    #[must_use]
    pub fn is_open(&self) -> bool {
        if self.generation != store::generation() {
            return true;
        }
        !self.closed.load(Ordering::SeqCst) && self.registry.tenure().is_live((self.port, self.serial))
    }

    /// Gives the port back. Closing twice is no error, and neither is closing what a fork made another's.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) and every error of the database. The lease has ended all the same as far as this process is
    /// concerned: the port is given back by the next call, or by whoever wants it once the process has ended.
    pub fn close(&self) -> Result<()> {
        self.end(self.registry.seat().timeout())
    }

    /// Gives the port back as dropping it does: without waiting for a busy database. What cannot be done at once is
    /// done by the next call.
    pub fn end_without_waiting(&self) {
        // Put off, not lost.
        let _ = self.end(Duration::ZERO);
    }

    fn end(&self, wait: Duration) -> Result<()> {
        if self.generation != store::generation() || self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Held::default();
        let was_live = self.registry.tenure().close((self.port, self.serial));
        // Without a database there is nothing to give back, and none must be made.
        if !was_live || matches!(data_dir::exists(self.registry.data_dir()), Ok(false)) {
            return Ok(());
        }
        // Every change ends the leases that were closed.
        match self.registry.write_in(wait, |_| Ok(())) {
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
        f.debug_struct("Lease").field("port", &self.port).field("label", &self.label).finish_non_exhaustive()
    }
}
