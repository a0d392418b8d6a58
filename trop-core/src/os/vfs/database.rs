//! The database file. It works as SQLite's own, except that it is not truncated to the length that it already
//! has.
//!
//! After a checkpoint SQLite always sets the file's length, which seldom changes it. The file system counts
//! that as a change all the same and writes it to its journal, so that the sync takes longer.

use std::ffi::c_int;
use std::sync::OnceLock;

use rusqlite::ffi::{SQLITE_ERROR, SQLITE_OK, sqlite3_file, sqlite3_int64, sqlite3_io_methods};

/// The methods of database files: those of the original VFS, and a copy of them with our `xTruncate`.
static METHODS: OnceLock<(&'static sqlite3_io_methods, sqlite3_io_methods)> = OnceLock::new();

/// Gives an open database file our methods, which are called with the original's file.
///
/// # Safety
/// The original VFS has opened the file; its methods live as long as the process.
pub(super) unsafe fn wrap_methods(file: *mut sqlite3_file) {
    // SAFETY: as above.
    unsafe {
        let Some(original) = (*file).pMethods.as_ref() else { return };
        let (known, ours) =
            METHODS.get_or_init(|| (original, sqlite3_io_methods { xTruncate: Some(truncate), ..*original }));
        // SQLite has a set of methods for each kind of file lock; in practice all files have the same. Files
        // with another set are left as they are.
        if std::ptr::eq(*known, original) {
            (*file).pMethods = ours;
        }
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    let Some((original, _)) = METHODS.get() else { return SQLITE_ERROR };
    let (Some(file_size), Some(truncate)) = (original.xFileSize, original.xTruncate) else {
        return SQLITE_ERROR;
    };
    let mut now = -1;
    // SAFETY: the file is the original's own, as SQLite gives it.
    unsafe {
        if file_size(file, &raw mut now) == SQLITE_OK && now == size {
            return SQLITE_OK;
        }
        truncate(file, size)
    }
}
