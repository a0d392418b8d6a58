//! Reserving and releasing.

use std::ffi::c_char;
use std::mem::offset_of;
use std::ptr;

use trop_core::{Field, Port, ReleaseRequest, ReserveRequest, Result, Tag};

use crate::arguments::{self, NOT_GIVEN};
use crate::error::trop_error;
use crate::flags::{
    OCCUPANCY, TROP_ALLOW_PROJECT_CHANGE, TROP_ALLOW_TASK_CHANGE, TROP_DRY_RUN, TROP_FORCE, TROP_RECURSIVE,
    TROP_REFUSE_UNRELATED_PATH, dry_run_if_asked, occupancy,
};
use crate::options::{self, Options, size};
use crate::registry::{call_on, trop_registry};
use crate::reservation::trop_reservation;

/// Store no project, whatever configuration and git say.
pub const TROP_RESERVE_CLEAR_PROJECT: u32 = 1;
/// Store no task, whatever configuration and git say.
pub const TROP_RESERVE_CLEAR_TASK: u32 = 2;
/// Choose a new port for a key that already has one.
pub const TROP_RESERVE_OVERWRITE: u32 = 4;
/// Use the preferred port even if something has it bound.
pub const TROP_RESERVE_IGNORE_OCCUPIED: u32 = 8;
/// Use the preferred port even if it is excluded.
pub const TROP_RESERVE_IGNORE_EXCLUSIONS: u32 = 16;
/// When all ports are taken, keep the reservations of directories that do not exist any more.
pub const TROP_RESERVE_DISABLE_AUTOPRUNE: u32 = 32;
/// When all ports are taken, keep the reservations that were last used too long ago.
pub const TROP_RESERVE_DISABLE_AUTOEXPIRE: u32 = 64;
/// Release only the reservation without a tag.
pub const TROP_RELEASE_UNTAGGED_ONLY: u32 = 1;

/// What to reserve. Initialise with TROP_RESERVE_OPTIONS_INIT or trop_reserve_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct trop_reserve_options {
    /// sizeof(trop_reserve_options).
    pub size: u32,
    /// TROP_RESERVE_*, TROP_REFUSE_UNRELATED_PATH, TROP_ALLOW_*, TROP_FORCE (overwrite, ignore, any path, any
    /// change), TROP_SKIP_*, TROP_CHECK_* and TROP_DRY_RUN combined.
    pub flags: u32,
    /// The path of the key; NULL means the working directory.
    pub path: *const c_char,
    /// The tag of the key; NULL means none.
    pub tag: *const c_char,
    /// The preferred port of a new key; -1 means none.
    pub port: i32,
    /// Replaces the lowest port to choose; -1 means the registry's.
    pub min: i32,
    /// Replaces the highest port to choose; -1 means the registry's.
    pub max: i32,
    /// Must be 0.
    pub reserved: u32,
    /// The project to store, which changes a stored one only if that is allowed; NULL means that of the
    /// configuration, else the stored one, else for a new key what git says.
    pub project: *const c_char,
    /// The task to store; what is said of the project holds for it too.
    pub task: *const c_char,
}

// SAFETY: three pairs of 32-bit fields and four pointers, ordered so that there is no padding.
unsafe impl Options for trop_reserve_options {
    const FLAGS: u32 = TROP_RESERVE_CLEAR_PROJECT
        | TROP_RESERVE_CLEAR_TASK
        | TROP_RESERVE_OVERWRITE
        | TROP_RESERVE_IGNORE_OCCUPIED
        | TROP_RESERVE_IGNORE_EXCLUSIONS
        | TROP_RESERVE_DISABLE_AUTOPRUNE
        | TROP_RESERVE_DISABLE_AUTOEXPIRE
        | TROP_REFUSE_UNRELATED_PATH
        | TROP_ALLOW_PROJECT_CHANGE
        | TROP_ALLOW_TASK_CHANGE
        | TROP_FORCE
        | TROP_DRY_RUN
        | OCCUPANCY;
    const SMALLEST: usize = offset_of!(Self, project);
    const DEFAULT: Self = trop_reserve_options {
        size: size::<Self>(),
        flags: 0,
        path: ptr::null(),
        tag: ptr::null(),
        port: NOT_GIVEN,
        min: NOT_GIVEN,
        max: NOT_GIVEN,
        reserved: 0,
        project: ptr::null(),
        task: ptr::null(),
    };

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

/// What to release. Initialise with TROP_RELEASE_OPTIONS_INIT or trop_release_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct trop_release_options {
    /// sizeof(trop_release_options).
    pub size: u32,
    /// TROP_RELEASE_UNTAGGED_ONLY, TROP_RECURSIVE, TROP_REFUSE_UNRELATED_PATH and TROP_DRY_RUN combined.
    pub flags: u32,
    /// The path; NULL means the working directory.
    pub path: *const c_char,
    /// Only the reservation with this tag; NULL means all of the path, tagged or not.
    pub tag: *const c_char,
}

// SAFETY: two 32-bit fields before two pointers: no padding.
unsafe impl Options for trop_release_options {
    const FLAGS: u32 =
        TROP_RELEASE_UNTAGGED_ONLY | TROP_RECURSIVE | TROP_REFUSE_UNRELATED_PATH | TROP_DRY_RUN;
    const DEFAULT: Self =
        trop_release_options { size: size::<Self>(), flags: 0, path: ptr::null(), tag: ptr::null() };
}

/// Initialises options with their defaults, as TROP_RESERVE_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_reserve_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reserve_options_init(options: *mut trop_reserve_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { options::initialise(options, size) }
}

/// Initialises options with their defaults, as TROP_RELEASE_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_release_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_release_options_init(options: *mut trop_release_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { options::initialise(options, size) }
}

/// Reserves the port of a key (path and tag): the one it has, else the preferred one if it is usable, else
/// the lowest usable one of the range. If no port of the range is usable, the range is cleaned up first, as
/// far as that is not switched off; trop_reservation_cleanup tells what was removed.
///
/// registry: the registry.
/// options: what to reserve; NULL means the working directory without a tag.
/// reservation: receives the reservation; free it with trop_reservation_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_EXHAUSTED, TROP_ERR_BUSY, TROP_ERR_UNRELATED_PATH,
/// TROP_ERR_STICKY_FIELD, TROP_ERR_CONFIG, TROP_ERR_CLOSED or a database error. After a failure the registry
/// is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reserve(
    registry: *mut trop_registry,
    options: *const trop_reserve_options,
    reservation: *mut *mut trop_reservation,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("reservation", reservation), error, |registry| {
            let options = options::read(options)?;
            let reserved = dry_run_if_asked(registry, options.flags)?.reserve(&request(&options)?)?;
            Ok(trop_reservation::from(reserved).into_raw())
        })
    }
}

/// # Safety
/// The strings are NULL or NUL-terminated.
unsafe fn request(options: &trop_reserve_options) -> Result<ReserveRequest> {
    let has = |flag| options.flags & flag != 0;
    let mut request = ReserveRequest::default();
    // SAFETY: the caller's promise.
    unsafe {
        request.path = arguments::path("path", options.path)?;
        request.tag = arguments::text("tag", options.tag)?.map(Tag::new).transpose()?;
        let project = arguments::text("project", options.project)?.map(str::to_owned);
        request.project = Field::new("clear_project", project, has(TROP_RESERVE_CLEAR_PROJECT))?;
        let task = arguments::text("task", options.task)?.map(str::to_owned);
        request.task = Field::new("clear_task", task, has(TROP_RESERVE_CLEAR_TASK))?;
    }
    request.preferred = arguments::port("port", options.port)?;
    request.min = arguments::port("min", options.min)?;
    request.max = arguments::port("max", options.max)?;
    request.occupancy = occupancy(options.flags)?;
    request.overwrite = has(TROP_RESERVE_OVERWRITE);
    request.ignore_occupied = has(TROP_RESERVE_IGNORE_OCCUPIED);
    request.ignore_exclusions = has(TROP_RESERVE_IGNORE_EXCLUSIONS);
    request.disable_autoprune = has(TROP_RESERVE_DISABLE_AUTOPRUNE);
    request.disable_autoexpire = has(TROP_RESERVE_DISABLE_AUTOEXPIRE);
    request.allow_unrelated_path = !has(TROP_REFUSE_UNRELATED_PATH);
    request.allow_project_change = has(TROP_ALLOW_PROJECT_CHANGE);
    request.allow_task_change = has(TROP_ALLOW_TASK_CHANGE);
    request.force = has(TROP_FORCE);
    Ok(request)
}

/// Releases reservations of one path, so that their ports can be given out again. If there is nothing to
/// release, the call succeeds. This gives the ports back; trop_reservation_free only frees the memory of a
/// reservation's description.
///
/// registry: the registry.
/// options: which reservations; NULL means every reservation of the working directory.
/// count: receives how many were released; may be NULL.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_UNRELATED_PATH, TROP_ERR_CLOSED or a
/// database error. After a failure the registry is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_release(
    registry: *mut trop_registry,
    options: *const trop_release_options,
    count: *mut u64,
    error: *mut *mut trop_error,
) -> i32 {
    let mut unasked = 0;
    let count = if count.is_null() { &raw mut unasked } else { count };
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("count", count), error, |registry| {
            let options = options::read(options)?;
            let has = |flag| options.flags & flag != 0;
            let mut request = ReleaseRequest::default();
            request.path = arguments::path("path", options.path)?;
            request.tag = arguments::text("tag", options.tag)?.map(Tag::new).transpose()?;
            request.untagged_only = has(TROP_RELEASE_UNTAGGED_ONLY);
            request.recursive = has(TROP_RECURSIVE);
            request.allow_unrelated_path = !has(TROP_REFUSE_UNRELATED_PATH);
            Ok(dry_run_if_asked(registry, options.flags)?.release(&request)? as u64)
        })
    }
}

/// Releases a port, whatever path and tag it is reserved for. If there is nothing to release, the call
/// succeeds.
///
/// registry: the registry.
/// port: the port, 1 to 65535.
/// flags: TROP_FORCE (also end the lease of a program that is running) and TROP_DRY_RUN combined.
/// count: receives how many were released, 0 or 1; may be NULL.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_CONFLICT when a program that is running leases the
/// port, TROP_ERR_BUSY, TROP_ERR_CLOSED or a database error. After a failure the registry is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_release_port(
    registry: *mut trop_registry,
    port: i32,
    flags: u32,
    count: *mut u64,
    error: *mut *mut trop_error,
) -> i32 {
    let mut unasked = 0;
    let count = if count.is_null() { &raw mut unasked } else { count };
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("count", count), error, |registry| {
            arguments::known_flags(flags, TROP_FORCE | TROP_DRY_RUN)?;
            let port = Port::new("port", i64::from(port))?;
            let released = dry_run_if_asked(registry, flags)?.release_port(port, flags & TROP_FORCE != 0)?;
            Ok(u64::from(released.is_some()))
        })
    }
}
