//! Text across the boundary: UTF-8, ended by NUL.

use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use serde_json::Value;
use trop_core::Result;

use crate::error::invalid;

/// Text that callers borrow; an inner NUL, which C cannot see, ends it.
pub(crate) fn c_string(text: impl Into<Vec<u8>>) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let end = error.nul_position();
        CString::new(&error.into_vec()[..end]).unwrap_or_default()
    })
}

/// Text that callers borrow if they ask for it, which most do not: the copy that ends with a NUL is made by then. No lock is
/// involved, which a child made by fork could find held.
pub(crate) struct LazyText {
    text: String,
    copy: AtomicPtr<c_char>,
}

impl LazyText {
    /// A borrowed pointer to text that may be absent.
    pub(crate) fn as_pointer(text: Option<&LazyText>) -> *const c_char {
        text.map_or(ptr::null(), LazyText::copy)
    }

    fn copy(&self) -> *const c_char {
        let made = self.copy.load(Ordering::Acquire);
        if !made.is_null() {
            return made;
        }
        let made = c_string(self.text.as_str()).into_raw();
        match self.copy.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(first) => {
                // SAFETY: it came from `into_raw` above, and another thread was first.
                drop(unsafe { CString::from_raw(made) });
                first
            }
        }
    }
}

impl From<String> for LazyText {
    fn from(text: String) -> LazyText {
        LazyText { text, copy: AtomicPtr::default() }
    }
}

impl Drop for LazyText {
    fn drop(&mut self) {
        let copy = *self.copy.get_mut();
        if !copy.is_null() {
            // SAFETY: it came from `into_raw` and is freed once.
            drop(unsafe { CString::from_raw(copy) });
        }
    }
}

/// A borrowed pointer to text that may be absent.
pub(crate) fn as_pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

/// Optional text of the caller; NULL is none.
///
/// # Safety
/// NULL, or a NUL-terminated string that lives until the end of the call.
pub(crate) unsafe fn text<'a>(argument: &'static str, pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| invalid(argument, "it is not valid UTF-8"))
}

/// An optional path of the caller; NULL is none. Whether it has to be UTF-8 is not decided here.
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

/// JSON text for the caller to keep.
pub(crate) fn json(value: &Value) -> *mut c_char {
    // JSON escapes NUL, so this never cuts anything off.
    c_string(value.to_string()).into_raw()
}

/// Frees a string that a call handed out, such as the JSON text of trop_list. NULL is allowed.
///
/// string: the string; it is gone afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: it came from `CString::into_raw` and is freed once.
        drop(unsafe { CString::from_raw(string) });
    }
}
