//! The operations of a registry: arguments of `index.js` into requests of the core, and their results.
//!
//! The arguments of each are `handle` and `directory`, which say on which registry; `later`, to run on
//! libuv's pool and return a promise; and then those that the table in `index.js` lists: the required ones,
//! the values and the switches of the options. A value that is not given has the core's default.

use std::path::{Path, PathBuf};

use napi_derive::napi;
use trop_core::{
    Field, Filter, GroupKey, GroupRequest, Key, LeaseRequest, MigrateRequest, Port, Registry, ReleaseRequest,
    ReserveRequest, Result, ScanRequest, Tag, resolve_path,
};

use crate::call::{Handle, Made, Maker, Returned, make, run_on};
use crate::lease::{Leased, LeasedRow};
use crate::results::{
    self, CleanupRows, ExplanationFields, FindingFields, LeaseFields, MigrationRows, ReservedRow, Row,
};
use crate::switches::{
    ALLOW_PROJECT_CHANGE, ALLOW_TASK_CHANGE, ALLOW_UNRELATED_PATH, CLEAR_PROJECT, CLEAR_TASK, CONTIGUOUS,
    DISABLE_AUTOEXPIRE, DISABLE_AUTOPRUNE, FORCE, HOLD, IGNORE_EXCLUSIONS, IGNORE_OCCUPIED, OVERWRITE,
    RECURSIVE, Switches, UNTAGGED_ONLY,
};

/// Reserves a port.
///
/// # Errors
/// Those of `maker`.
#[napi]
#[allow(clippy::too_many_arguments, reason = "one for each value")]
pub fn reserve<'env>(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    path: Option<String>,
    tag: Option<String>,
    project: Option<String>,
    task: Option<String>,
    port: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    check_all_interfaces: Option<bool>,
    switches: u32,
    maker: Maker<'env, ReservedRow>,
) -> napi::Result<Made<'env, ReservedRow>> {
    let switches = Switches(switches);
    let returned = run_on((handle, directory), later, switches.dry_run(), || {
        let mut request = ReserveRequest::default();
        request.path = path.map(PathBuf::from);
        request.tag = to_tag(tag)?;
        request.project = Field::new("clear_project", project, switches.has(CLEAR_PROJECT))?;
        request.task = Field::new("clear_task", task, switches.has(CLEAR_TASK))?;
        request.preferred = to_port("port", port)?;
        request.min = to_port("min", min)?;
        request.max = to_port("max", max)?;
        request.occupancy = switches.occupancy(check_all_interfaces);
        request.overwrite = switches.has(OVERWRITE);
        request.ignore_occupied = switches.has(IGNORE_OCCUPIED);
        request.ignore_exclusions = switches.has(IGNORE_EXCLUSIONS);
        request.allow_unrelated_path = switches.has(ALLOW_UNRELATED_PATH);
        request.allow_project_change = switches.has(ALLOW_PROJECT_CHANGE);
        request.allow_task_change = switches.has(ALLOW_TASK_CHANGE);
        request.force = switches.has(FORCE);
        request.disable_autoprune = switches.has(DISABLE_AUTOPRUNE);
        request.disable_autoexpire = switches.has(DISABLE_AUTOEXPIRE);
        if later {
            request.pin_path()?;
        }
        Ok(move |registry: &Registry| registry.reserve(&request).map(results::reserved))
    });
    make(returned, &maker, |row| row)
}

/// Reserves the ports of a group and returns names and ports.
#[napi]
#[allow(clippy::too_many_arguments, reason = "one for each value")]
pub fn reserve_group(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    file: Option<String>,
    task: Option<String>,
    by: Option<String>,
    check_all_interfaces: Option<bool>,
    switches: u32,
) -> Returned<Vec<(String, u16)>> {
    let switches = Switches(switches);
    run_on((handle, directory), later, switches.dry_run(), || {
        let mut request = GroupRequest::default();
        request.file = file.map(PathBuf::from);
        request.task = task;
        request.occupancy = switches.occupancy(check_all_interfaces);
        request.allow_unrelated_path = switches.has(ALLOW_UNRELATED_PATH);
        request.allow_project_change = switches.has(ALLOW_PROJECT_CHANGE);
        request.allow_task_change = switches.has(ALLOW_TASK_CHANGE);
        request.force = switches.has(FORCE);
        request.pin_file()?;
        // `index.js` lets only `tag` and `variable` through.
        let key = if by.as_deref() == Some("variable") { GroupKey::Variable } else { GroupKey::Tag };
        Ok(move |registry: &Registry| {
            let (_, ports) = registry.reserve_group_with(&request, |group| {
                let ports = group.ports_by(key)?.into_iter();
                Ok(ports.map(|(name, port)| (name.to_owned(), port.get())).collect())
            })?;
            Ok(ports)
        })
    })
}

/// Releases ports and returns how many.
#[napi]
pub fn release(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    path: Option<String>,
    tag: Option<String>,
    switches: u32,
) -> Returned<u32> {
    let switches = Switches(switches);
    run_on((handle, directory), later, switches.dry_run(), || {
        let mut request = ReleaseRequest::default();
        request.path = path.map(PathBuf::from);
        request.tag = to_tag(tag)?;
        request.untagged_only = switches.has(UNTAGGED_ONLY);
        request.recursive = switches.has(RECURSIVE);
        request.allow_unrelated_path = switches.has(ALLOW_UNRELATED_PATH);
        if later {
            request.pin_path()?;
        }
        // There are fewer ports than that, so the conversion does not fail.
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(move |registry: &Registry| registry.release(&request).map(count))
    })
}

/// Releases one port and returns whether it was reserved.
#[napi]
pub fn release_port(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    port: i64,
    switches: u32,
) -> Returned<bool> {
    let switches = Switches(switches);
    run_on((handle, directory), later, switches.dry_run(), || {
        let port = Port::new("port", port)?;
        let force = switches.has(FORCE);
        Ok(move |registry: &Registry| Ok(registry.release_port(port, force)?.is_some()))
    })
}

/// Leases a port.
///
/// # Errors
/// Those of `maker`.
#[napi]
#[allow(clippy::too_many_arguments, reason = "one for each value")]
pub fn lease<'env>(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    port: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    label: Option<String>,
    check_all_interfaces: Option<bool>,
    switches: u32,
    maker: Maker<'env, LeasedRow>,
) -> napi::Result<Made<'env, Leased>> {
    let returned = run_on((handle, directory), later, false, || {
        let request = lease_request([port, min, max], label, check_all_interfaces, Switches(switches))?;
        Ok(move |registry: &Registry| registry.lease(&request).map(Leased::from))
    });
    make(returned, &maker, LeasedRow::from)
}

/// Leases several ports, all or none.
#[napi]
#[allow(clippy::too_many_arguments, reason = "one for each value")]
pub fn lease_many(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    count: u32,
    port: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    label: Option<String>,
    check_all_interfaces: Option<bool>,
    switches: u32,
) -> Returned<Vec<Leased>> {
    run_on((handle, directory), later, false, || {
        let request = lease_request([port, min, max], label, check_all_interfaces, Switches(switches))?;
        Ok(move |registry: &Registry| {
            Ok(registry.lease_many(count, &request)?.into_iter().map(Leased::from).collect::<Vec<_>>())
        })
    })
}

/// Leases a port for the rest of the process and returns its number.
#[napi]
#[allow(clippy::too_many_arguments, reason = "one for each value")]
pub fn port(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    port: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    label: Option<String>,
    check_all_interfaces: Option<bool>,
    switches: u32,
) -> Returned<u16> {
    run_on((handle, directory), later, false, || {
        let request = lease_request([port, min, max], label, check_all_interfaces, Switches(switches))?;
        Ok(move |registry: &Registry| registry.port(&request).map(Port::get))
    })
}

/// Leases several ports for the rest of the process, all or none, and returns their numbers.
#[napi]
#[allow(clippy::too_many_arguments, reason = "one for each value")]
pub fn ports(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    count: u32,
    port: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    label: Option<String>,
    check_all_interfaces: Option<bool>,
    switches: u32,
) -> Returned<Vec<u16>> {
    run_on((handle, directory), later, false, || {
        let request = lease_request([port, min, max], label, check_all_interfaces, Switches(switches))?;
        Ok(move |registry: &Registry| {
            Ok(registry.ports(count, &request)?.into_iter().map(Port::get).collect::<Vec<_>>())
        })
    })
}

fn lease_request(
    [preferred, min, max]: [Option<i64>; 3],
    label: Option<String>,
    check_all_interfaces: Option<bool>,
    switches: Switches,
) -> Result<LeaseRequest> {
    let mut request = LeaseRequest::default();
    request.preferred = to_port("port", preferred)?;
    request.min = to_port("min", min)?;
    request.max = to_port("max", max)?;
    request.occupancy = switches.occupancy(check_all_interfaces);
    request.label = label;
    request.contiguous = switches.has(CONTIGUOUS);
    request.hold = switches.has(HOLD);
    Ok(request)
}

/// The leases of everybody.
#[napi]
pub fn leases(handle: Handle, directory: Option<String>, later: bool) -> Returned<Vec<LeaseFields>> {
    run_on((handle, directory), later, false, || {
        Ok(|registry: &Registry| registry.leases().map(results::leases))
    })
}

/// The leases of a registry in this process.
#[napi]
pub fn own_leases(handle: Handle, directory: Option<String>, later: bool) -> Returned<Vec<LeaseFields>> {
    run_on((handle, directory), later, false, || {
        Ok(|registry: &Registry| registry.own_leases().map(results::leases))
    })
}

/// Who has a port, and what to do.
#[napi]
pub fn explain(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    port: i64,
) -> Returned<ExplanationFields> {
    run_on((handle, directory), later, false, || {
        let port = Port::new("port", port)?;
        Ok(move |registry: &Registry| registry.explain(port).map(ExplanationFields::from))
    })
}

/// The reservation of a key.
#[napi]
pub fn find(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    path: Option<String>,
    tag: Option<String>,
) -> Returned<Option<Row>> {
    run_on((handle, directory), later, false, || {
        let key = Key::new(path.as_deref().map(Path::new), to_tag(tag)?)?;
        Ok(move |registry: &Registry| Ok(registry.find(&key)?.map(results::row)))
    })
}

/// The reservation that has a port.
#[napi]
pub fn find_port(handle: Handle, directory: Option<String>, later: bool, port: i64) -> Returned<Option<Row>> {
    run_on((handle, directory), later, false, || {
        let port = Port::new("port", port)?;
        Ok(move |registry: &Registry| Ok(registry.find_port(port)?.map(results::row)))
    })
}

/// The reservations that match.
#[napi]
pub fn list(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    project: Option<String>,
    tag: Option<String>,
    path: Option<String>,
) -> Returned<Vec<Row>> {
    run_on((handle, directory), later, false, || {
        let mut filter = Filter::default();
        filter.project = project;
        filter.tag = tag;
        filter.path = match path {
            Some(path) => Some(resolve_path(Some(path.as_ref()), false)?.into()),
            None => None,
        };
        Ok(move |registry: &Registry| registry.list_filtered(&filter).map(results::rows))
    })
}

/// Every project.
#[napi]
pub fn projects(handle: Handle, directory: Option<String>, later: bool) -> Returned<Vec<String>> {
    run_on((handle, directory), later, false, || Ok(Registry::projects))
}

/// Removes the reservations whose directory is gone.
#[napi]
pub fn prune(handle: Handle, directory: Option<String>, later: bool, switches: u32) -> Returned<CleanupRows> {
    run_on((handle, directory), later, Switches(switches).dry_run(), || {
        Ok(|registry: &Registry| registry.prune().map(results::cleanup))
    })
}

/// Removes the reservations that were not used for long.
#[napi]
pub fn expire(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    days: Option<u32>,
    switches: u32,
) -> Returned<CleanupRows> {
    run_on((handle, directory), later, Switches(switches).dry_run(), || {
        Ok(move |registry: &Registry| registry.expire(days).map(results::cleanup))
    })
}

/// Removes the reservations that [`prune`] and [`expire`] would.
#[napi]
pub fn autoclean(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    days: Option<u32>,
    switches: u32,
) -> Returned<CleanupRows> {
    run_on((handle, directory), later, Switches(switches).dry_run(), || {
        Ok(move |registry: &Registry| registry.autoclean(days).map(results::cleanup))
    })
}

/// Moves reservations to another path.
#[napi]
pub fn migrate(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    from: String,
    to: String,
    switches: u32,
) -> Returned<MigrationRows> {
    let switches = Switches(switches);
    run_on((handle, directory), later, switches.dry_run(), || {
        let mut request = MigrateRequest::new(from, to);
        request.recursive = switches.has(RECURSIVE);
        request.force = switches.has(FORCE);
        request.pin_paths()?;
        Ok(move |registry: &Registry| registry.migrate(&request).map(results::migration))
    })
}

/// The ports of a range that are in use.
#[napi]
pub fn scan(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    min: Option<i64>,
    max: Option<i64>,
) -> Returned<Vec<FindingFields>> {
    run_on((handle, directory), later, false, || {
        let mut request = ScanRequest::default();
        request.min = to_port("min", min)?;
        request.max = to_port("max", max)?;
        Ok(move |registry: &Registry| {
            let scan = registry.scan(&request)?;
            Ok(scan.findings.into_iter().map(FindingFields::from).collect::<Vec<_>>())
        })
    })
}

/// Checks the whole database.
#[napi]
pub fn validate_database(handle: Handle, directory: Option<String>, later: bool) -> Returned<bool> {
    run_on((handle, directory), later, false, || Ok(|registry: &Registry| registry.validate().map(|()| true)))
}

fn to_port(argument: &'static str, number: Option<i64>) -> Result<Option<Port>> {
    number.map(|number| Port::new(argument, number)).transpose()
}

fn to_tag(text: Option<String>) -> Result<Option<Tag>> {
    text.map(|text| Tag::new(&text)).transpose()
}
