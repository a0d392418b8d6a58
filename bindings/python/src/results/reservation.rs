//! The class `Reservation`, and the clean-up that may have made room for one.

use std::hash::{Hash, Hasher};

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyTuple, PyType};
use trop_core::{Refusal, Reserved};

use super::value::{self, impl_value, utc};

/// A port that belongs to a path and a tag until it is released, as the registry had it at one moment.
///
/// It is an integer wherever Python asks for one. Two are equal when the registry held the same, whatever
/// `created`, `refusal` and `cleanup` say about the calls that returned them.
#[pyclass(frozen, eq, hash, module = "trop")]
pub(crate) struct Reservation {
    /// The port number.
    #[pyo3(get)]
    port: u16,
    /// The absolute, normal path it was reserved for.
    #[pyo3(get)]
    path: String,
    /// The tag, if it has one.
    #[pyo3(get)]
    tag: Option<String>,
    /// The project, for people reading lists.
    #[pyo3(get)]
    project: Option<String>,
    /// The task, for people reading lists.
    #[pyo3(get)]
    task: Option<String>,
    created_at: i64,
    last_used_at: i64,
    /// Whether this call of `reserve` made it; false in a list.
    #[pyo3(get)]
    created: bool,
    /// Why the port asked for was not used: `outside_range`, `reserved`, `excluded` or `occupied`.
    #[pyo3(get)]
    refusal: Option<String>,
    /// What had to be removed because the range was exhausted; else `None`.
    #[pyo3(get)]
    cleanup: Option<Py<Cleanup>>,
}

type Stored<'a> = (u16, &'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>, i64, i64);

#[pymethods]
impl Reservation {
    /// When the path and tag got their first port, in UTC.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDateTime>> {
        utc(py, self.created_at)
    }

    /// When they were last asked for, in UTC.
    #[getter]
    fn last_used_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDateTime>> {
        utc(py, self.last_used_at)
    }

    fn __int__(&self) -> u16 {
        self.port
    }

    fn __index__(&self) -> u16 {
        self.port
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (path, tag) = (slf.getattr("path")?.repr()?, slf.getattr("tag")?.repr()?);
        Ok(format!("Reservation(port={}, path={path}, tag={tag})", slf.get().port))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, impl IntoPyObject<'py>)> {
        let state = (self.stored(), self.created, self.refusal.as_deref(), self.cleanup.as_ref());
        Ok((py.import("trop._trop")?.getattr("_restore")?, state))
    }
}

impl Reservation {
    /// What `reserve` returns.
    pub(crate) fn of(py: Python<'_>, reserved: Reserved) -> PyResult<Reservation> {
        let cleanup = reserved.cleanup.map(|cleanup| Py::new(py, Cleanup::of(py, cleanup)?)).transpose()?;
        Ok(Reservation {
            created: reserved.created,
            refusal: reserved.refusal.map(Refusal::name).map(str::to_owned),
            cleanup,
            ..reserved.reservation.into()
        })
    }

    pub(super) fn tuple(py: Python<'_>, held: Vec<trop_core::Reservation>) -> PyResult<Py<PyTuple>> {
        Ok(PyTuple::new(py, held.into_iter().map(Reservation::from))?.unbind())
    }

    fn stored(&self) -> Stored<'_> {
        (
            self.port,
            &self.path,
            self.tag.as_deref(),
            self.project.as_deref(),
            self.task.as_deref(),
            self.created_at,
            self.last_used_at,
        )
    }
}

impl PartialEq for Reservation {
    fn eq(&self, other: &Reservation) -> bool {
        self.stored() == other.stored()
    }
}

impl Hash for Reservation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.stored().hash(state);
    }
}

impl From<trop_core::Reservation> for Reservation {
    fn from(held: trop_core::Reservation) -> Reservation {
        let (path, tag) = held.key.into_parts();
        Reservation {
            port: held.port.get(),
            path,
            tag,
            project: held.project,
            task: held.task,
            created_at: held.created_at.seconds(),
            last_used_at: held.last_used_at.seconds(),
            created: false,
            refusal: None,
            cleanup: None,
        }
    }
}

/// Remakes a reservation that was pickled or copied.
#[pyfunction]
#[pyo3(name = "_restore")]
pub(crate) fn restore(
    stored: Stored<'_>,
    created: bool,
    refusal: Option<String>,
    cleanup: Option<Py<Cleanup>>,
) -> Reservation {
    let (port, path, tag, project, task, created_at, last_used_at) = stored;
    Reservation {
        port,
        path: path.to_owned(),
        tag: tag.map(str::to_owned),
        project: project.map(str::to_owned),
        task: task.map(str::to_owned),
        created_at,
        last_used_at,
        created,
        refusal,
        cleanup,
    }
}

/// What a clean-up removed.
#[pyclass(frozen, get_all, new = "from_fields", module = "trop")]
pub(crate) struct Cleanup {
    /// Those whose path is no directory any more, by path, then tag.
    pruned: Py<PyTuple>,
    /// Those that were not used for more than `days` and were not pruned, the oldest first.
    expired: Py<PyTuple>,
    /// The paths that could not be inspected and therefore kept their reservations.
    preserved: Py<PyTuple>,
    /// The age limit in days of 86400 seconds.
    days: u32,
}

impl_value!(Cleanup: pruned, expired, preserved, days);

impl Cleanup {
    pub(crate) fn of(py: Python<'_>, cleanup: trop_core::Cleanup) -> PyResult<Cleanup> {
        let preserved = cleanup.preserved.into_iter().map(Preserved::from);
        Ok(Cleanup {
            pruned: Reservation::tuple(py, cleanup.pruned)?,
            expired: Reservation::tuple(py, cleanup.expired)?,
            preserved: PyTuple::new(py, preserved)?.unbind(),
            days: cleanup.days,
        })
    }
}

/// A path of which nobody can tell whether its directory is gone.
#[pyclass(frozen, get_all, new = "from_fields", module = "trop")]
pub(crate) struct Preserved {
    /// The path of the reservations.
    path: String,
    /// What the operating system answered, such as `permission denied`.
    cause: String,
}

impl_value!(Preserved: path, cause);

impl From<trop_core::Preserved> for Preserved {
    fn from(preserved: trop_core::Preserved) -> Preserved {
        Preserved { path: preserved.path, cause: preserved.cause }
    }
}
