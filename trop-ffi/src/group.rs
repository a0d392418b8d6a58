//! Reserving a group.

use std::ffi::c_char;
use std::ptr;

use trop_core::{GroupFormat, GroupKey, GroupRequest, ReservedGroup};

use crate::arguments;
use crate::error::trop_error;
use crate::flags::{
    OCCUPANCY, TROP_ALLOW_PROJECT_CHANGE, TROP_ALLOW_TASK_CHANGE, TROP_DRY_RUN, TROP_FORCE,
    TROP_REFUSE_UNRELATED_PATH, dry_run_if_asked, occupancy,
};
use crate::options::{self, Options, size};
use crate::registry::{call_on, trop_registry};
use crate::strings::c_string;

/// Name the ports by their environment variables instead of by their tags.
pub const TROP_GROUP_BY_VARIABLE: u32 = 1;

/// Which group to reserve. Initialise with TROP_GROUP_OPTIONS_INIT or trop_group_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct trop_group_options {
    /// sizeof(trop_group_options).
    pub size: u32,
    /// TROP_GROUP_BY_VARIABLE, TROP_REFUSE_UNRELATED_PATH, TROP_ALLOW_*, TROP_FORCE (any path, any change,
    /// and replace tagged reservations of the path that are not this group), TROP_SKIP_*,
    /// TROP_CHECK_* and TROP_DRY_RUN combined.
    pub flags: u32,
    /// The configuration file that defines the group; NULL means the one the registry found when it was
    /// opened.
    pub file: *const c_char,
    /// The task to store, which changes a stored one only if that is allowed; NULL means that of the
    /// configuration, else the stored one, else for a new group what git says.
    pub task: *const c_char,
}

// SAFETY: two 32-bit fields before two pointers: no padding.
unsafe impl Options for trop_group_options {
    const FLAGS: u32 = TROP_GROUP_BY_VARIABLE
        | TROP_REFUSE_UNRELATED_PATH
        | TROP_ALLOW_PROJECT_CHANGE
        | TROP_ALLOW_TASK_CHANGE
        | TROP_FORCE
        | TROP_DRY_RUN
        | OCCUPANCY;
    const DEFAULT: Self =
        trop_group_options { size: size::<Self>(), flags: 0, file: ptr::null(), task: ptr::null() };
}

/// Initialises options with their defaults, as TROP_GROUP_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_group_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_group_options_init(options: *mut trop_group_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { options::initialise(options, size) }
}

/// Reserves one port for each service of a group, all or none. A group that is reserved keeps its ports.
/// Otherwise each service gets its preferred port if that is usable, and the others get the lowest usable
/// ports at their offsets from a common base. The reservations belong to the directory of the file, each with
/// the tag of its service.
///
/// registry: the registry.
/// options: which group; NULL means that of the configuration the registry found when it was opened.
/// json: receives an object from tags (or variables) to ports, the same text as `trop reserve-group --format
/// json` prints; free it with trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_NOT_FOUND when no group is defined, TROP_ERR_CONFLICT
/// when tagged reservations of the path are not this group, TROP_ERR_EXHAUSTED, TROP_ERR_BUSY,
/// TROP_ERR_UNRELATED_PATH, TROP_ERR_STICKY_FIELD, TROP_ERR_CONFIG, TROP_ERR_CLOSED or a database error.
/// After a failure the registry is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reserve_group(
    registry: *mut trop_registry,
    options: *const trop_group_options,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("json", json), error, |registry| {
            let options = options::read(options)?;
            let has = |flag| options.flags & flag != 0;
            let mut request = GroupRequest::default();
            request.file = arguments::path("file", options.file)?;
            request.task = arguments::text("task", options.task)?.map(str::to_owned);
            request.occupancy = occupancy(options.flags)?;
            request.allow_unrelated_path = !has(TROP_REFUSE_UNRELATED_PATH);
            request.allow_project_change = has(TROP_ALLOW_PROJECT_CHANGE);
            request.allow_task_change = has(TROP_ALLOW_TASK_CHANGE);
            request.force = has(TROP_FORCE);
            let key = if has(TROP_GROUP_BY_VARIABLE) { GroupKey::Variable } else { GroupKey::Tag };
            let format = |group: &ReservedGroup| group.format(GroupFormat::Json(key));
            let (_, text) =
                dry_run_if_asked(registry, options.flags)?.reserve_group_with(&request, format)?;
            Ok(c_string(text).into_raw())
        })
    }
}
