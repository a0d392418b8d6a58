//! Calls that change nothing: they list, find and explain, and check the database or a file.

use std::ffi::c_char;
use std::ptr;

use trop_core::{Filter, Finding, Key, LeaseInfo, Port, Problem, Registry, Reservation, ScanRequest, Tag};

use crate::arguments::{self, null};
use crate::error::{call, trop_error};
use crate::options::{self, Options, size};
use crate::registry::{call_on, trop_registry};
use crate::reservation::trop_reservation;
use crate::strings;

/// Which reservations to list; a reservation must meet all conditions that are given. Initialise with
/// TROP_LIST_OPTIONS_INIT or trop_list_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct trop_list_options {
    /// sizeof(trop_list_options).
    pub size: u32,
    /// Must be 0.
    pub flags: u32,
    /// Exactly this project; NULL means any or none.
    pub project: *const c_char,
    /// Exactly this tag; NULL means any or none.
    pub tag: *const c_char,
    /// This path and everything below it, which need not exist; NULL means any.
    pub path: *const c_char,
}

// SAFETY: two 32-bit fields before three pointers: no padding.
unsafe impl Options for trop_list_options {
    const FLAGS: u32 = 0;
    const DEFAULT: Self = trop_list_options {
        size: size::<Self>(),
        flags: 0,
        project: ptr::null(),
        tag: ptr::null(),
        path: ptr::null(),
    };
}

/// Initialises options with their defaults, as TROP_LIST_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_list_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_list_options_init(options: *mut trop_list_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { options::initialise(options, size) }
}

/// Finds the reservation of exactly one key. This does not count as a use of it.
///
/// registry: the registry.
/// path: the path of the key; NULL means the working directory.
/// tag: the tag of the key; NULL means none.
/// reservation: receives the reservation, NULL if there is none; free it with trop_reservation_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, also if there is none, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CLOSED or a
/// database error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_find(
    registry: *mut trop_registry,
    path: *const c_char,
    tag: *const c_char,
    reservation: *mut *mut trop_reservation,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("reservation", reservation), error, |registry| {
            let path = arguments::path("path", path)?;
            let tag = arguments::text("tag", tag)?.map(Tag::new).transpose()?;
            Ok(or_null(registry.find(&Key::new(path.as_deref(), tag)?)?))
        })
    }
}

/// Finds the reservation that has a port. This does not count as a use of it.
///
/// registry: the registry.
/// port: the port, 1 to 65535.
/// reservation: receives the reservation, NULL if there is none; free it with trop_reservation_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, also if there is none, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CLOSED or a
/// database error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_find_port(
    registry: *mut trop_registry,
    port: i32,
    reservation: *mut *mut trop_reservation,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("reservation", reservation), error, |registry| {
            Ok(or_null(registry.find_port(Port::new("port", i64::from(port))?)?))
        })
    }
}

fn or_null(found: Option<Reservation>) -> *mut trop_reservation {
    found.map_or(ptr::null_mut(), |reservation| trop_reservation::from(reservation).into_raw())
}

/// Lists reservations, ordered by path, then tag, the untagged one first.
///
/// registry: the registry.
/// options: which reservations; NULL means all.
/// json: receives an array of reservations; free it with trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CLOSED or a database error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_list(
    registry: *mut trop_registry,
    options: *const trop_list_options,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("json", json), error, |registry| {
            let options = options::read(options)?;
            let mut filter = Filter::default();
            filter.project = arguments::text("project", options.project)?.map(str::to_owned);
            filter.tag = arguments::text("tag", options.tag)?.map(str::to_owned);
            filter.path = arguments::path("path", options.path)?;
            let found = registry.list_filtered(&filter)?;
            Ok(strings::json(&found.iter().map(Reservation::to_json).collect()))
        })
    }
}

/// Lists the distinct projects of all reservations, ordered by their bytes.
///
/// registry: the registry.
/// json: receives an array of strings; free it with trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CLOSED or a database error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_projects(
    registry: *mut trop_registry,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("json", json), error, |registry| {
            Ok(strings::json(&registry.projects()?.into_iter().collect()))
        })
    }
}

/// Finds out which ports of a range something on this machine has bound, with the probes of the registry. The
/// answer holds for that moment only.
///
/// registry: the registry.
/// min: replaces the lowest port of the range; -1 means the registry's.
/// max: replaces the highest port of the range; -1 means the registry's.
/// json: receives an array of objects, one for each probe that found a port occupied, ordered by port, with
/// port (number), status ("occupied" or "occupied (reserved)"), reserved (true or false), protocol ("tcp" or
/// "udp"), address_family ("ipv4" or "ipv6"), scope ("localhost" or "wildcard"), address (string), process_id
/// (number or null), process_name, user (string or null) and owner_status (string); free it with
/// trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CONFIG for a range that ends before it
/// begins, TROP_ERR_CLOSED or a database error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_scan(
    registry: *mut trop_registry,
    min: i32,
    max: i32,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("json", json), error, |registry| {
            let mut request = ScanRequest::default();
            request.min = arguments::port("min", min)?;
            request.max = arguments::port("max", max)?;
            let scan = registry.scan(&request)?;
            Ok(strings::json(&scan.findings.iter().map(Finding::to_json).collect()))
        })
    }
}

/// Lists the leases of all processes, ordered by port, with those that have ended but were not yet removed.
///
/// registry: the registry.
/// json: receives an array of leases; free it with trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CLOSED or a database error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_leases(
    registry: *mut trop_registry,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe { call_on(registry, ("json", json), error, |registry| Ok(list_of(&registry.leases()?))) }
}

/// Lists the leases that this registry has in this process, ordered by port.
///
/// registry: the registry.
/// json: receives an array of leases; free it with trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns the same as trop_leases.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_own_leases(
    registry: *mut trop_registry,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe { call_on(registry, ("json", json), error, |registry| Ok(list_of(&registry.own_leases()?))) }
}

fn list_of(leases: &[LeaseInfo]) -> *mut c_char {
    strings::json(&leases.iter().map(LeaseInfo::to_json).collect())
}

/// Explains why a port is not available: who has it in the registry and in the operating system, since when,
/// and what to do about it.
///
/// registry: the registry.
/// port: the port, 1 to 65535.
/// json: receives an object with port (number), reservation (a reservation or null), lease (a lease or null),
/// occupied (true or false), process_id (number or null), process_name, user (string or null), in_range,
/// excluded, refused (true or false; refused by web clients, so that no search chooses it), closing (true or
/// false: nobody has it, and a server that sets SO_REUSEADDR can use it beside the connections that are
/// left), forbidden (true or false: this user may not bind it) and text (string: all of it in sentences, one
/// a line); free it with trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CLOSED or a database error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_explain(
    registry: *mut trop_registry,
    port: i32,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("json", json), error, |registry| {
            let explanation = registry.explain(Port::new("port", i64::from(port))?)?;
            Ok(strings::json(&explanation.to_json()))
        })
    }
}

/// Checks the whole database of a registry: version, structure, every row, every page. It only reads.
///
/// registry: the registry.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK if it is sound; TROP_ERR_CORRUPT with the first fault found, also when there is no
/// database; TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_SCHEMA, TROP_ERR_UNSUPPORTED when it cannot
/// be read, or TROP_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_validate_database(
    registry: *mut trop_registry,
    error: *mut *mut trop_error,
) -> i32 {
    let mut nothing = ();
    // SAFETY: the header's conventions.
    unsafe { call_on(registry, ("error", &raw mut nothing), error, Registry::validate) }
}

/// Checks one configuration file. A file called config.yaml is checked as that of a data directory, any other
/// as that of a project. Nothing else is read: no other file, no environment variable, no database.
///
/// file: the file.
/// json: receives an array of objects, one for each problem, with path (string), line (number, counted from
/// 1), field (string, such as "ports.min") and reason (string), empty for a valid file; free it with
/// trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, also if there are problems, TROP_ERR_INVALID_ARGUMENT if there is no such file, or
/// TROP_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_validate_config(
    file: *const c_char,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        let validate = || {
            let file = arguments::path("file", file)?.ok_or_else(|| null("file"))?;
            let problems = trop_core::validate(&file)?;
            Ok(strings::json(&problems.iter().map(Problem::to_json).collect()))
        };
        call(error, || arguments::fill("json", json, ptr::null_mut(), validate))
    }
}
