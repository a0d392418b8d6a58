//! Errors of the core as exceptions of `trop/_errors.py`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use trop_core::Error;

/// The exception for an error of the core. If it cannot be made, the exception that says why.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let code = error.code();
    MAKE.import(py, "trop._errors", "make")
        .and_then(|make| {
            make.call1((code.number(), code.name(), error.to_string(), error.argument(), error.errno()))
        })
        .map_or_else(|failure| failure, PyErr::from_value)
}
