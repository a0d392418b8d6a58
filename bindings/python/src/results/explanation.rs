//! The class `Explanation`.
#![allow(
    clippy::too_many_arguments,
    clippy::struct_excessive_bools,
    clippy::fn_params_excessive_bools,
    reason = "the constructor, which pyo3 writes, takes every field"
)]

use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use trop_core::Holder;

use super::lease_info::LeaseInfo;
use super::reservation::Reservation;
use super::value::{self, impl_value};

/// Who has a port in the registry and in the operating system. As text: sentences for people.
#[pyclass(frozen, get_all, str = "{text}", new = "from_fields", module = "trop")]
pub(crate) struct Explanation {
    /// The port number.
    port: u16,
    /// What the registry has reserved it for.
    reservation: Option<Py<Reservation>>,
    /// What the registry has leased it to.
    lease: Option<Py<LeaseInfo>>,
    /// Whether a program has it bound, as far as the occupancy check looks.
    occupied: bool,
    /// That program's process, if it can be named.
    process_id: Option<u32>,
    /// The name of that process.
    process_name: Option<String>,
    /// The user it runs as.
    user: Option<String>,
    /// Whether it lies in the registry's range.
    in_range: bool,
    /// Whether the configuration excludes it.
    excluded: bool,
    /// Whether no search chooses it because web clients refuse to connect to it.
    refused: bool,
    /// Whether only connections of a former server are left, so that a new one can use it.
    closing: bool,
    /// Whether this user may not bind it.
    forbidden: bool,
    /// All of this in sentences, a line each, with what to do.
    text: String,
}

impl_value!(
    Explanation: port, reservation, lease, occupied, process_id, process_name, user, in_range, excluded, refused,
    closing, forbidden, text
);

impl Explanation {
    pub(crate) fn of(py: Python<'_>, explained: trop_core::Explanation) -> PyResult<Explanation> {
        let (occupied, text) = (explained.is_occupied(), explained.to_string());
        let (closing, forbidden) = (explained.is_closing(), explained.is_forbidden());
        let trop_core::Explanation { port, holder, occupancy, range, excluded, refused, .. } = explained;
        let (reservation, lease) = match holder {
            Some(Holder::Reservation(held)) => (Some(Py::new(py, Reservation::from(held))?), None),
            Some(Holder::Lease(lease)) => (None, Some(Py::new(py, LeaseInfo::of(py, lease)?)?)),
            _ => (None, None),
        };
        let owner = occupancy.owner;
        Ok(Explanation {
            port: port.get(),
            reservation,
            lease,
            occupied,
            process_id: owner.process_id,
            process_name: owner.process_name,
            user: owner.user,
            in_range: range.contains(port),
            excluded,
            refused,
            closing,
            forbidden,
            text,
        })
    }
}
