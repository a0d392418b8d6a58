//! Text that goes out to C callers: UTF-8 that ends with NUL.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use serde_json::Value;

/// Text as a C string. C reads up to the first NUL, so text with a NUL inside is cut there.
pub(crate) fn c_string(text: impl Into<Vec<u8>>) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let end = error.nul_position();
        CString::new(&error.into_vec()[..end]).unwrap_or_default()
    })
}

/// Text whose NUL-terminated copy is made when a caller first asks for it: most never ask. An atomic and no
/// lock, because a forked child could find a lock held by a thread that it does not have.
pub(crate) struct LazyText {
    text: String,
    copy: AtomicPtr<c_char>,
}

impl LazyText {
    /// A pointer to text that its object keeps; NULL if there is none.
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

/// A pointer to text that its object keeps; NULL if there is none.
pub(crate) fn as_pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

/// JSON text that the caller owns.
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
