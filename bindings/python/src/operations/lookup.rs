//! Who has which port, in the registry and in the operating system.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use trop_core::{Filter, Finding, Key, ScanRequest};

use crate::arguments::{self, Given};
use crate::calls::Operations;
use crate::results::{Explanation, Reservation};

#[pymethods]
impl Operations {
    /// Returns the reservation of a path and tag, or `None`. It does not count as using it.
    ///
    /// `path` defaults to the working directory; without `tag` the untagged reservation is meant.
    ///
    /// Raises `InvalidArgumentError`, `ClosedError`, and the errors of the database.
    #[pyo3(signature = (path=None, tag=None))]
    fn find(&self, py: Python<'_>, path: Given<'_, '_>, tag: Given<'_, '_>) -> PyResult<Option<Reservation>> {
        let (path, tag) = (arguments::path("path", path)?, arguments::tag(tag)?);
        let found = self.call(py, |registry| registry.find(&Key::new(path.as_deref(), tag)?))?;
        Ok(found.map(Reservation::from))
    }

    /// Returns the reservation that has a port, or `None`.
    ///
    /// Raises `InvalidArgumentError`, `ClosedError`, and the errors of the database.
    fn find_port(&self, py: Python<'_>, port: &Bound<'_, PyAny>) -> PyResult<Option<Reservation>> {
        let port = arguments::required_port("port", port)?;
        Ok(self.call(py, |registry| registry.find_port(port))?.map(Reservation::from))
    }

    /// Returns the reservations, ordered by path, then tag, the untagged one first.
    ///
    /// Those that have exactly the given `project` and `tag`, of the given `path` and everything below it.
    ///
    /// Raises `InvalidArgumentError`, `ClosedError`, and the errors of the database.
    #[pyo3(signature = (*, project=None, tag=None, path=None))]
    fn list(
        &self,
        py: Python<'_>,
        project: Given<'_, '_>,
        tag: Given<'_, '_>,
        path: Given<'_, '_>,
    ) -> PyResult<Vec<Reservation>> {
        let mut filter = Filter::default();
        filter.project = arguments::text("project", project)?;
        filter.tag = arguments::text("tag", tag)?;
        filter.path = arguments::path("path", path)?;
        let held = self.call(py, |registry| registry.list_filtered(&filter))?;
        Ok(held.into_iter().map(Reservation::from).collect())
    }

    /// Returns the projects of all reservations, each once, in the order of their UTF-8 bytes.
    ///
    /// Raises `ClosedError` and the errors of the database.
    fn projects(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.call(py, trop_core::Registry::projects)
    }

    /// Tells who has a port in the registry and in the operating system, since when, and what to do.
    ///
    /// The text of the result says it in sentences.
    ///
    /// Raises `InvalidArgumentError`, `ClosedError`, and the errors of the database.
    fn explain(&self, py: Python<'_>, port: &Bound<'_, PyAny>) -> PyResult<Explanation> {
        let port = arguments::required_port("port", port)?;
        Explanation::of(py, self.call(py, |registry| registry.explain(port))?)
    }

    /// Returns what has ports from `min` to `max` bound, by the registry's occupancy check: one entry for
    /// each occupied protocol, address family and scope, in the order of the ports. The `status` of a port
    /// that nobody has, with connections of a former server, begins with `closing`.
    ///
    /// `min` and `max` default to the registry's range of reservations. Whose socket it is, is told as far as
    /// the system tells.
    ///
    /// Raises `InvalidArgumentError`, `ConfigError` if the range ends before it begins, `ClosedError`, and
    /// the errors of the database.
    #[pyo3(signature = (*, min=None, max=None))]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        min: Given<'_, 'py>,
        max: Given<'_, 'py>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let mut request = ScanRequest::default();
        request.min = arguments::port("min", min)?;
        request.max = arguments::port("max", max)?;
        let scan = self.call(py, |registry| registry.scan(&request))?;
        scan.findings.iter().map(|finding| finding_dict(py, finding)).collect()
    }
}

fn finding_dict<'py>(py: Python<'py>, finding: &Finding) -> PyResult<Bound<'py, PyDict>> {
    let (probe, owner) = (finding.probe, &finding.owner);
    let dict = PyDict::new(py);
    dict.set_item("port", finding.port.get())?;
    dict.set_item("status", finding.status())?;
    dict.set_item("reserved", finding.reserved)?;
    dict.set_item("protocol", probe.protocol.name())?;
    dict.set_item("address_family", probe.family.name())?;
    dict.set_item("scope", probe.scope.name())?;
    dict.set_item("address", probe.address().to_string())?;
    dict.set_item("process_id", owner.process_id)?;
    dict.set_item("process_name", owner.process_name.as_deref())?;
    dict.set_item("user", owner.user.as_deref())?;
    dict.set_item("owner_status", owner.status())?;
    Ok(dict)
}
