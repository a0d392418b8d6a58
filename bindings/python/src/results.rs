//! Results of the core as values of `trop/_results.py`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use trop_core::{Cleanup, Explanation, Finding, Holder, LeaseInfo, Migration, Problem};

use crate::reservation::{Reservation, utc};

pub(crate) fn cleanup(py: Python<'_>, cleanup: Cleanup) -> PyResult<Bound<'_, PyAny>> {
    let preserved = class(py, "Preserved")?;
    let preserved = cleanup.preserved.into_iter().map(|kept| preserved.call1((kept.path, kept.cause)));
    let preserved = PyTuple::new(py, preserved.collect::<PyResult<Vec<_>>>()?)?;
    let (pruned, expired) = (tuple(py, cleanup.pruned)?, tuple(py, cleanup.expired)?);
    class(py, "Cleanup")?.call1((pruned, expired, preserved, cleanup.days))
}

pub(crate) fn migration(py: Python<'_>, migration: Migration) -> PyResult<Bound<'_, PyAny>> {
    let class_of_moves = class(py, "Move")?;
    let moves = migration
        .moves
        .into_iter()
        .map(|row| class_of_moves.call1((Reservation::from(row.before), row.key.path())));
    let moves = PyTuple::new(py, moves.collect::<PyResult<Vec<_>>>()?)?;
    let conflicts = tuple(py, migration.conflicts)?;
    class(py, "Migration")?.call1((migration.from, migration.to, moves, conflicts))
}

pub(crate) fn lease_info(py: Python<'_>, lease: LeaseInfo) -> PyResult<Bound<'_, PyAny>> {
    let (port, state, since) = (lease.port.get(), lease.state(), utc(py, lease.since.seconds())?);
    let LeaseInfo { label, pid, command, directory, .. } = lease;
    class(py, "LeaseInfo")?.call1((port, label, state, pid, command, directory, since))
}

pub(crate) fn lease_infos(py: Python<'_>, leases: Vec<LeaseInfo>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    leases.into_iter().map(|lease| lease_info(py, lease)).collect()
}

pub(crate) fn explanation(py: Python<'_>, explained: Explanation) -> PyResult<Bound<'_, PyAny>> {
    let (is_occupied, text) = (explained.is_occupied(), explained.to_string());
    let Explanation { port, holder, occupancy, range, excluded, .. } = explained;
    let (reservation, lease) = match holder {
        Some(Holder::Reservation(held)) => (Some(Reservation::from(held)), None),
        Some(Holder::Lease(lease)) => (None, Some(lease_info(py, lease)?)),
        _ => (None, None),
    };
    let owner = occupancy.owner;
    class(py, "Explanation")?.call1((
        port.get(),
        reservation,
        lease,
        is_occupied,
        owner.process_id,
        owner.process_name,
        owner.user,
        range.contains(port),
        excluded,
        text,
    ))
}

pub(crate) fn finding<'py>(py: Python<'py>, finding: &Finding) -> PyResult<Bound<'py, PyDict>> {
    let (probe, owner) = (finding.probe, &finding.owner);
    let dict = PyDict::new(py);
    dict.set_item("port", finding.port.get())?;
    dict.set_item("status", finding.status())?;
    dict.set_item("reserved", finding.reserved)?;
    dict.set_item("protocol", probe.protocol.name())?;
    dict.set_item("address_family", probe.family.name())?;
    dict.set_item("scope", probe.scope.name())?;
    dict.set_item("address", probe.address().to_string())?;
    dict.set_item("process_id", owner.process_id)?;
    dict.set_item("process_name", owner.process_name.as_deref())?;
    dict.set_item("user", owner.user.as_deref())?;
    dict.set_item("owner_status", owner.status())?;
    Ok(dict)
}

pub(crate) fn problem<'py>(py: Python<'py>, problem: &Problem) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("path", problem.path.as_os_str())?;
    dict.set_item("line", problem.line)?;
    dict.set_item("field", problem.field)?;
    dict.set_item("reason", &problem.reason)?;
    Ok(dict)
}

fn tuple(py: Python<'_>, held: Vec<trop_core::Reservation>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(py, held.into_iter().map(Reservation::from))
}

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("trop._results")?.getattr(name)
}
