//! What the results have in common: the behaviour of values, and times.

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyString, PyTuple, PyTzInfo};

/// Gives a class the behaviour of a value: it is compared, hashed, shown, matched, copied and pickled by its
/// fields. They are listed in the order of the constructor's arguments.
macro_rules! impl_value {
    ($class:ident: $($field:ident),+) => {
        #[pymethods]
        impl $class {
            #[classattr]
            fn __match_args__(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
                PyTuple::new(py, [$(stringify!($field)),+])
            }

            fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<bool> {
                value::fields(slf)?.eq(value::fields(other)?)
            }

            fn __hash__(slf: &Bound<'_, Self>) -> PyResult<isize> {
                value::fields(slf)?.hash()
            }

            fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
                value::shown(slf)
            }

            fn __reduce__<'py>(
                slf: &Bound<'py, Self>,
            ) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
                Ok((slf.get_type(), value::fields(slf)?))
            }
        }
    };
}
pub(super) use impl_value;

/// The values of the fields, in the order of `__match_args__`.
pub(super) fn fields<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    let values = names(value)?.iter().map(|name| value.getattr(name.cast::<PyString>()?));
    PyTuple::new(value.py(), values.collect::<PyResult<Vec<_>>>()?)
}

/// The call of the constructor that makes an equal value.
pub(super) fn shown(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let names = names(value)?.into_iter();
    let fields = names.zip(fields(value)?).map(|(name, field)| Ok(format!("{name}={}", field.repr()?)));
    let fields = fields.collect::<PyResult<Vec<_>>>()?.join(", ");
    Ok(format!("{}({fields})", value.get_type().name()?))
}

fn names<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    Ok(value.get_type().getattr("__match_args__")?.cast_into()?)
}

/// A time of the core as Python's `datetime`.
pub(super) fn utc(py: Python<'_>, seconds: i64) -> PyResult<Bound<'_, PyDateTime>> {
    #[allow(clippy::cast_precision_loss, reason = "the core's times end with the year 9999")]
    PyDateTime::from_timestamp(py, seconds as f64, Some(&*PyTzInfo::utc(py)?))
}
