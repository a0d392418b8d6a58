//! The native half of the npm package `trop`: results and errors as plain data for `index.js`.
//!
//! Nothing here throws. A failed call answers with a [`Failure`](results::Failure), from which `index.js` makes the
//! exception in its own realm, and `index.js` has checked the types of all arguments. With `later` a call runs on the
//! pool and returns a promise.

#![allow(
    clippy::must_use_candidate,
    clippy::needless_pass_by_value,
    reason = "the callers are JavaScript, their arguments owned"
)]

pub mod call;
pub mod lease;
pub mod options;
pub mod results;
pub mod switches;

use std::path::PathBuf;

use napi::bindgen_prelude::External;
use napi_derive::napi;
use trop_core::{Port, Registry, contain, validate};

use call::{Answer, Handle, Made, Maker, Returned, answer, make, run, run_on};
use lease::{Leased, LeasedRow};
use options::{
    CleanOptions, GroupOptions, ListOptions, MigrateOptions, OpenOptions, ReleasePortOptions, ScanOptions,
};
use results::{
    CleanupRows, ExplanationFields, FindingFields, LeaseFields, MigrationRows, ProblemFields, ReservedRow,
    Row,
};
use switches::DRY_RUN;

/// A registry whose database is not opened yet.
#[napi]
pub fn open(options: OpenOptions, switches: u32) -> Answer<External<Registry>> {
    answer(contain(|| Registry::open_lazily(options.registry(switches)?).map(External::new)))
}

/// Opens the database of a registry.
#[napi]
pub fn connect(handle: Handle, directory: Option<String>, later: bool) -> Returned<bool> {
    run_on((handle, directory), later, false, || Ok(|registry: &Registry| registry.connect().map(|()| true)))
}

/// Closes a registry.
#[napi]
pub fn close(handle: &External<Registry>) -> Answer<bool> {
    answer(contain(|| {
        handle.close();
        Ok(true)
    }))
}

/// The data directory of a registry.
#[napi]
pub fn data_dir(handle: &External<Registry>) -> String {
    handle.data_dir().to_string_lossy().into_owned()
}

/// Reserves a port.
///
/// # Errors
/// Those of `maker`.
#[napi]
#[allow(clippy::too_many_arguments, reason = "one for each option")]
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
    switches: u32,
    maker: Maker<'env, ReservedRow>,
) -> napi::Result<Made<'env, ReservedRow>> {
    let returned = run_on((handle, directory), later, switches & DRY_RUN != 0, || {
        let mut request = options::reserve([path, tag, project, task], [port, min, max], switches)?;
        if later {
            request.pin_path()?;
        }
        Ok(move |registry: &Registry| registry.reserve(&request).map(results::reserved))
    });
    make(returned, &maker, |row| row)
}

/// Reserves the ports of a group: names and ports.
#[napi]
pub fn reserve_group(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    options: GroupOptions,
    switches: u32,
) -> Returned<Vec<(String, u16)>> {
    run_on((handle, directory), later, options.dry_run.unwrap_or_default(), || {
        let key = options.key();
        let request = options.request(switches)?;
        Ok(move |registry: &Registry| {
            let (_, ports) = registry.reserve_group_with(&request, |group| {
                let ports = group.ports_by(key)?.into_iter();
                Ok(ports.map(|(name, port)| (name.to_owned(), port.get())).collect())
            })?;
            Ok(ports)
        })
    })
}

/// Releases ports and tells how many.
#[napi]
pub fn release(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    path: Option<String>,
    tag: Option<String>,
    switches: u32,
) -> Returned<u32> {
    run_on((handle, directory), later, switches & DRY_RUN != 0, || {
        let mut request = options::release(path, tag, switches)?;
        if later {
            request.pin_path()?;
        }
        // There are fewer ports than that.
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(move |registry: &Registry| registry.release(&request).map(count))
    })
}

/// Releases one port and tells whether somebody had it.
#[napi]
pub fn release_port(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    port: i64,
    options: ReleasePortOptions,
) -> Returned<bool> {
    run_on((handle, directory), later, options.dry_run.unwrap_or_default(), || {
        let port = Port::new("port", port)?;
        let force = options.force.unwrap_or_default();
        Ok(move |registry: &Registry| Ok(registry.release_port(port, force)?.is_some()))
    })
}

/// Leases a port.
///
/// # Errors
/// Those of `maker`.
#[napi]
#[allow(clippy::too_many_arguments, reason = "one for each option")]
pub fn lease<'env>(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    port: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    label: Option<String>,
    switches: u32,
    maker: Maker<'env, LeasedRow>,
) -> napi::Result<Made<'env, Leased>> {
    let returned = run_on((handle, directory), later, false, || {
        let request = options::lease([port, min, max], label, switches)?;
        Ok(move |registry: &Registry| registry.lease(&request).map(Leased::from))
    });
    make(returned, &maker, LeasedRow::from)
}

/// Leases several ports, all or none.
#[napi]
#[allow(clippy::too_many_arguments, reason = "one for each option")]
pub fn lease_many(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    count: u32,
    port: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    label: Option<String>,
    switches: u32,
) -> Returned<Vec<Leased>> {
    run_on((handle, directory), later, false, || {
        let request = options::lease([port, min, max], label, switches)?;
        Ok(move |registry: &Registry| {
            Ok(registry.lease_many(count, &request)?.into_iter().map(Leased::from).collect::<Vec<_>>())
        })
    })
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
        let key = options::key(path, tag)?;
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

/// The reservations that are asked for.
#[napi]
pub fn list(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    options: ListOptions,
) -> Returned<Vec<Row>> {
    run_on((handle, directory), later, false, || {
        let filter = options.filter()?;
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
pub fn prune(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    options: CleanOptions,
) -> Returned<CleanupRows> {
    run_on((handle, directory), later, options.dry_run.unwrap_or_default(), || {
        Ok(|registry: &Registry| registry.prune().map(results::cleanup))
    })
}

/// Removes the reservations that were not used for long.
#[napi]
pub fn expire(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    options: CleanOptions,
) -> Returned<CleanupRows> {
    run_on((handle, directory), later, options.dry_run.unwrap_or_default(), || {
        Ok(move |registry: &Registry| registry.expire(options.days).map(results::cleanup))
    })
}

/// Removes both.
#[napi]
pub fn autoclean(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    options: CleanOptions,
) -> Returned<CleanupRows> {
    run_on((handle, directory), later, options.dry_run.unwrap_or_default(), || {
        Ok(move |registry: &Registry| registry.autoclean(options.days).map(results::cleanup))
    })
}

/// Moves reservations to another path.
#[napi]
pub fn migrate(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    options: MigrateOptions,
) -> Returned<MigrationRows> {
    run_on((handle, directory), later, options.dry_run.unwrap_or_default(), || {
        let request = options.request()?;
        Ok(move |registry: &Registry| registry.migrate(&request).map(results::migration))
    })
}

/// Looks which ports of a range are in use.
#[napi]
pub fn scan(
    handle: Handle,
    directory: Option<String>,
    later: bool,
    options: ScanOptions,
) -> Returned<Vec<FindingFields>> {
    run_on((handle, directory), later, false, || {
        let request = options.request()?;
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

/// Everything wrong with a configuration file.
#[napi]
pub fn validate_config(later: bool, file: String) -> Returned<Vec<ProblemFields>> {
    run(later, || {
        let file = PathBuf::from(file);
        // What cannot be made absolute is not found either.
        let file = std::path::absolute(&file).unwrap_or(file);
        Ok(move || Ok(validate(&file)?.into_iter().map(ProblemFields::from).collect::<Vec<_>>()))
    })
}
