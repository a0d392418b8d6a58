//! The class `LeaseInfo`.

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
}

impl_value!(LeaseInfo: port, label, state, pid, command, directory, since);

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
        })
    }

    pub(crate) fn list(py: Python<'_>, leases: Vec<trop_core::LeaseInfo>) -> PyResult<Vec<LeaseInfo>> {
        leases.into_iter().map(|lease| LeaseInfo::of(py, lease)).collect()
    }
}
