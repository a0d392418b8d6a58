//! What a run that is over in a millisecond need not do at its start.

#![allow(unsafe_code, reason = "a symbol of the C library is defined")]

use std::ffi::{c_int, c_ulong, c_void};

/// Where the stack of a thread is: not told here, which this function of the C library may do.
///
/// Rust's runtime asks at the start of the program, to say in words that the stack has overflowed beside the signal that
/// ends it. The answer of the GNU C library takes a tenth of that start: it reads and parses `/proc/self/maps`.
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np(_thread: c_ulong, _attributes: *mut c_void) -> c_int {
    const ENOSYS: c_int = 38;
    ENOSYS
}
