//! Cleaning up, moving and validating.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use trop_core::{MigrateRequest, Problem};

use crate::arguments::{self, Given};
use crate::calls::{Operations, contained};
use crate::results::{Cleanup, Migration};

#[pymethods]
impl Operations {
    /// Removes the reservations whose path certainly is no directory any more, all or none.
    ///
    /// With `dry_run` nothing is removed.
    ///
    /// Raises `BusyError`, `ClosedError`, and the errors of the database. Nothing is changed then.
    #[pyo3(signature = (*, dry_run=false))]
    fn prune(&self, py: Python<'_>, dry_run: bool) -> PyResult<Cleanup> {
        Cleanup::of(py, self.change(py, dry_run, trop_core::Registry::prune)?)
    }

    /// Removes the reservations that were last used more than `days` days ago, all or none.
    ///
    /// `days`, at least 1, defaults to the configured number, 30 if none is. With `dry_run` nothing is
    /// removed.
    ///
    /// Raises `InvalidArgumentError`, `BusyError`, `ClosedError`, and the errors of the database. Nothing is
    /// changed then.
    #[pyo3(signature = (days=None, *, dry_run=false))]
    fn expire(&self, py: Python<'_>, days: Given<'_, '_>, dry_run: bool) -> PyResult<Cleanup> {
        let days = arguments::days(days)?;
        Cleanup::of(py, self.change(py, dry_run, |registry| registry.expire(days))?)
    }

    /// `prune` and `expire` in one step, all or none. What both would remove counts as pruned.
    ///
    /// Raises as `expire`.
    #[pyo3(signature = (days=None, *, dry_run=false))]
    fn autoclean(&self, py: Python<'_>, days: Given<'_, '_>, dry_run: bool) -> PyResult<Cleanup> {
        let days = arguments::days(days)?;
        Cleanup::of(py, self.change(py, dry_run, |registry| registry.autoclean(days))?)
    }

    /// Moves the reservations of one path to another; port, tag, project, task and times stay as they are.
    ///
    /// `recursive` moves those of all paths below along. `force` removes the reservations that have a path
    /// and tag at the destination. Neither directory need exist. With `dry_run` nothing is moved.
    ///
    /// Raises `InvalidArgumentError`, `NotFoundError` if there is nothing at exactly the source and the move
    /// is not recursive, `ConflictError` if a path and tag at the destination are taken, `BusyError`,
    /// `ClosedError`, and the errors of the database. Nothing is changed then.
    #[pyo3(signature = (from_, to, /, *, recursive=false, force=false, dry_run=false))]
    fn migrate(
        &self,
        py: Python<'_>,
        from_: &Bound<'_, PyAny>,
        to: &Bound<'_, PyAny>,
        recursive: bool,
        force: bool,
        dry_run: bool,
    ) -> PyResult<Migration> {
        let from = arguments::required_path("from", from_)?;
        let mut request = MigrateRequest::new(from, arguments::required_path("to", to)?);
        request.recursive = recursive;
        request.force = force;
        Migration::of(py, self.change(py, dry_run, |registry| registry.migrate(&request))?)
    }

    /// Checks the database in every respect: version, structure, every row, duplicates, pages. It only reads.
    ///
    /// Raises `CorruptError` for the first fault found, also if there is no database, `SchemaError`,
    /// `UnsupportedError` if the file cannot be read, `BusyError`, `ClosedError`.
    fn validate_database(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, trop_core::Registry::validate)
    }
}

/// Returns everything that is wrong with a configuration file: nothing if it is valid.
///
/// A file called `config.yaml` is judged as the user's file, any other as a project's. No other file, no
/// variable and no database is looked at.
///
/// Raises `InvalidArgumentError` if it is missing or no file, `IoError` if it cannot be read.
#[pyfunction]
pub(crate) fn validate_config<'py>(
    py: Python<'py>,
    file: &Bound<'py, PyAny>,
) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let file = arguments::required_path("file", file)?;
    let problems = contained(py, || trop_core::validate(&file))?;
    problems.iter().map(|problem| problem_dict(py, problem)).collect()
}

fn problem_dict<'py>(py: Python<'py>, problem: &Problem) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("path", problem.path.as_os_str())?;
    dict.set_item("line", problem.line)?;
    dict.set_item("field", problem.field)?;
    dict.set_item("reason", &problem.reason)?;
    Ok(dict)
}
