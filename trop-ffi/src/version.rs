//! Which library this is.

use std::ffi::c_char;

use crate::abi::TROP_ABI_VERSION;

/// The major number of the library's version.
pub const TROP_VERSION_MAJOR: u32 = 0;
/// The minor number of the library's version.
pub const TROP_VERSION_MINOR: u32 = 1;
/// The patch number of the library's version.
pub const TROP_VERSION_PATCH: u32 = 0;

/// The version of the library that is running, such as "0.1.0".
///
/// Compare it with TROP_VERSION_MAJOR and the like, which are those of the header.
///
/// Returns a string that lives as long as the process.
#[unsafe(no_mangle)]
pub extern "C" fn trop_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of the SQLite inside the library, such as "3.54.0".
///
/// Returns a string that lives as long as the process.
#[unsafe(no_mangle)]
pub extern "C" fn trop_sqlite_version() -> *const c_char {
    trop_core::SQLITE_VERSION.as_ptr()
}

/// The number of the binary interface of the library that is running.
///
/// A program works with it if the number equals the TROP_ABI_VERSION it was compiled with.
#[unsafe(no_mangle)]
pub extern "C" fn trop_abi_version() -> u32 {
    TROP_ABI_VERSION
}
