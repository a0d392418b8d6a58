//! Cleaning up and migrating.

use std::ffi::c_char;
use std::ptr;

use trop_core::{Cleanup, MigrateRequest, Registry, Result};

use crate::arguments::{self, invalid, null};
use crate::error::trop_error;
use crate::flags::{TROP_DRY_RUN, TROP_FORCE, TROP_RECURSIVE, dry_run_if_asked};
use crate::options::{self, Options, size};
use crate::registry::{call_on, trop_registry};
use crate::strings;

/// Remove the reservations of directories that do not exist any more.
pub const TROP_CLEAN_PRUNE: u32 = 1;
/// Remove the reservations that were last used too long ago.
pub const TROP_CLEAN_EXPIRE: u32 = 2;

/// The value of `days` that means "not given".
const NO_DAYS: i64 = -1;

/// What to clean up. Initialise with TROP_CLEAN_OPTIONS_INIT or trop_clean_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct trop_clean_options {
    /// sizeof(trop_clean_options).
    pub size: u32,
    /// TROP_CLEAN_* and TROP_DRY_RUN combined; neither TROP_CLEAN_PRUNE nor TROP_CLEAN_EXPIRE means both.
    pub flags: u32,
    /// After how many days without use a reservation expires, 1 to 4294967295; -1 means what is configured,
    /// else 30.
    pub days: i64,
}

// SAFETY: two 32-bit fields before one of 64 bits: no padding.
unsafe impl Options for trop_clean_options {
    const FLAGS: u32 = TROP_CLEAN_PRUNE | TROP_CLEAN_EXPIRE | TROP_DRY_RUN;
    const DEFAULT: Self = trop_clean_options { size: size::<Self>(), flags: 0, days: NO_DAYS };
}

/// What to migrate. Initialise with TROP_MIGRATE_OPTIONS_INIT or trop_migrate_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct trop_migrate_options {
    /// sizeof(trop_migrate_options).
    pub size: u32,
    /// TROP_RECURSIVE, TROP_FORCE (remove reservations that hold a key at the destination) and TROP_DRY_RUN
    /// combined.
    pub flags: u32,
    /// The path that has the reservations; it need not exist.
    pub from: *const c_char,
    /// The path that gets them; it need not exist.
    pub to: *const c_char,
}

// SAFETY: two 32-bit fields before two pointers: no padding.
unsafe impl Options for trop_migrate_options {
    const FLAGS: u32 = TROP_RECURSIVE | TROP_FORCE | TROP_DRY_RUN;
    const DEFAULT: Self =
        trop_migrate_options { size: size::<Self>(), flags: 0, from: ptr::null(), to: ptr::null() };
}

/// Initialises options with their defaults, as TROP_CLEAN_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_clean_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_clean_options_init(options: *mut trop_clean_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { options::initialise(options, size) }
}

/// Initialises options with their defaults, as TROP_MIGRATE_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_migrate_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_migrate_options_init(options: *mut trop_migrate_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { options::initialise(options, size) }
}

/// Removes reservations that nobody needs any more, all or none: those whose path is certainly no longer a
/// directory (pruned), and those last used more than a number of days ago (expired).
///
/// registry: the registry.
/// options: what to remove; NULL means both kinds.
/// json: receives an object with pruned and expired (arrays of reservations; a reservation that is both
/// counts as pruned), preserved (an array of objects with path and cause, strings: paths that could not be
/// inspected and were kept) and days (the age limit); free it with trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CLOSED or a database error. After a
/// failure the registry is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_clean(
    registry: *mut trop_registry,
    options: *const trop_clean_options,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("json", json), error, |registry| {
            let options = options::read(options)?;
            Ok(strings::json(&clean(registry, &options)?.to_json()))
        })
    }
}

fn clean(registry: &Registry, options: &trop_clean_options) -> Result<Cleanup> {
    let days =
        match options.days {
            NO_DAYS => None,
            days => Some(u32::try_from(days).map_err(|_| {
                invalid("days", format!("{days} is not a number of days (1 to {})", u32::MAX))
            })?),
        };
    let registry = dry_run_if_asked(registry, options.flags)?;
    match options.flags & (TROP_CLEAN_PRUNE | TROP_CLEAN_EXPIRE) {
        TROP_CLEAN_PRUNE if days.is_some() => Err(invalid("days", "pruning does not go by age")),
        TROP_CLEAN_PRUNE => registry.prune(),
        TROP_CLEAN_EXPIRE => registry.expire(days),
        _ => registry.autoclean(days),
    }
}

/// Moves the reservations of a path to another path, with all tags, after their directory was moved. Ports
/// and everything else stay as they are. All are moved or none. If there is nothing to move, the call fails
/// with TROP_ERR_NOT_FOUND, unless TROP_RECURSIVE is given.
///
/// registry: the registry.
/// options: what to migrate; from and to are required.
/// json: receives an object with from and to (strings, the paths in their normal form), moves (an array of
/// reservations as they were, each with its new path as to) and conflicts (an array of reservations at the
/// destination that were removed); free it with trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_NOT_FOUND, TROP_ERR_CONFLICT when keys at the
/// destination are taken, TROP_ERR_BUSY, TROP_ERR_CLOSED or a database error. After a failure the registry is
/// unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_migrate(
    registry: *mut trop_registry,
    options: *const trop_migrate_options,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("json", json), error, |registry| {
            let options = options::read(options)?;
            let from = arguments::path("from", options.from)?.ok_or_else(|| null("from"))?;
            let to = arguments::path("to", options.to)?.ok_or_else(|| null("to"))?;
            let mut request = MigrateRequest::new(from, to);
            request.recursive = options.flags & TROP_RECURSIVE != 0;
            request.force = options.flags & TROP_FORCE != 0;
            let migration = dry_run_if_asked(registry, options.flags)?.migrate(&request)?;
            Ok(strings::json(&migration.to_json()))
        })
    }
}
