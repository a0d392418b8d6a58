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

use std::path::PathBuf;

use napi_derive::napi;
use trop_core::{Port, Registry, contain, validate};

use call::{Answer, Handle, Place, Returned, answer, run, run_on};
use lease::LeaseHandle;
use options::{
    CleanOptions, FindOptions, GroupOptions, LeaseOptions, ListOptions, MigrateOptions, OccupancyOptions,
    OpenOptions, ReleaseOptions, ReleasePortOptions, ReserveOptions, ScanOptions,
};
use results::{
    CleanupRows, ExplanationFields, FindingFields, LeaseFields, MigrationRows, ProblemFields, ReservedRow,
    Row,
};

/// A handle whose database is not opened yet.
#[napi]
pub fn open(options: OpenOptions, occupancy: OccupancyOptions) -> Answer<Handle> {
    answer(contain(|| Registry::open_lazily(options.registry(&occupancy)?).map(Handle)))
}

/// Opens the database of a handle.
#[napi]
pub fn connect(place: Place, later: bool) -> Returned<bool> {
    run_on(place, later, None, || Ok(|registry: &Registry| registry.connect().map(|()| true)))
}

/// Closes a handle.
#[napi]
pub fn close(handle: &Handle) -> Answer<bool> {
    answer(contain(|| {
        handle.0.close();
        Ok(true)
    }))
}

/// The data directory of a handle.
#[napi]
pub fn data_dir(handle: &Handle) -> String {
    handle.0.data_dir().to_string_lossy().into_owned()
}

/// Reserves a port.
#[napi]
pub fn reserve(
    place: Place,
    later: bool,
    options: ReserveOptions,
    occupancy: OccupancyOptions,
) -> Returned<ReservedRow> {
    run_on(place, later, options.dry_run, || {
        let request = options.request(&occupancy)?;
        Ok(move |registry: &Registry| registry.reserve(&request).map(results::reserved))
    })
}

/// Reserves the ports of a group: names and ports.
#[napi]
pub fn reserve_group(
    place: Place,
    later: bool,
    options: GroupOptions,
    occupancy: OccupancyOptions,
) -> Returned<Vec<(String, u16)>> {
    run_on(place, later, options.dry_run, || {
        let key = options.key();
        let request = options.request(&occupancy)?;
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
pub fn release(place: Place, later: bool, options: ReleaseOptions) -> Returned<u32> {
    run_on(place, later, options.dry_run, || {
        let request = options.request()?;
        // There are fewer ports than that.
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(move |registry: &Registry| registry.release(&request).map(count))
    })
}

/// Releases one port and tells whether somebody had it.
#[napi]
pub fn release_port(place: Place, later: bool, port: i64, options: ReleasePortOptions) -> Returned<bool> {
    run_on(place, later, options.dry_run, || {
        let port = Port::new("port", port)?;
        let force = options.force.unwrap_or_default();
        Ok(move |registry: &Registry| Ok(registry.release_port(port, force)?.is_some()))
    })
}

/// Leases a port.
#[napi]
pub fn lease(
    place: Place,
    later: bool,
    options: LeaseOptions,
    occupancy: OccupancyOptions,
) -> Returned<LeaseHandle> {
    run_on(place, later, None, || {
        let request = options.request(&occupancy)?;
        Ok(move |registry: &Registry| registry.lease(&request).map(LeaseHandle::from))
    })
}

/// Leases several ports, all or none.
#[napi]
pub fn lease_many(
    place: Place,
    later: bool,
    count: u32,
    options: LeaseOptions,
    occupancy: OccupancyOptions,
) -> Returned<Vec<LeaseHandle>> {
    run_on(place, later, None, || {
        let request = options.request(&occupancy)?;
        Ok(move |registry: &Registry| {
            Ok(registry.lease_many(count, &request)?.into_iter().map(LeaseHandle::from).collect::<Vec<_>>())
        })
    })
}

/// The leases of everybody.
#[napi]
pub fn leases(place: Place, later: bool) -> Returned<Vec<LeaseFields>> {
    run_on(place, later, None, || Ok(|registry: &Registry| registry.leases().map(results::leases)))
}

/// The leases of a registry in this process.
#[napi]
pub fn own_leases(place: Place, later: bool) -> Returned<Vec<LeaseFields>> {
    run_on(place, later, None, || Ok(|registry: &Registry| registry.own_leases().map(results::leases)))
}

/// Who has a port, and what to do.
#[napi]
pub fn explain(place: Place, later: bool, port: i64) -> Returned<ExplanationFields> {
    run_on(place, later, None, || {
        let port = Port::new("port", port)?;
        Ok(move |registry: &Registry| registry.explain(port).map(ExplanationFields::from))
    })
}

/// The reservation of a key.
#[napi]
pub fn find(place: Place, later: bool, options: FindOptions) -> Returned<Option<Row>> {
    run_on(place, later, None, || {
        let key = options.key()?;
        Ok(move |registry: &Registry| Ok(registry.find(&key)?.map(results::row)))
    })
}

/// The reservation that has a port.
#[napi]
pub fn find_port(place: Place, later: bool, port: i64) -> Returned<Option<Row>> {
    run_on(place, later, None, || {
        let port = Port::new("port", port)?;
        Ok(move |registry: &Registry| Ok(registry.find_port(port)?.map(results::row)))
    })
}

/// The reservations that are asked for.
#[napi]
pub fn list(place: Place, later: bool, options: ListOptions) -> Returned<Vec<Row>> {
    run_on(place, later, None, || {
        let filter = options.filter()?;
        Ok(move |registry: &Registry| registry.list_filtered(&filter).map(results::rows))
    })
}

/// Every project.
#[napi]
pub fn projects(place: Place, later: bool) -> Returned<Vec<String>> {
    run_on(place, later, None, || Ok(Registry::projects))
}

/// Removes the reservations whose directory is gone.
#[napi]
pub fn prune(place: Place, later: bool, options: CleanOptions) -> Returned<CleanupRows> {
    run_on(place, later, options.dry_run, || Ok(|registry: &Registry| registry.prune().map(results::cleanup)))
}

/// Removes the reservations that were not used for long.
#[napi]
pub fn expire(place: Place, later: bool, options: CleanOptions) -> Returned<CleanupRows> {
    run_on(place, later, options.dry_run, || {
        Ok(move |registry: &Registry| registry.expire(options.days).map(results::cleanup))
    })
}

/// Removes both.
#[napi]
pub fn autoclean(place: Place, later: bool, options: CleanOptions) -> Returned<CleanupRows> {
    run_on(place, later, options.dry_run, || {
        Ok(move |registry: &Registry| registry.autoclean(options.days).map(results::cleanup))
    })
}

/// Moves reservations to another path.
#[napi]
pub fn migrate(place: Place, later: bool, options: MigrateOptions) -> Returned<MigrationRows> {
    run_on(place, later, options.dry_run, || {
        let request = options.request()?;
        Ok(move |registry: &Registry| registry.migrate(&request).map(results::migration))
    })
}

/// Looks which ports of a range are in use.
#[napi]
pub fn scan(place: Place, later: bool, options: ScanOptions) -> Returned<Vec<FindingFields>> {
    run_on(place, later, None, || {
        let request = options.request()?;
        Ok(move |registry: &Registry| {
            let scan = registry.scan(&request)?;
            Ok(scan.findings.into_iter().map(FindingFields::from).collect::<Vec<_>>())
        })
    })
}

/// Checks the whole database.
#[napi]
pub fn validate_database(place: Place, later: bool) -> Returned<bool> {
    run_on(place, later, None, || Ok(|registry: &Registry| registry.validate().map(|()| true)))
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
