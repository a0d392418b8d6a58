//! The class `Registry`: opening and closing. Its other methods are those of `Operations`.

use std::path::PathBuf;

use pyo3::prelude::*;
use trop_core::RegistryOptions;

use crate::arguments::{self, Given};
use crate::calls::{Operations, contained, data_directory};

/// An open registry, for any number of threads and on both sides of a fork.
///
/// Settings come from the configuration files found from the working directory upward (or from `start_dir`;
/// or `config_file` is the only one; `discovery=False` reads none), from environment variables unless
/// `variables` is false, and from the arguments, which take precedence. They are read here, once.
///
/// It is closed by `close()` and at the end of a `with` block; when it is garbage, only its files are closed:
/// leases and ports that it has given last.
///
/// Raises `InvalidArgumentError`, `ConfigError`, `NoDataDirError`, `IoError`, `BusyError`, `SchemaError`,
/// `CorruptError`, `UnsupportedError`, `SecondCopyError`.
#[pyclass(frozen, extends = Operations, module = "trop")]
pub(crate) struct Registry(trop_core::Registry);

#[pymethods]
impl Registry {
    #[new]
    #[pyo3(
        signature = (data_dir=None, *, ports=None, excluded=None, avoid_unsafe_ports=None, busy_timeout=None,
            create=true, discovery=true, start_dir=None, config_file=None, variables=true,
            skip_occupancy_check=false, skip_tcp=false, skip_udp=false, skip_ipv4=false, skip_ipv6=false,
            check_all_interfaces=None),
        text_signature = "(data_dir=None, *, ports=None, excluded=(), avoid_unsafe_ports=None, \
            busy_timeout=None, create=True, discovery=True, start_dir=None, config_file=None, variables=True, \
            skip_occupancy_check=False, skip_tcp=False, skip_udp=False, skip_ipv4=False, skip_ipv6=False, \
            check_all_interfaces=None)"
    )]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "Python's keywords")]
    fn new(
        py: Python<'_>,
        data_dir: Given<'_, '_>,
        ports: Given<'_, '_>,
        excluded: Given<'_, '_>,
        avoid_unsafe_ports: Option<bool>,
        busy_timeout: Given<'_, '_>,
        create: bool,
        discovery: bool,
        start_dir: Given<'_, '_>,
        config_file: Given<'_, '_>,
        variables: bool,
        skip_occupancy_check: bool,
        skip_tcp: bool,
        skip_udp: bool,
        skip_ipv4: bool,
        skip_ipv6: bool,
        check_all_interfaces: Option<bool>,
    ) -> PyResult<PyClassInitializer<Registry>> {
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
        options.avoid_unsafe_ports = avoid_unsafe_ports;
        options.create = create;
        options.discovery = arguments::discovery(py, discovery, start_dir, config_file)?;
        options.variables = variables;
        options.occupancy = arguments::occupancy(
            [skip_occupancy_check, skip_tcp, skip_udp, skip_ipv4, skip_ipv6],
            check_all_interfaces,
        );
        let opened = contained(py, || trop_core::Registry::open(options))?;
        let operations = Operations::of(opened.clone());
        Ok(PyClassInitializer::from(operations).add_subclass(Registry(opened)))
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
