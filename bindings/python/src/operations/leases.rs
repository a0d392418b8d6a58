//! Leases.

use pyo3::prelude::*;
use trop_core::{LeaseRequest, OccupancyPolicy, Port};

use crate::arguments::{self, Given};
use crate::calls::Operations;
use crate::lease::{Lease, show};
use crate::results::LeaseInfo;

#[pymethods]
impl Operations {
    /// Leases a port: one that nobody else gets until the lease is closed, or this process ends in whatever
    /// way. A lease that becomes garbage warns (`ResourceWarning`) and goes on.
    ///
    /// `port` is used if it is usable, else the lowest usable port from `min` to `max` that has rested: no
    /// number that was given up comes again while there is another one. `min` and `max` default to the
    /// registry's range of leases. `label` says for people what it is for. With `hold` (Linux only) the lease
    /// keeps a socket bound to the port, so that the kernel picks it for nobody; a server that sets
    /// `SO_REUSEADDR` can listen on it all the same, one that does not cannot. The switches of the occupancy
    /// check add to those of the registry. A socket on any address is in the way of a lease, unless
    /// `check_all_interfaces` is false.
    ///
    /// Raises `InvalidArgumentError`, `ExhaustedError`, `BusyError`, `UnsupportedError` where files cannot be
    /// locked or ports not held, `ConfigError` if only one end of the range is given and it does not fit the
    /// other, `ClosedError`, and the errors of the database. Nothing is changed then.
    #[pyo3(signature = (*, port=None, min=None, max=None, label=None, hold=false, skip_occupancy_check=false,
        skip_tcp=false, skip_udp=false, skip_ipv4=false, skip_ipv6=false, check_all_interfaces=None))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "Python's keywords")]
    fn lease<'py>(
        slf: &Bound<'py, Self>,
        py: Python<'py>,
        port: Given<'_, 'py>,
        min: Given<'_, 'py>,
        max: Given<'_, 'py>,
        label: Given<'_, 'py>,
        hold: bool,
        skip_occupancy_check: bool,
        skip_tcp: bool,
        skip_udp: bool,
        skip_ipv4: bool,
        skip_ipv6: bool,
        check_all_interfaces: Option<bool>,
    ) -> PyResult<Bound<'py, Lease>> {
        let occupancy = arguments::occupancy(
            [skip_occupancy_check, skip_tcp, skip_udp, skip_ipv4, skip_ipv6],
            check_all_interfaces,
        );
        let request = lease_request([port, min, max], label, hold, occupancy)?;
        Lease::of(slf, slf.get().call(py, |registry| registry.lease(&request))?)
    }

    /// Leases several ports, all or none, in ascending order unless `port` is among them, which comes first.
    ///
    /// With `contiguous` they are neighbours, the first of them `port` if that is usable. Otherwise as
    /// `lease`.
    ///
    /// Raises as `lease`; `InvalidArgumentError` also for a `count` of 0 or above the size of the range.
    #[pyo3(signature = (count, *, contiguous=false, port=None, min=None, max=None, label=None, hold=false,
        skip_occupancy_check=false, skip_tcp=false, skip_udp=false, skip_ipv4=false, skip_ipv6=false,
        check_all_interfaces=None))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "Python's keywords")]
    fn lease_many<'py>(
        slf: &Bound<'py, Self>,
        py: Python<'py>,
        count: &Bound<'py, PyAny>,
        contiguous: bool,
        port: Given<'_, 'py>,
        min: Given<'_, 'py>,
        max: Given<'_, 'py>,
        label: Given<'_, 'py>,
        hold: bool,
        skip_occupancy_check: bool,
        skip_tcp: bool,
        skip_udp: bool,
        skip_ipv4: bool,
        skip_ipv6: bool,
        check_all_interfaces: Option<bool>,
    ) -> PyResult<Vec<Bound<'py, Lease>>> {
        let count = arguments::count(count)?;
        let occupancy = arguments::occupancy(
            [skip_occupancy_check, skip_tcp, skip_udp, skip_ipv4, skip_ipv6],
            check_all_interfaces,
        );
        let mut request = lease_request([port, min, max], label, hold, occupancy)?;
        request.contiguous = contiguous;
        let leased = slf.get().call(py, |registry| registry.lease_many(count, &request))?;
        leased.into_iter().map(|lease| Lease::of(slf, lease)).collect()
    }

    /// Returns the number of a port that nobody else gets until this process ends or the registry is closed.
    ///
    /// It is chosen as that of `lease`. Only `release_port` gives it back before.
    ///
    /// Raises as `lease`.
    #[pyo3(signature = (*, port=None, min=None, max=None, label=None, hold=false, skip_occupancy_check=false,
        skip_tcp=false, skip_udp=false, skip_ipv4=false, skip_ipv6=false, check_all_interfaces=None))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "Python's keywords")]
    fn port(
        &self,
        py: Python<'_>,
        port: Given<'_, '_>,
        min: Given<'_, '_>,
        max: Given<'_, '_>,
        label: Given<'_, '_>,
        hold: bool,
        skip_occupancy_check: bool,
        skip_tcp: bool,
        skip_udp: bool,
        skip_ipv4: bool,
        skip_ipv6: bool,
        check_all_interfaces: Option<bool>,
    ) -> PyResult<u16> {
        let occupancy = arguments::occupancy(
            [skip_occupancy_check, skip_tcp, skip_udp, skip_ipv4, skip_ipv6],
            check_all_interfaces,
        );
        let request = lease_request([port, min, max], label, hold, occupancy)?;
        Ok(given(py, self.call(py, |registry| registry.port(&request))?))
    }

    /// Returns several such numbers, all or none, in the order of `lease_many`.
    ///
    /// Raises as `lease_many`.
    #[pyo3(signature = (count, *, contiguous=false, port=None, min=None, max=None, label=None, hold=false, skip_occupancy_check=false,
        skip_tcp=false, skip_udp=false, skip_ipv4=false, skip_ipv6=false, check_all_interfaces=None))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "Python's keywords")]
    fn ports(
        &self,
        py: Python<'_>,
        count: &Bound<'_, PyAny>,
        contiguous: bool,
        port: Given<'_, '_>,
        min: Given<'_, '_>,
        max: Given<'_, '_>,
        label: Given<'_, '_>,
        hold: bool,
        skip_occupancy_check: bool,
        skip_tcp: bool,
        skip_udp: bool,
        skip_ipv4: bool,
        skip_ipv6: bool,
        check_all_interfaces: Option<bool>,
    ) -> PyResult<Vec<u16>> {
        let count = arguments::count(count)?;
        let occupancy = arguments::occupancy(
            [skip_occupancy_check, skip_tcp, skip_udp, skip_ipv4, skip_ipv6],
            check_all_interfaces,
        );
        let mut request = lease_request([port, min, max], label, hold, occupancy)?;
        request.contiguous = contiguous;
        let ports = self.call(py, |registry| registry.ports(count, &request))?;
        Ok(ports.into_iter().map(|port| given(py, port)).collect())
    }

    /// Returns the leases of everybody, by port, also those that have ended and were not yet cleared away.
    ///
    /// Raises `ClosedError` and the errors of the database.
    fn leases(&self, py: Python<'_>) -> PyResult<Vec<LeaseInfo>> {
        LeaseInfo::list(py, self.call(py, trop_core::Registry::leases)?)
    }

    /// Returns the leases that this registry has in this process, by port.
    ///
    /// Raises `ClosedError` and the errors of the database.
    fn own_leases(&self, py: Python<'_>) -> PyResult<Vec<LeaseInfo>> {
        LeaseInfo::list(py, self.call(py, trop_core::Registry::own_leases)?)
    }
}

/// A port that was given as a bare number.
fn given(py: Python<'_>, port: Port) -> u16 {
    show(py, port.get(), None);
    port.get()
}

fn lease_request(
    [port, min, max]: [Given<'_, '_>; 3],
    label: Given<'_, '_>,
    hold: bool,
    occupancy: OccupancyPolicy,
) -> PyResult<LeaseRequest> {
    let mut request = LeaseRequest::default();
    request.preferred = arguments::port("port", port)?;
    request.min = arguments::port("min", min)?;
    request.max = arguments::port("max", max)?;
    request.label = arguments::text("label", label)?;
    request.hold = hold;
    request.occupancy = occupancy;
    Ok(request)
}
