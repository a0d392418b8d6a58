//! The classes `Migration` and `Move`.

use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use super::reservation::Reservation;
use super::value::{self, impl_value};

/// What a migration did.
#[pyclass(frozen, get_all, new = "from_fields", module = "trop")]
pub(crate) struct Migration {
    /// The normal form of the source.
    from_: String,
    /// The normal form of the destination.
    to: String,
    /// What was moved, by old path and tag.
    moves: Py<PyTuple>,
    /// What had a path and tag at the destination, and was removed.
    conflicts: Py<PyTuple>,
}

impl_value!(Migration: from_, to, moves, conflicts);

impl Migration {
    pub(crate) fn of(py: Python<'_>, migration: trop_core::Migration) -> PyResult<Migration> {
        let moves = migration.moves.into_iter().map(|moved| Move::of(py, moved));
        Ok(Migration {
            from_: migration.from,
            to: migration.to,
            moves: PyTuple::new(py, moves.collect::<PyResult<Vec<_>>>()?)?.unbind(),
            conflicts: Reservation::tuple(py, migration.conflicts)?,
        })
    }
}

/// A reservation that changed its path and nothing else.
#[pyclass(frozen, get_all, new = "from_fields", module = "trop")]
pub(crate) struct Move {
    /// As it was.
    reservation: Py<Reservation>,
    /// Its new path.
    to: String,
}

impl_value!(Move: reservation, to);

impl Move {
    fn of(py: Python<'_>, moved: trop_core::Move) -> PyResult<Move> {
        let (to, _) = moved.key.into_parts();
        Ok(Move { reservation: Py::new(py, Reservation::from(moved.before))?, to })
    }
}
