//! Status codes, the error object, and how a result becomes both.

use std::ffi::{CString, c_char};
use std::ptr;

use trop_core::{Error, Result, contain};

use crate::strings::{as_pointer, c_string};

/// Success.
pub const TROP_OK: i32 = 0;
/// An argument is not acceptable; trop_error_argument names it.
pub const TROP_ERR_INVALID_ARGUMENT: i32 = -1;
/// No port of the range is usable.
pub const TROP_ERR_EXHAUSTED: i32 = -2;
/// The wait for the database lock ran out.
pub const TROP_ERR_BUSY: i32 = -3;
/// What was asked for does not exist.
pub const TROP_ERR_NOT_FOUND: i32 = -4;
/// Another reservation, a live lease or another program's rule in the database is in the way.
pub const TROP_ERR_CONFLICT: i32 = -5;
/// The stored project or task differs and may not be changed.
pub const TROP_ERR_STICKY_FIELD: i32 = -6;
/// The path is neither above nor below the working directory.
pub const TROP_ERR_UNRELATED_PATH: i32 = -7;
/// The effective configuration is invalid.
pub const TROP_ERR_CONFIG: i32 = -8;
/// The database is damaged or is no database.
pub const TROP_ERR_CORRUPT: i32 = -9;
/// The database has a schema that this version does not support.
pub const TROP_ERR_SCHEMA: i32 = -10;
/// There is no database and creating one is switched off.
pub const TROP_ERR_NO_DATA_DIR: i32 = -11;
/// The operating system refused an operation; see trop_error_errno.
pub const TROP_ERR_IO: i32 = -12;
/// Not supported on this platform or file system.
pub const TROP_ERR_UNSUPPORTED: i32 = -13;
/// The handle was closed.
pub const TROP_ERR_CLOSED: i32 = -14;
/// Nothing listened in time.
pub const TROP_ERR_NOT_LISTENING: i32 = -15;
/// Another copy of SQLite in this process has the database open.
pub const TROP_ERR_SECOND_COPY: i32 = -16;
/// A bug in trop itself; the handle can no longer be used.
pub const TROP_ERR_PANIC: i32 = -99;

/// What went wrong in one call, owned by the caller.
pub struct trop_error {
    code: i32,
    name: CString,
    message: CString,
    argument: Option<CString>,
    errno: i32,
}

impl From<&Error> for trop_error {
    fn from(error: &Error) -> trop_error {
        trop_error {
            code: error.code().number(),
            name: c_string(error.code().name()),
            message: c_string(error.to_string()),
            argument: error.argument().map(c_string),
            errno: error.errno().unwrap_or(0),
        }
    }
}

/// Runs a call that has no registry to poison. A panic becomes `TROP_ERR_PANIC`, because it must not unwind
/// into C.
///
/// # Safety
/// As [`report`].
pub(crate) unsafe fn call(error: *mut *mut trop_error, body: impl FnOnce() -> Result<()>) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { report(error, contain(body)) }
}

/// Turns the result of a call into its status, and stores the error object if the caller wants one.
///
/// # Safety
/// `error` is NULL, or points to a writable pointer.
pub(crate) unsafe fn report(error: *mut *mut trop_error, result: Result<()>) -> i32 {
    let failure = result.err();
    // SAFETY: the caller's promise.
    if let Some(place) = unsafe { error.as_mut() } {
        let object = failure.as_ref().map(|failure| Box::new(trop_error::from(failure)));
        *place = object.map_or(ptr::null_mut(), Box::into_raw);
    }
    failure.map_or(TROP_OK, |failure| failure.code().number())
}

/// The status code of an error, one of TROP_ERR_*.
///
/// error: the error, or NULL.
///
/// Returns the code; TROP_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_error_code(error: *const trop_error) -> i32 {
    // SAFETY: NULL or a live error.
    unsafe { error.as_ref() }.map_or(TROP_OK, |error| error.code)
}

/// The stable name of an error's code, such as "TROP_EXHAUSTED", the same in every language.
///
/// error: the error, or NULL.
///
/// Returns a string that lives as long as the error; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_error_name(error: *const trop_error) -> *const c_char {
    // SAFETY: NULL or a live error.
    as_pointer(unsafe { error.as_ref() }.map(|error| &error.name))
}

/// What happened, in words for people. Not stable: decide by the code.
///
/// error: the error, or NULL.
///
/// Returns a string that lives as long as the error; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_error_message(error: *const trop_error) -> *const c_char {
    // SAFETY: NULL or a live error.
    as_pointer(unsafe { error.as_ref() }.map(|error| &error.message))
}

/// The name of the argument or setting to blame, the same in every language, such as "tag" or "busy_timeout".
///
/// error: the error, or NULL.
///
/// Returns a string that lives as long as the error; NULL when no argument is to blame, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_error_argument(error: *const trop_error) -> *const c_char {
    // SAFETY: NULL or a live error.
    as_pointer(unsafe { error.as_ref() }.and_then(|error| error.argument.as_ref()))
}

/// The operating system's error number behind TROP_ERR_IO.
///
/// error: the error, or NULL.
///
/// Returns the number; 0 when there is none, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_error_errno(error: *const trop_error) -> i32 {
    // SAFETY: NULL or a live error.
    unsafe { error.as_ref() }.map_or(0, |error| error.errno)
}

/// Frees an error. NULL is allowed.
///
/// error: the error; it and its strings are gone afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_error_free(error: *mut trop_error) {
    if !error.is_null() {
        // SAFETY: it came from `Box::into_raw` and is freed once.
        drop(unsafe { Box::from_raw(error) });
    }
}
