//! What can be done with a registry: methods of `Registry`, and the functions of the module.

use std::path::{Path, PathBuf};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use trop_core::{
    Filter, GroupRequest, Key, LeaseRequest, MigrateRequest, Port, ReleaseRequest, ReserveRequest,
    ReservedGroup, Result, ScanRequest, contain,
};

use crate::arguments::{self, Given};
use crate::errors::exception;
use crate::lease::Lease;
use crate::reservation::Reservation;
use crate::results;

/// The calls that every registry has.
#[pyclass(frozen, subclass, module = "trop._trop", name = "_Operations")]
pub(crate) struct Operations(Target);

enum Target {
    Opened(trop_core::Registry),
    /// The registry of `TROP_DATA_DIR`, else ~/.trop, and of the working directory: of each call anew.
    Machine,
}

#[pymethods]
impl Operations {
    /// Returns the port of a path and tag: the one they have, else a new one.
    ///
    /// `path` defaults to the working directory. For new ones, `port` is used if it is usable, else the lowest
    /// usable port from `min` to `max`, which default to the registry's range. If no port of the range is usable,
    /// reservations of missing directories (unless `disable_autoprune`) and those unused for long (unless
    /// `disable_autoexpire`) are removed first; the result's `cleanup` tells which.
    ///
    /// `project` and `task` are for people reading lists. They default to the configured ones, then, for new
    /// reservations, to what git says. Changing stored ones needs `allow_project_change` and `allow_task_change`;
    /// `clear_project` and `clear_task` store none.
    ///
    /// `overwrite` chooses a port anew. `ignore_occupied` and `ignore_exclusions` use the port asked for although
    /// a program has it, or although it is excluded. The path may be unrelated to the working directory unless
    /// `allow_unrelated_path` is false. `force` is all of these. The switches of the occupancy check add to those
    /// of the registry. `dry_run` returns what the call would return, and changes nothing.
    ///
    /// Raises `InvalidArgumentError`, `ExhaustedError`, `BusyError`, `StickyFieldError`, `UnrelatedPathError`,
    /// `ConfigError` if only one end of the range is given and it does not fit the other, `ClosedError`, and the
    /// errors of the database. Nothing is changed then.
    #[pyo3(signature = (path=None, tag=None, *, port=None, min=None, max=None, project=None, task=None,
        clear_project=false, clear_task=false, overwrite=false, ignore_occupied=false, ignore_exclusions=false,
        allow_unrelated_path=true, allow_project_change=false, allow_task_change=false, force=false,
        disable_autoprune=false, disable_autoexpire=false, skip_occupancy_check=false, skip_tcp=false,
        skip_udp=false, skip_ipv4=false, skip_ipv6=false, check_all_interfaces=false, dry_run=false))]
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
        check_all_interfaces: bool,
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
        request.occupancy = arguments::occupancy([
            skip_occupancy_check,
            skip_tcp,
            skip_udp,
            skip_ipv4,
            skip_ipv6,
            check_all_interfaces,
        ]);
        let reserved = self.change(py, dry_run, |registry| registry.reserve(&request))?;
        Reservation::of(py, reserved)
    }

    /// Returns the ports of a group of services by tag, or by the names of their environment variables: all or none.
    ///
    /// The group is what `file` defines, else the project files found from the working directory upward, or as the
    /// registry was told. Its ports belong to the directory of the file, each to the tag of its service: asking
    /// again returns the same. `by` is `"tag"` or `"variable"`; the dictionary is in the order of the tags.
    ///
    /// `task` is as in `reserve`, and so are the permissions and the switches of the occupancy check. `force` is
    /// all permissions, and replaces tagged reservations of the directory that are not this group. `dry_run` returns
    /// what the call would return, and changes nothing.
    ///
    /// Raises `InvalidArgumentError`, also if there is no such file, `NotFoundError` if no group is defined,
    /// `ConflictError` if the tagged reservations of the directory are not this group, `ConfigError` for a bad file,
    /// `ExhaustedError`, `BusyError`, `StickyFieldError`, `UnrelatedPathError`, `ClosedError`, and the errors of the
    /// database. Nothing is changed then.
    #[pyo3(
        signature = (file=None, *, task=None, by=None, allow_unrelated_path=true, allow_project_change=false,
            allow_task_change=false, force=false, skip_occupancy_check=false, skip_tcp=false, skip_udp=false,
            skip_ipv4=false, skip_ipv6=false, check_all_interfaces=false, dry_run=false),
        text_signature = "($self, file=None, *, task=None, by='tag', allow_unrelated_path=True, \
            allow_project_change=False, allow_task_change=False, force=False, skip_occupancy_check=False, \
            skip_tcp=False, skip_udp=False, skip_ipv4=False, skip_ipv6=False, check_all_interfaces=False, \
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
        check_all_interfaces: bool,
        dry_run: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut request = GroupRequest::default();
        request.file = arguments::path("file", file)?;
        request.task = arguments::text("task", task)?;
        request.allow_unrelated_path = allow_unrelated_path;
        request.allow_project_change = allow_project_change;
        request.allow_task_change = allow_task_change;
        request.force = force;
        request.occupancy = arguments::occupancy([
            skip_occupancy_check,
            skip_tcp,
            skip_udp,
            skip_ipv4,
            skip_ipv6,
            check_all_interfaces,
        ]);
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
    /// `path` defaults to the working directory. A `tag` selects its reservation only, `untagged_only` the one
    /// without a tag; else all are released. `recursive` does the same for every path below. With `dry_run` nothing
    /// is released, only counted.
    ///
    /// Raises `InvalidArgumentError`, `BusyError`, `UnrelatedPathError`, `ClosedError`, and the errors of the
    /// database. Nothing is changed then.
    #[pyo3(signature = (path=None, tag=None, *, untagged_only=false, recursive=false, allow_unrelated_path=true,
        dry_run=false))]
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
    /// A lease that another process or registry has is ended with `force` only. With `dry_run` nothing is released.
    ///
    /// Raises `InvalidArgumentError`, `ConflictError` for a lease of others, `BusyError`, `ClosedError`, and the
    /// errors of the database. Nothing is changed then.
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

    /// Leases a port: one that nobody else gets until the lease is closed, or this process ends in whatever way.
    ///
    /// `port` is used if it is usable, else the lowest usable port from `min` to `max`, which default to the
    /// registry's range. `label` says for people what it is for. With `hold` (Linux only) the lease keeps a socket
    /// bound to the port, so that the kernel picks it for nobody; a server that sets `SO_REUSEADDR` can listen on it
    /// all the same, one that does not cannot. The switches of the occupancy check add to those of the registry.
    ///
    /// Raises `InvalidArgumentError`, `ExhaustedError`, `BusyError`, `UnsupportedError` where files cannot be locked
    /// or ports not held, `ConfigError` if only one end of the range is given and it does not fit the other,
    /// `ClosedError`, and the errors of the database. Nothing is changed then.
    #[pyo3(signature = (*, port=None, min=None, max=None, label=None, hold=false, skip_occupancy_check=false,
        skip_tcp=false, skip_udp=false, skip_ipv4=false, skip_ipv6=false, check_all_interfaces=false))]
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
        check_all_interfaces: bool,
    ) -> PyResult<Bound<'py, Lease>> {
        let mut request = lease_request([port, min, max], label)?;
        request.hold = hold;
        request.occupancy = arguments::occupancy([
            skip_occupancy_check,
            skip_tcp,
            skip_udp,
            skip_ipv4,
            skip_ipv6,
            check_all_interfaces,
        ]);
        Lease::of(slf, slf.get().call(py, |registry| registry.lease(&request))?)
    }

    /// Leases several ports, all or none, in ascending order unless `port` is among them, which comes first.
    ///
    /// With `contiguous` they are neighbours, the first of them `port` if that is usable. Otherwise as `lease`.
    ///
    /// Raises as `lease`; `InvalidArgumentError` also for a `count` of 0 or above the size of the range.
    #[pyo3(signature = (count, *, contiguous=false, port=None, min=None, max=None, label=None, hold=false,
        skip_occupancy_check=false, skip_tcp=false, skip_udp=false, skip_ipv4=false, skip_ipv6=false,
        check_all_interfaces=false))]
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
        check_all_interfaces: bool,
    ) -> PyResult<Vec<Bound<'py, Lease>>> {
        let count = arguments::count(count)?;
        let mut request = lease_request([port, min, max], label)?;
        request.contiguous = contiguous;
        request.hold = hold;
        request.occupancy = arguments::occupancy([
            skip_occupancy_check,
            skip_tcp,
            skip_udp,
            skip_ipv4,
            skip_ipv6,
            check_all_interfaces,
        ]);
        let leased = slf.get().call(py, |registry| registry.lease_many(count, &request))?;
        leased.into_iter().map(|lease| Lease::of(slf, lease)).collect()
    }

    /// Returns the leases of everybody, by port, also those that have ended and were not yet cleared away.
    ///
    /// Raises `ClosedError` and the errors of the database.
    fn leases<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        results::lease_infos(py, self.call(py, trop_core::Registry::leases)?)
    }

    /// Returns the leases that this registry has in this process, by port.
    ///
    /// Raises `ClosedError` and the errors of the database.
    fn own_leases<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        results::lease_infos(py, self.call(py, trop_core::Registry::own_leases)?)
    }

    /// Tells who has a port in the registry and in the operating system, since when, and what to do.
    ///
    /// The text of the result says it in sentences.
    ///
    /// Raises `InvalidArgumentError`, `ClosedError`, and the errors of the database.
    fn explain<'py>(&self, py: Python<'py>, port: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let port = arguments::required_port("port", port)?;
        results::explanation(py, self.call(py, |registry| registry.explain(port))?)
    }

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

    /// Removes the reservations whose path certainly is no directory any more, all or none.
    ///
    /// With `dry_run` nothing is removed.
    ///
    /// Raises `BusyError`, `ClosedError`, and the errors of the database. Nothing is changed then.
    #[pyo3(signature = (*, dry_run=false))]
    fn prune<'py>(&self, py: Python<'py>, dry_run: bool) -> PyResult<Bound<'py, PyAny>> {
        results::cleanup(py, self.change(py, dry_run, trop_core::Registry::prune)?)
    }

    /// Removes the reservations that were last used more than `days` days ago, all or none.
    ///
    /// `days`, at least 1, defaults to the configured number, 30 if none is. With `dry_run` nothing is removed.
    ///
    /// Raises `InvalidArgumentError`, `BusyError`, `ClosedError`, and the errors of the database. Nothing is
    /// changed then.
    #[pyo3(signature = (days=None, *, dry_run=false))]
    fn expire<'py>(
        &self,
        py: Python<'py>,
        days: Given<'_, 'py>,
        dry_run: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let days = arguments::days(days)?;
        results::cleanup(py, self.change(py, dry_run, |registry| registry.expire(days))?)
    }

    /// `prune` and `expire` in one step, all or none. What both would remove counts as pruned.
    ///
    /// Raises as `expire`.
    #[pyo3(signature = (days=None, *, dry_run=false))]
    fn autoclean<'py>(
        &self,
        py: Python<'py>,
        days: Given<'_, 'py>,
        dry_run: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let days = arguments::days(days)?;
        results::cleanup(py, self.change(py, dry_run, |registry| registry.autoclean(days))?)
    }

    /// Moves the reservations of one path to another; port, tag, project, task and times stay as they are.
    ///
    /// `recursive` moves those of all paths below along. `force` removes the reservations that have a path and tag
    /// at the destination. Neither directory need exist. With `dry_run` nothing is moved.
    ///
    /// Raises `InvalidArgumentError`, `NotFoundError` if there is nothing at exactly the source and the move is not
    /// recursive, `ConflictError` if a path and tag at the destination are taken, `BusyError`, `ClosedError`, and
    /// the errors of the database. Nothing is changed then.
    #[pyo3(signature = (from_, to, /, *, recursive=false, force=false, dry_run=false))]
    fn migrate<'py>(
        &self,
        py: Python<'py>,
        from_: &Bound<'py, PyAny>,
        to: &Bound<'py, PyAny>,
        recursive: bool,
        force: bool,
        dry_run: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let from = arguments::required_path("from", from_)?;
        let mut request = MigrateRequest::new(from, arguments::required_path("to", to)?);
        request.recursive = recursive;
        request.force = force;
        results::migration(py, self.change(py, dry_run, |registry| registry.migrate(&request))?)
    }

    /// Returns what has ports from `min` to `max` bound, by the registry's occupancy check: one entry for each
    /// occupied protocol, address family and scope, in the order of the ports.
    ///
    /// `min` and `max` default to the registry's range. Whose socket it is, is told as far as the system tells.
    ///
    /// Raises `InvalidArgumentError`, `ConfigError` if the range ends before it begins, `ClosedError`, and the
    /// errors of the database.
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
        scan.findings.iter().map(|finding| results::finding(py, finding)).collect()
    }

    /// Checks the database in every respect: version, structure, every row, duplicates, pages. It only reads.
    ///
    /// Raises `CorruptError` for the first fault found, also if there is no database, `SchemaError`,
    /// `UnsupportedError` if the file cannot be read, `BusyError`, `ClosedError`.
    fn validate_database(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, trop_core::Registry::validate)
    }

    /// Functions of the module are sent to other processes by name; what has files open cannot be.
    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<&'static str> {
        match slf.get().0 {
            Target::Machine => Ok("_machine"),
            Target::Opened(_) => {
                Err(PyTypeError::new_err(format!("cannot pickle '{}' object", slf.get_type().name()?)))
            }
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

    fn call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&trop_core::Registry) -> Result<T> + Send,
    ) -> PyResult<T> {
        match &self.0 {
            Target::Opened(registry) => detached(py, || registry.contain(call)),
            Target::Machine => {
                let directory = data_directory(py, None)?;
                detached(py, || trop_core::Registry::shared_in(Some(&directory))?.contain(call))
            }
        }
    }

    /// A call that changes the registry, or shows on a copy of it what it would change.
    fn change<T: Send>(
        &self,
        py: Python<'_>,
        dry_run: bool,
        change: impl FnOnce(&trop_core::Registry) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.call(py, |registry| if dry_run { change(&registry.dry_run()?) } else { change(registry) })
    }
}

fn lease_request([port, min, max]: [Given<'_, '_>; 3], label: Given<'_, '_>) -> PyResult<LeaseRequest> {
    let mut request = LeaseRequest::default();
    request.preferred = arguments::port("port", port)?;
    request.min = arguments::port("min", min)?;
    request.max = arguments::port("max", max)?;
    request.label = arguments::text("label", label)?;
    Ok(request)
}

/// Returns everything that is wrong with a configuration file: nothing if it is valid.
///
/// A file called `config.yaml` is judged as the user's file, any other as a project's. No other file, no variable and
/// no database is looked at.
///
/// Raises `InvalidArgumentError` if it is missing or no file, `IoError` if it cannot be read.
#[pyfunction]
pub(crate) fn validate_config<'py>(
    py: Python<'py>,
    file: &Bound<'py, PyAny>,
) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let file = arguments::required_path("file", file)?;
    let problems = detached(py, || trop_core::validate(&file))?;
    problems.iter().map(|problem| results::problem(py, problem)).collect()
}

/// Looked up while attached: other Python threads may change the environment, and reading it meanwhile is not safe.
pub(crate) fn data_directory(py: Python<'_>, given: Option<&Path>) -> PyResult<PathBuf> {
    trop_core::data_dir(given).map_err(|error| exception(py, &error))
}

/// Runs a call of the core while other Python threads go on.
pub(crate) fn detached<T: Send>(py: Python<'_>, call: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| contain(call)).map_err(|error| exception(py, &error))
}
