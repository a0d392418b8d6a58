//! Reserving and releasing.

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use trop_core::{GroupRequest, Port, ReleaseRequest, ReserveRequest, ReservedGroup};

use crate::arguments::{self, Given};
use crate::calls::Operations;
use crate::results::Reservation;

#[pymethods]
impl Operations {
    /// Returns the port of a path and tag: the one they have, else a new one.
    ///
    /// `path` defaults to the working directory. For new ones, `port` is used if it is usable, else the
    /// lowest usable port from `min` to `max`, which default to the registry's range. If no port of the range
    /// is usable, reservations of missing directories (unless `disable_autoprune`) and those unused for long
    /// (unless `disable_autoexpire`) are removed first; the result's `cleanup` tells which.
    ///
    /// `project` and `task` are for people reading lists. They default to the configured ones, then, for new
    /// reservations, to what git says. Changing stored ones needs `allow_project_change` and
    /// `allow_task_change`; `clear_project` and `clear_task` store none.
    ///
    /// `overwrite` replaces the port by a new one. `ignore_occupied` and `ignore_exclusions` use the port
    /// asked for although a program has it, or although it is excluded. The path may be unrelated to the
    /// working directory unless `allow_unrelated_path` is false. `force` is all of these. The switches of the
    /// occupancy check add to those of the registry; `check_all_interfaces` replaces what that says.
    /// `dry_run` returns what the call would return, and changes nothing.
    ///
    /// Raises `InvalidArgumentError`, `ExhaustedError`, `BusyError`, `StickyFieldError`,
    /// `UnrelatedPathError`, `ConfigError` if only one end of the range is given and it does not fit the
    /// other, `ClosedError`, and the errors of the database. Nothing is changed then.
    #[pyo3(signature = (path=None, tag=None, *, port=None, min=None, max=None, project=None, task=None,
        clear_project=false, clear_task=false, overwrite=false, ignore_occupied=false,
        ignore_exclusions=false, allow_unrelated_path=true, allow_project_change=false,
        allow_task_change=false, force=false, disable_autoprune=false, disable_autoexpire=false,
        skip_occupancy_check=false, skip_tcp=false, skip_udp=false, skip_ipv4=false, skip_ipv6=false,
        check_all_interfaces=None, dry_run=false))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "Python's keywords")]
    fn reserve(
        &self,
        py: Python<'_>,
        path: Given<'_, '_>,
        tag: Given<'_, '_>,
        port: Given<'_, '_>,
        min: Given<'_, '_>,
        max: Given<'_, '_>,
        project: Given<'_, '_>,
        task: Given<'_, '_>,
        clear_project: bool,
        clear_task: bool,
        overwrite: bool,
        ignore_occupied: bool,
        ignore_exclusions: bool,
        allow_unrelated_path: bool,
        allow_project_change: bool,
        allow_task_change: bool,
        force: bool,
        disable_autoprune: bool,
        disable_autoexpire: bool,
        skip_occupancy_check: bool,
        skip_tcp: bool,
        skip_udp: bool,
        skip_ipv4: bool,
        skip_ipv6: bool,
        check_all_interfaces: Option<bool>,
        dry_run: bool,
    ) -> PyResult<Reservation> {
        let mut request = ReserveRequest::default();
        request.path = arguments::path("path", path)?;
        request.tag = arguments::tag(tag)?;
        request.preferred = arguments::port("port", port)?;
        request.min = arguments::port("min", min)?;
        request.max = arguments::port("max", max)?;
        request.project = arguments::field(py, "project", project, "clear_project", clear_project)?;
        request.task = arguments::field(py, "task", task, "clear_task", clear_task)?;
        request.overwrite = overwrite;
        request.ignore_occupied = ignore_occupied;
        request.ignore_exclusions = ignore_exclusions;
        request.allow_unrelated_path = allow_unrelated_path;
        request.allow_project_change = allow_project_change;
        request.allow_task_change = allow_task_change;
        request.force = force;
        request.disable_autoprune = disable_autoprune;
        request.disable_autoexpire = disable_autoexpire;
        request.occupancy = arguments::occupancy(
            [skip_occupancy_check, skip_tcp, skip_udp, skip_ipv4, skip_ipv6],
            check_all_interfaces,
        );
        let reserved = self.change(py, dry_run, |registry| registry.reserve(&request))?;
        Reservation::of(py, reserved)
    }

    /// Returns the ports of a group of services by tag, or by the names of their environment variables: all
    /// or none.
    ///
    /// The group is what `file` defines, else the project files found from the working directory upward, or
    /// as the registry was told. Its ports belong to the directory of the file, each to the tag of its
    /// service: asking again returns the same. `by` is `"tag"` or `"variable"`; the dictionary is in the
    /// order of the tags.
    ///
    /// `task` is as in `reserve`, and so are the permissions and the switches of the occupancy check. `force`
    /// is all permissions, and replaces tagged reservations of the directory that are not this group.
    /// `dry_run` returns what the call would return, and changes nothing.
    ///
    /// Raises `InvalidArgumentError`, also if there is no such file, `NotFoundError` if no group is defined,
    /// `ConflictError` if the tagged reservations of the directory are not this group, `ConfigError` for a
    /// bad file, `ExhaustedError`, `BusyError`, `StickyFieldError`, `UnrelatedPathError`, `ClosedError`, and
    /// the errors of the database. Nothing is changed then.
    #[pyo3(
        signature = (file=None, *, task=None, by=None, allow_unrelated_path=true, allow_project_change=false,
            allow_task_change=false, force=false, skip_occupancy_check=false, skip_tcp=false, skip_udp=false,
            skip_ipv4=false, skip_ipv6=false, check_all_interfaces=None, dry_run=false),
        text_signature = "($self, file=None, *, task=None, by='tag', allow_unrelated_path=True, \
            allow_project_change=False, allow_task_change=False, force=False, skip_occupancy_check=False, \
            skip_tcp=False, skip_udp=False, skip_ipv4=False, skip_ipv6=False, check_all_interfaces=None, \
            dry_run=False)"
    )]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "Python's keywords")]
    fn reserve_group<'py>(
        &self,
        py: Python<'py>,
        file: Given<'_, 'py>,
        task: Given<'_, 'py>,
        by: Given<'_, 'py>,
        allow_unrelated_path: bool,
        allow_project_change: bool,
        allow_task_change: bool,
        force: bool,
        skip_occupancy_check: bool,
        skip_tcp: bool,
        skip_udp: bool,
        skip_ipv4: bool,
        skip_ipv6: bool,
        check_all_interfaces: Option<bool>,
        dry_run: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut request = GroupRequest::default();
        request.file = arguments::path("file", file)?;
        request.task = arguments::text("task", task)?;
        request.allow_unrelated_path = allow_unrelated_path;
        request.allow_project_change = allow_project_change;
        request.allow_task_change = allow_task_change;
        request.force = force;
        request.occupancy = arguments::occupancy(
            [skip_occupancy_check, skip_tcp, skip_udp, skip_ipv4, skip_ipv6],
            check_all_interfaces,
        );
        let key = arguments::group_key(by)?;
        let owned = |(name, port): (&str, Port)| (name.to_owned(), port.get());
        let ports: Vec<_> = self.change(py, dry_run, |registry| {
            let named = |group: &ReservedGroup| Ok(group.ports_by(key)?.into_iter().map(owned).collect());
            Ok(registry.reserve_group_with(&request, named)?.1)
        })?;
        ports.into_py_dict(py)
    }

    /// Releases the ports of a path and returns how many there were; none is no error.
    ///
    /// `path` defaults to the working directory. A `tag` selects its reservation only, `untagged_only` the
    /// one without a tag; else all are released. `recursive` does the same for every path below. With
    /// `dry_run` nothing is released, only counted.
    ///
    /// Raises `InvalidArgumentError`, `BusyError`, `UnrelatedPathError`, `ClosedError`, and the errors of the
    /// database. Nothing is changed then.
    #[pyo3(signature = (path=None, tag=None, *, untagged_only=false, recursive=false,
        allow_unrelated_path=true, dry_run=false))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "Python's keywords")]
    fn release(
        &self,
        py: Python<'_>,
        path: Given<'_, '_>,
        tag: Given<'_, '_>,
        untagged_only: bool,
        recursive: bool,
        allow_unrelated_path: bool,
        dry_run: bool,
    ) -> PyResult<usize> {
        let mut request = ReleaseRequest::default();
        request.path = arguments::path("path", path)?;
        request.tag = arguments::tag(tag)?;
        request.untagged_only = untagged_only;
        request.recursive = recursive;
        request.allow_unrelated_path = allow_unrelated_path;
        self.change(py, dry_run, |registry| registry.release(&request))
    }

    /// Releases a port, whatever path and tag it belongs to, and returns whether it was reserved or leased.
    ///
    /// A lease that another process or registry has is ended with `force` only. With `dry_run` nothing is
    /// released.
    ///
    /// Raises `InvalidArgumentError`, `ConflictError` for a lease of others, `BusyError`, `ClosedError`, and
    /// the errors of the database. Nothing is changed then.
    #[pyo3(signature = (port, *, force=false, dry_run=false))]
    fn release_port(
        &self,
        py: Python<'_>,
        port: &Bound<'_, PyAny>,
        force: bool,
        dry_run: bool,
    ) -> PyResult<bool> {
        let port = arguments::required_port("port", port)?;
        self.change(py, dry_run, |registry| Ok(registry.release_port(port, force)?.is_some()))
    }
}
