//! The class `_Operations`: which registry a call uses, and how the core is called. The calls themselves are
//! in `operations`.

use std::path::{Path, PathBuf};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use trop_core::{Result, contain};

use crate::errors::exception;

/// The calls that every registry has.
#[pyclass(frozen, subclass, module = "trop._trop", name = "_Operations")]
pub(crate) struct Operations(Target);

enum Target {
    Opened(trop_core::Registry),
    /// The registry of `TROP_DATA_DIR`, else ~/.trop, and of the working directory: looked up by each call.
    Machine,
}

#[pymethods]
impl Operations {
    /// Functions of the module are sent to other processes by name; a registry has files open and cannot be
    /// sent.
    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<&'static str> {
        match slf.get().0 {
            Target::Machine => Ok("_machine"),
            Target::Opened(_) => {
                Err(PyTypeError::new_err(format!("cannot pickle '{}' object", slf.get_type().name()?)))
            }
        }
    }
}

impl Drop for Operations {
    /// Detached, because closing the connection may write to the disk, and other Python threads must not wait
    /// for that.
    fn drop(&mut self) {
        if let Target::Opened(registry) = std::mem::replace(&mut self.0, Target::Machine) {
            Python::try_attach(|py| py.detach(|| drop(registry)));
        }
    }
}

impl Operations {
    pub(crate) fn of(opened: trop_core::Registry) -> Operations {
        Operations(Target::Opened(opened))
    }

    pub(crate) fn of_the_machine() -> Operations {
        Operations(Target::Machine)
    }

    pub(crate) fn call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&trop_core::Registry) -> Result<T> + Send,
    ) -> PyResult<T> {
        match &self.0 {
            Target::Opened(registry) => detached(py, || registry.contain(call)),
            Target::Machine => {
                let directory = data_directory(py, None)?;
                detached(py, || contain(|| trop_core::Registry::shared_in(Some(&directory)))?.contain(call))
            }
        }
    }

    /// A call that changes the registry, or shows on a copy of it what it would change.
    pub(crate) fn change<T: Send>(
        &self,
        py: Python<'_>,
        dry_run: bool,
        change: impl FnOnce(&trop_core::Registry) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.call(py, |registry| if dry_run { change(&registry.dry_run()?) } else { change(registry) })
    }
}

/// Looked up while attached: other Python threads may change the environment, and reading it meanwhile is not
/// safe.
pub(crate) fn data_directory(py: Python<'_>, given: Option<&Path>) -> PyResult<PathBuf> {
    trop_core::data_dir(given).map_err(|error| exception(py, &error))
}

/// Runs a call of the core while other Python threads go on, and makes a `PanicError` of its panic. For calls
/// of a registry that is open, `Registry::contain` does this.
///
/// pyo3 catches panics as well, but as a `PanicException`, which is neither a `trop.Error` nor an
/// `Exception`.
pub(crate) fn contained<T: Send>(py: Python<'_>, call: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    detached(py, || contain(call))
}

/// Runs a call of the core that catches its own panics, while other Python threads go on.
fn detached<T: Send>(py: Python<'_>, call: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(call).map_err(|error| exception(py, &error))
}
