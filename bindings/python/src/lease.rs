//! The class `Lease`.

use std::ffi::CString;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use pyo3::exceptions::{PyResourceWarning, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyInt, PyList, PyString};
use trop_core::contain;

use crate::arguments::{self, Given};
use crate::calls::{Operations, contained};

/// A port that belongs to this process until the lease is closed, or the process ends in whatever way.
///
/// It is an integer wherever Python asks for one, and its digits as text. It is closed by `close()`, at the
/// end of a `with` block, and with its registry. One that becomes garbage before warns (`ResourceWarning`)
/// and goes on; of more than 256 of those in a process the oldest end. For a number alone there is `port()`.
/// A child made by `fork` shares a lease: it lasts until the last of them ends, and closing it in the child
/// does nothing.
#[pyclass(frozen, weakref, module = "trop")]
pub(crate) struct Lease {
    leased: trop_core::Lease,
    /// Closes the connection to the database when it is the last user of it.
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
    /// Never waits and never raises: if the registry is busy, whoever needs the port next takes it.
    fn close(&self, py: Python<'_>) {
        // A panic is dropped, because the end of a `with` block must not raise.
        let _ = py.detach(|| {
            contain(|| {
                self.leased.close();
                Ok(())
            })
        });
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
        self.close(py);
    }

    fn __str__(&self) -> String {
        self.port().to_string()
    }

    fn __format__<'py>(&self, py: Python<'py>, spec: &str) -> PyResult<Bound<'py, PyAny>> {
        // As text where text is asked for, else as a number.
        if spec.ends_with('s') {
            return PyString::new(py, &self.__str__()).call_method1("__format__", (spec,));
        }
        PyInt::new(py, self.port()).call_method1("__format__", (spec,))
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
        show(py, lease.get().port(), Some(&lease));
        Ok(lease)
    }

    fn warn(&self, py: Python<'_>) -> PyResult<()> {
        let port = self.port();
        let text =
            format!("unclosed lease of port {port}: it lasts until the process ends or its registry closes");
        PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &CString::new(text)?, 1)
    }
}

impl Drop for Lease {
    /// People keep numbers, not handles, so garbage collection does not end a lease. At the end of the
    /// program it does: until then a lease may well last, and nothing is left behind.
    fn drop(&mut self) {
        if !self.leased.is_open() {
            return;
        }
        Python::try_attach(|py| {
            // An exception on its way has nothing to do with this.
            let raised = PyErr::take(py);
            let goes_on = !is_finalizing(py) && contain(|| Ok(self.leased.forget())).unwrap_or_default();
            if goes_on && let Err(error) = self.warn(py) {
                error.write_unraisable(py, None);
            }
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}

/// Whether the program is about to end.
fn is_finalizing(py: Python<'_>) -> bool {
    let ask = || py.import("sys")?.call_method0("is_finalizing")?.is_truthy();
    // Late in the end nothing can be imported any more.
    ask().unwrap_or(true)
}

/// Shows a port that was given to the watchers, and its lease unless it is a bare number.
pub(crate) fn show(py: Python<'_>, port: u16, lease: Option<&Bound<'_, Lease>>) {
    for watcher in watchers(py).iter() {
        if let Err(error) = watcher.call1((port, lease)) {
            error.write_unraisable(py, Some(&watcher));
        }
    }
}

/// The ports of leases that became garbage and go on.
#[pyfunction]
#[pyo3(name = "_forgotten_ports")]
pub(crate) fn forgotten_ports() -> Vec<u16> {
    trop_core::forgotten_ports().into_iter().map(trop_core::Port::get).collect()
}

/// Callables that are passed every port that this process is given, and its lease or none, so that the pytest
/// plugin knows which test had which port.
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
