//! A VFS that wraps SQLite's own, with three differences: a transaction is written to the write-ahead log
//! (WAL) in one write, a short log is kept for the next program, and a database file is not truncated to the
//! length that it already has. docs/design.md has the argument why no committed reservation can be lost by
//! it.

mod database;
mod format;
pub(crate) mod reusable_wal;
mod wal;

use std::ffi::{CStr, c_char, c_int};
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use rusqlite::ffi::{
    SQLITE_ERROR, SQLITE_OK, SQLITE_OPEN_CREATE, SQLITE_OPEN_MAIN_DB, SQLITE_OPEN_WAL, sqlite3_file,
    sqlite3_filename, sqlite3_vfs, sqlite3_vfs_find, sqlite3_vfs_register,
};

use wal::Wal;

const NAME: &CStr = c"trop";

/// The name of the VFS, which is registered by the first call.
pub(crate) fn name() -> &'static CStr {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: null asks for the default VFS. It lives as long as the process, and so does the copy, which
        // is never moved. A copy works as the original does, because the methods of SQLite's VFS read only
        // `pAppData` and `mxPathname` of the structure that they are given.
        unsafe {
            let original = sqlite3_vfs_find(std::ptr::null());
            if original.is_null() {
                return;
            }
            ORIGINAL.store(original, Ordering::SeqCst);
            let mut vfs = *original;
            vfs.zName = NAME.as_ptr();
            vfs.pNext = std::ptr::null_mut();
            vfs.xOpen = Some(open);
            #[cfg(unix)]
            {
                vfs.xDelete = Some(delete);
            }
            vfs.szOsFile =
                vfs.szOsFile.saturating_add(c_int::try_from(size_of::<Wal>()).unwrap_or(c_int::MAX));
            // If this fails, opening a database reports that there is no such VFS.
            sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0);
        }
    });
    NAME
}

/// The VFS that was SQLite's default when ours was made of it.
static ORIGINAL: AtomicPtr<sqlite3_vfs> = AtomicPtr::new(std::ptr::null_mut());

unsafe extern "C" fn open(
    _vfs: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let original = ORIGINAL.load(Ordering::SeqCst);
    // SAFETY: SQLite passes `szOsFile` bytes, which are enough for a `Wal` with the original's file behind
    // it, and a name that is valid for the call.
    unsafe {
        let Some(open) = original.as_ref().and_then(|original| original.xOpen) else { return SQLITE_ERROR };
        if flags & SQLITE_OPEN_WAL == 0 {
            let status = open(original, name, file, flags, out_flags);
            if status == SQLITE_OK && flags & SQLITE_OPEN_MAIN_DB != 0 {
                database::wrap_methods(file);
            }
            return status;
        }
        let inner = file.byte_add(size_of::<Wal>());
        let open = |flags| {
            (*inner).pMethods = std::ptr::null();
            let status = open(original, name, inner, flags, out_flags);
            if status == SQLITE_OK {
                Wal::put(file, inner, path(name).map(Path::to_path_buf));
            } else {
                // SQLite closes any file that has methods, even if opening it failed, so the inner file is
                // closed here.
                if let Some(close) = (*inner).pMethods.as_ref().and_then(|methods| methods.xClose) {
                    close(inner);
                }
                (*file).pMethods = std::ptr::null();
            }
            status
        };
        // A log that was kept exists already. Without the flag the original VFS does not sync the directory
        // either.
        if open(flags & !SQLITE_OPEN_CREATE) == SQLITE_OK {
            if wal::has_mark(file) {
                return SQLITE_OK;
            }
            wal::close(file);
        }
        open(flags)
    }
}

#[cfg(unix)]
unsafe extern "C" fn delete(_vfs: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    let original = ORIGINAL.load(Ordering::SeqCst);
    // SAFETY: SQLite gives a name that is valid for the call.
    unsafe {
        if path(name).is_some_and(|path| reusable_wal::keep(path).unwrap_or(false)) {
            return SQLITE_OK;
        }
        let Some(delete) = original.as_ref().and_then(|original| original.xDelete) else {
            return SQLITE_ERROR;
        };
        delete(original, name, sync)
    }
}

/// A file name that SQLite passes: any bytes on Unix, UTF-8 elsewhere.
///
/// # Safety
/// The name is null or NUL-terminated, and it lives for `'n`.
unsafe fn path<'n>(name: *const c_char) -> Option<&'n Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(name) };
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        Some(Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())))
    }
    #[cfg(not(unix))]
    {
        name.to_str().ok().map(Path::new)
    }
}
