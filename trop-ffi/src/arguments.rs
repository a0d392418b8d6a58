//! Reading what C callers pass in, and refusing what they may not.

use std::ffi::{CStr, c_char};
use std::path::PathBuf;

use trop_core::{Error, Port, Result};

/// The number that stands for "not given" in every `i32` argument and field.
pub(crate) const NOT_GIVEN: i32 = -1;

/// The error for an argument that is wrong in a way the core never gets to see.
pub(crate) fn invalid(argument: &'static str, reason: impl Into<String>) -> Error {
    Error::InvalidArgument { argument, reason: reason.into() }
}

/// The error for a required argument that is NULL.
pub(crate) fn null(argument: &'static str) -> Error {
    invalid(argument, "Cannot be NULL")
}

/// A required object; NULL is refused.
///
/// # Safety
/// `pointer` is NULL, or points to an object that nobody frees before the call ends.
pub(crate) unsafe fn object<'a, T>(argument: &'static str, pointer: *const T) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(argument))
}

/// Stores what `make` returns in a required out-parameter. The out-parameter has the value `empty` before
/// `make` runs and after a failure.
///
/// # Safety
/// `place` is NULL or writable.
pub(crate) unsafe fn fill<T>(
    argument: &'static str,
    place: *mut T,
    empty: T,
    make: impl FnOnce() -> Result<T>,
) -> Result<()> {
    // SAFETY: the caller's promise.
    let place = unsafe { place.as_mut() }.ok_or_else(|| null(argument))?;
    *place = empty;
    *place = make()?;
    Ok(())
}

/// Optional text; NULL means none.
///
/// # Safety
/// `pointer` is NULL, or a NUL-terminated string that lives until the end of the call.
pub(crate) unsafe fn text<'a>(argument: &'static str, pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| invalid(argument, "it is not valid UTF-8"))
}

/// An optional path; NULL means none. On Unix any bytes are accepted: the core decides whether it needs
/// UTF-8.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn path(argument: &'static str, pointer: *const c_char) -> Result<Option<PathBuf>> {
    #[cfg(unix)]
    if !pointer.is_null() {
        use std::os::unix::ffi::OsStrExt;
        // SAFETY: the caller's promise.
        let bytes = unsafe { CStr::from_ptr(pointer) }.to_bytes();
        return Ok(Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes))));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { text(argument, pointer) }?.map(PathBuf::from))
}

/// An optional port; -1 means none.
pub(crate) fn port(argument: &'static str, number: i32) -> Result<Option<Port>> {
    if number == NOT_GIVEN { Ok(None) } else { Port::new(argument, i64::from(number)).map(Some) }
}

/// Refuses flags that a call does not take.
pub(crate) fn known_flags(flags: u32, known: u32) -> Result<()> {
    match flags & !known {
        0 => Ok(()),
        unknown => Err(invalid("flags", format!("unknown flags {unknown:#x}"))),
    }
}
