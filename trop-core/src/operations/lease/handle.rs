//! A lease in the process that took it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::fork;
use crate::model::{LeaseId, Port};
use crate::registry::{LeaseSession, Registry};
use crate::store::data_dir;

/// A port that belongs to this process until the lease is closed or dropped, or the process ends in any way.
///
/// A child made by `fork` shares it: it lasts until the last of them ends, and closing it in the child does
/// nothing.
#[must_use = "dropping a lease ends it; for a number alone there is `Registry::port`"]
pub struct Lease {
    registry: Registry,
    id: LeaseId,
    label: Option<String>,
    generation: u64,
    /// The process that took it.
    pid: u32,
    /// Whether it goes on after this handle is dropped.
    outlives_handle: AtomicBool,
}

impl Lease {
    pub(super) fn new(registry: Registry, id: LeaseId, label: Option<String>) -> Lease {
        Lease {
            registry,
            id,
            label,
            generation: fork::generation(),
            pid: std::process::id(),
            outlives_handle: AtomicBool::new(false),
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
        self.is_inherited() || self.registry.session().has(self.id)
    }

    /// Whether it was taken by a process that forked this one.
    fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Gives the port back, as dropping the lease does. Closing twice does nothing, nor does closing a lease
    /// of the parent in a forked child.
    ///
    /// Never waits and never fails. If the database is busy, the end of the lease is noted in a file beside
    /// it, and whoever would be refused because of the lease removes it; so does the next change of its
    /// registry.
    pub fn close(&self) {
        if self.is_inherited() {
            return;
        }
        let was_live = self.registry.session().close_lease(self.id);
        // Without a database there is nothing to give back, and none must be created.
        if !was_live || matches!(data_dir::exists(self.registry.data_dir()), Ok(false)) {
            return;
        }
        // Every change ends the leases that were closed.
        if self.registry.write_within(Duration::ZERO, |_| Ok(())).is_err() {
            self.registry.session().note_closed(self.id);
        }
    }

    /// From now on, dropping the handle does not end the lease. Returns what is needed to end it later,
    /// unless this was called before, the lease has ended, or it belongs to a process that forked this one.
    pub(super) fn outlive_handle(&self) -> Option<(Arc<LeaseSession>, LeaseId)> {
        if self.is_inherited() || !self.is_open() || self.outlives_handle.swap(true, Ordering::SeqCst) {
            return None;
        }
        Some((Arc::clone(self.registry.session()), self.id))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !*self.outlives_handle.get_mut() {
            self.close();
        }
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
