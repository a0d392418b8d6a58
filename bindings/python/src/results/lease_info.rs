//! The class `LeaseInfo`.
#![allow(clippy::too_many_arguments, reason = "the constructor that pyo3 makes has one for each field")]

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyTuple, PyType};

use super::value::{self, impl_value, utc};

/// A lease of anybody, as others see it.
#[pyclass(frozen, get_all, new = "from_fields", module = "trop")]
pub(crate) struct LeaseInfo {
    /// The port number.
    port: u16,
    /// What it is for.
    label: Option<String>,
    /// Whether its owner is running: `alive` or `ended`. An ended lease is in nobody's way.
    state: String,
    /// The process that took it, by the id it has in its own view; `None` if nobody knows any more.
    pid: Option<u32>,
    /// The command line of that process.
    command: Option<String>,
    /// The working directory it was taken in.
    directory: String,
    /// When it was taken, in UTC.
    since: Py<PyDateTime>,
    /// Whether the process that took it is running: `running`, `ended` or, for one in another container,
    /// `unknown`. A lease outlives its process in the children that it has forked.
    process_state: String,
    /// The process that keeps a lease whose own process has ended; `None` if there is none or it cannot be
    /// found.
    kept_by: Option<u32>,
}

impl_value!(LeaseInfo: port, label, state, pid, command, directory, since, process_state, kept_by);

impl LeaseInfo {
    pub(crate) fn of(py: Python<'_>, lease: trop_core::LeaseInfo) -> PyResult<LeaseInfo> {
        Ok(LeaseInfo {
            port: lease.port.get(),
            state: lease.state().to_owned(),
            label: lease.label,
            pid: lease.pid,
            command: lease.command,
            directory: lease.directory,
            since: utc(py, lease.since.seconds())?.unbind(),
            process_state: lease.process_state.name().to_owned(),
            kept_by: lease.kept_by,
        })
    }

    pub(crate) fn list(py: Python<'_>, leases: Vec<trop_core::LeaseInfo>) -> PyResult<Vec<LeaseInfo>> {
        leases.into_iter().map(|lease| LeaseInfo::of(py, lease)).collect()
    }
}
