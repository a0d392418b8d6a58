//! The class `Lease`.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyList};
use trop_core::contain;

use crate::arguments::{self, Given};
use crate::calls::{Operations, contained};

/// A port that belongs to this process until the lease is closed, or the process ends in whatever way.
///
/// It is an integer wherever Python asks for one. It is closed by `close()`, at the end of a `with` block,
/// when it is garbage, and with its registry. A child made by `fork` shares it: it lasts until the last of
/// them ends, and closing it in the child does nothing.
#[pyclass(frozen, weakref, module = "trop")]
pub(crate) struct Lease {
    leased: trop_core::Lease,
    /// Keeps the registry from being collected, which would end its leases.
    _registry: Py<Operations>,
}

#[pymethods]
impl Lease {
    /// The port number.
    #[getter]
    fn port(&self) -> u16 {
        self.leased.port().get()
    }

    /// What it is for, if that was said.
    #[getter]
    fn label(&self) -> Option<&str> {
        self.leased.label()
    }

    /// Whether it or its registry was closed. Always false in a forked child.
    #[getter]
    fn closed(&self) -> bool {
        !self.leased.is_open()
    }

    /// Gives the port back. Closing twice is no error.
    ///
    /// Raises `BusyError` and the errors of the database. The lease has ended all the same: the port is given
    /// back by the next change of its registry, or when the process ends.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        contained(py, || self.leased.close())
    }

    /// Returns a TCP socket that listens on the port, so that there is no moment between its choice and its
    /// use.
    ///
    /// `host` is an address or a name, `backlog` how many connections may wait to be accepted. The socket is
    /// the caller's to close; the lease lasts independently of it.
    ///
    /// Raises `InvalidArgumentError` if the host cannot be resolved, `IoError` if it cannot listen there,
    /// `ClosedError`.
    #[pyo3(signature = (host=None, backlog=None), text_signature = "($self, host='127.0.0.1', backlog=128)")]
    fn listen<'py>(
        &self,
        py: Python<'py>,
        host: Given<'_, 'py>,
        backlog: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (host, backlog) = (arguments::host(host)?, arguments::backlog(backlog)?);
        let listener = contained(py, || self.leased.listen(&host, backlog))?;
        socket(py, listener.into())
    }

    /// Returns a socket that is bound to the port; `protocol` is `"tcp"` or `"udp"`.
    ///
    /// Otherwise as `listen`.
    #[pyo3(
        signature = (protocol=None, host=None),
        text_signature = "($self, protocol='tcp', host='127.0.0.1')"
    )]
    fn bind<'py>(
        &self,
        py: Python<'py>,
        protocol: Given<'_, 'py>,
        host: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (protocol, host) = (arguments::protocol(protocol)?, arguments::host(host)?);
        let bound = contained(py, || self.leased.bind(protocol, &host))?;
        socket(py, bound.into())
    }

    /// Returns when something accepts TCP connections on the loopback address of the port that, as far as the
    /// operating system tells, belongs to this process or to one it started.
    ///
    /// `timeout` is in seconds; 0 looks once. Ctrl-C ends the wait.
    ///
    /// Raises `NotListeningError` at once if somebody else listens there, and after the timeout if nobody
    /// does; `InvalidArgumentError`, `ClosedError`.
    #[pyo3(signature = (timeout=None), text_signature = "($self, timeout=10)")]
    fn wait_listening(&self, py: Python<'_>, timeout: Given<'_, '_>) -> PyResult<()> {
        let timeout = arguments::timeout(timeout)?;
        let mut raised = None;
        let go_on = || {
            Python::attach(|py| raised = py.check_signals().err());
            raised.is_none()
        };
        let waited = contained(py, || self.leased.wait_listening_while(timeout, go_on));
        raised.map_or(waited, Err)
    }

    fn __int__(&self) -> u16 {
        self.port()
    }

    fn __index__(&self) -> u16 {
        self.port()
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
        py.detach(|| self.end());
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (label, state) = (slf.getattr("label")?, if slf.get().closed() { "closed" } else { "open" });
        let label = if label.is_none() { String::new() } else { format!(" {}", label.repr()?) };
        Ok(format!("<trop.Lease {}{label}, {state}>", slf.get().port()))
    }

    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<()> {
        Err(PyTypeError::new_err(format!(
            "cannot pickle '{}' object: it belongs to the process that took it; \
             send its port, or take one there",
            slf.get_type().name()?
        )))
    }
}

impl Lease {
    /// Wraps a lease of the core for Python and shows it to the watchers.
    pub(crate) fn of<'py>(
        registry: &Bound<'py, Operations>,
        leased: trop_core::Lease,
    ) -> PyResult<Bound<'py, Lease>> {
        let py = registry.py();
        let lease = Bound::new(py, Lease { leased, _registry: registry.clone().unbind() })?;
        for watcher in watchers(py).iter() {
            if let Err(error) = watcher.call1((&lease,)) {
                error.write_unraisable(py, Some(&watcher));
            }
        }
        Ok(lease)
    }

    /// Ends it without waiting. Errors and panics are dropped: the end of a `with` block and a destructor
    /// must not raise.
    fn end(&self) {
        let _ = contain(|| {
            self.leased.end_without_waiting();
            Ok(())
        });
    }
}

impl Drop for Lease {
    /// Detached, because ending a lease writes to the disk, and other Python threads must not wait for that.
    fn drop(&mut self) {
        let lease = &*self;
        Python::try_attach(|py| py.detach(|| lease.end()));
    }
}

/// Callables that are passed every new lease of this process, so that the pytest plugin knows which test had
/// which port.
pub(crate) fn watchers(py: Python<'_>) -> &Bound<'_, PyList> {
    static WATCHERS: PyOnceLock<Py<PyList>> = PyOnceLock::new();
    WATCHERS.get_or_init(py, || PyList::empty(py).unbind()).bind(py)
}

fn socket(py: Python<'_>, descriptor: OwnedFd) -> PyResult<Bound<'_, PyAny>> {
    let options = [("fileno", descriptor.as_raw_fd())].into_py_dict(py)?;
    let socket = py.import("socket")?.getattr("socket")?.call((), Some(&options))?;
    // The socket owns the descriptor now.
    let _ = descriptor.into_raw_fd();
    Ok(socket)
}
