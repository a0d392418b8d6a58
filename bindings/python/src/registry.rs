//! The class `Registry`, and the same calls on the machine's registry.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use trop_core::{RegistryOptions, ReleaseRequest, ReserveRequest, Result, contain};

use crate::arguments::{self, Given};
use crate::errors::exception;
use crate::reservation::Reservation;

/// An open registry, for any number of threads and on both sides of a fork.
///
/// Closed by `close()`, at the end of a `with` block, or when it is garbage.
#[pyclass(frozen, module = "trop")]
pub(crate) struct Registry(trop_core::Registry);

#[pymethods]
impl Registry {
    #[new]
    #[pyo3(
        signature = (data_dir=None, *, ports=None, excluded=None, busy_timeout=None, create=true,
            skip_occupancy_check=false, skip_tcp=false, skip_udp=false, skip_ipv4=false, skip_ipv6=false,
            check_all_interfaces=false),
        text_signature = "(data_dir=None, *, ports=None, excluded=(), busy_timeout=None, create=True, \
            skip_occupancy_check=False, skip_tcp=False, skip_udp=False, skip_ipv4=False, skip_ipv6=False, \
            check_all_interfaces=False)"
    )]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "Python's keywords")]
    fn new(
        py: Python<'_>,
        data_dir: Given<'_, '_>,
        ports: Given<'_, '_>,
        excluded: Given<'_, '_>,
        busy_timeout: Given<'_, '_>,
        create: bool,
        skip_occupancy_check: bool,
        skip_tcp: bool,
        skip_udp: bool,
        skip_ipv4: bool,
        skip_ipv6: bool,
        check_all_interfaces: bool,
    ) -> PyResult<Registry> {
        let mut options = RegistryOptions::default();
        options.data_dir = Some(data_directory(py, arguments::path("data_dir", data_dir)?.as_deref())?);
        if let Some(ports) = ports {
            options.ports = Some(arguments::ports(ports)?);
        }
        if let Some(excluded) = excluded {
            options.excluded = arguments::excluded(excluded)?;
        }
        if let Some(seconds) = busy_timeout {
            options.busy_timeout = Some(arguments::seconds("busy_timeout", seconds)?);
        }
        options.create = create;
        options.occupancy.skip = skip_occupancy_check;
        options.occupancy.skip_tcp = skip_tcp;
        options.occupancy.skip_udp = skip_udp;
        options.occupancy.skip_ipv4 = skip_ipv4;
        options.occupancy.skip_ipv6 = skip_ipv6;
        options.occupancy.check_all_interfaces = check_all_interfaces;
        detached(py, || trop_core::Registry::open(options)).map(Registry)
    }

    /// Returns the port of a path and tag: the one they have, else a new one.
    ///
    /// `path` defaults to the working directory. For new ones, `port` is used if it is usable, else the lowest
    /// usable port from `min` to `max`, which default to the registry's range. The path may be unrelated to the
    /// working directory unless `allow_unrelated_path` is false.
    ///
    /// Raises `InvalidArgumentError`, `ExhaustedError`, `BusyError`, `UnrelatedPathError`, `ConfigError` if only
    /// one end of the range is given and it does not fit the other, `ClosedError`, and the errors of the
    /// database. Nothing is changed then.
    #[pyo3(signature = (path=None, tag=None, *, port=None, min=None, max=None, allow_unrelated_path=true))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn reserve(
        &self,
        py: Python<'_>,
        path: Given<'_, '_>,
        tag: Given<'_, '_>,
        port: Given<'_, '_>,
        min: Given<'_, '_>,
        max: Given<'_, '_>,
        allow_unrelated_path: bool,
    ) -> PyResult<Reservation> {
        let request = reserve_request(path, tag, port, min, max, allow_unrelated_path)?;
        self.call(py, |registry| registry.reserve(&request)).map(Reservation::from)
    }

    /// Releases the ports of a path and returns how many there were; none is no error.
    ///
    /// `path` defaults to the working directory. A `tag` selects its reservation only, `untagged_only` the one
    /// without a tag; else all are released.
    ///
    /// Raises `InvalidArgumentError`, `BusyError`, `UnrelatedPathError`, `ClosedError`, and the errors of the
    /// database. Nothing is changed then.
    #[pyo3(signature = (path=None, tag=None, *, untagged_only=false, allow_unrelated_path=true))]
    fn release(
        &self,
        py: Python<'_>,
        path: Given<'_, '_>,
        tag: Given<'_, '_>,
        untagged_only: bool,
        allow_unrelated_path: bool,
    ) -> PyResult<usize> {
        let request = release_request(path, tag, untagged_only, allow_unrelated_path)?;
        self.call(py, |registry| registry.release(&request))
    }

    /// Returns every reservation, ordered by path, then tag, the untagged one first.
    ///
    /// Raises `BusyError`, `ClosedError`, and the errors of the database.
    fn list(&self, py: Python<'_>) -> PyResult<Vec<Reservation>> {
        self.call(py, trop_core::Registry::list).map(reservations)
    }

    /// Closes the registry; later calls raise `ClosedError`. Closing twice is no error.
    ///
    /// An operation of another thread is not interrupted. Nothing is released.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }

    /// The data directory, absolute.
    #[getter]
    fn data_dir(&self) -> PathBuf {
        self.0.data_dir().to_path_buf()
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.0.is_closed()
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) {
        let _ = (exc_type, exc_value, traceback);
        self.close(py);
    }

    fn __repr__(&self) -> String {
        let state = if self.closed() { "closed" } else { "open" };
        format!("<trop.Registry {}, {state}>", self.0.data_dir().display())
    }
}

impl Registry {
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&trop_core::Registry) -> Result<T> + Send,
    ) -> PyResult<T> {
        detached(py, || self.0.contain(call))
    }
}

impl Drop for Registry {
    /// Closing may write to the disk: not while other Python threads have to wait for it.
    fn drop(&mut self) {
        let core = &self.0;
        Python::try_attach(|py| py.detach(|| core.close()));
    }
}

/// `Registry.reserve` of the machine's registry.
///
/// That is the one at `TROP_DATA_DIR` or ~/.trop, opened at the first use and kept open.
#[pyfunction]
#[pyo3(signature = (path=None, tag=None, *, port=None, min=None, max=None, allow_unrelated_path=true))]
#[allow(clippy::too_many_arguments, reason = "Python's keywords")]
pub(crate) fn reserve(
    py: Python<'_>,
    path: Given<'_, '_>,
    tag: Given<'_, '_>,
    port: Given<'_, '_>,
    min: Given<'_, '_>,
    max: Given<'_, '_>,
    allow_unrelated_path: bool,
) -> PyResult<Reservation> {
    let request = reserve_request(path, tag, port, min, max, allow_unrelated_path)?;
    call_shared(py, |registry| registry.reserve(&request)).map(Reservation::from)
}

/// `Registry.release` of the machine's registry.
#[pyfunction]
#[pyo3(signature = (path=None, tag=None, *, untagged_only=false, allow_unrelated_path=true))]
pub(crate) fn release(
    py: Python<'_>,
    path: Given<'_, '_>,
    tag: Given<'_, '_>,
    untagged_only: bool,
    allow_unrelated_path: bool,
) -> PyResult<usize> {
    let request = release_request(path, tag, untagged_only, allow_unrelated_path)?;
    call_shared(py, |registry| registry.release(&request))
}

/// `Registry.list` of the machine's registry.
#[pyfunction]
pub(crate) fn list(py: Python<'_>) -> PyResult<Vec<Reservation>> {
    call_shared(py, trop_core::Registry::list).map(reservations)
}

fn reserve_request(
    path: Given<'_, '_>,
    tag: Given<'_, '_>,
    port: Given<'_, '_>,
    min: Given<'_, '_>,
    max: Given<'_, '_>,
    allow_unrelated_path: bool,
) -> PyResult<ReserveRequest> {
    let mut request = ReserveRequest::default();
    request.path = arguments::path("path", path)?;
    request.tag = arguments::tag(tag)?;
    request.preferred = arguments::port("port", port)?;
    request.min = arguments::port("min", min)?;
    request.max = arguments::port("max", max)?;
    request.allow_unrelated_path = allow_unrelated_path;
    Ok(request)
}

fn release_request(
    path: Given<'_, '_>,
    tag: Given<'_, '_>,
    untagged_only: bool,
    allow_unrelated_path: bool,
) -> PyResult<ReleaseRequest> {
    let mut request = ReleaseRequest::default();
    request.path = arguments::path("path", path)?;
    request.tag = arguments::tag(tag)?;
    request.untagged_only = untagged_only;
    request.allow_unrelated_path = allow_unrelated_path;
    Ok(request)
}

fn reservations(held: Vec<trop_core::Reservation>) -> Vec<Reservation> {
    held.into_iter().map(Reservation::from).collect()
}

fn call_shared<T: Send>(
    py: Python<'_>,
    call: impl FnOnce(&trop_core::Registry) -> Result<T> + Send,
) -> PyResult<T> {
    let directory = data_directory(py, None)?;
    detached(py, || trop_core::Registry::shared_in(Some(&directory))?.contain(call))
}

/// Looked up while attached: other Python threads may change the environment, and reading it meanwhile is not safe.
fn data_directory(py: Python<'_>, given: Option<&Path>) -> PyResult<PathBuf> {
    trop_core::data_dir(given).map_err(|error| exception(py, &error))
}

/// Runs a call of the core while other Python threads go on.
fn detached<T: Send>(py: Python<'_>, call: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| contain(call)).map_err(|error| exception(py, &error))
}
