//! The write-ahead log (WAL). A transaction is written to it in one write, instead of two for each page.
//!
//! By default SQLite makes two system calls for every page, one for its header of 24 bytes and one for the
//! page. They are most of the cost of a small transaction. Here the bytes are buffered. They are written with
//! the last page of the transaction at the latest, before that call returns, so nothing is published to other
//! processes, and no lock is released, before it is in the file. The order of the bytes is the same, and so
//! is every error.
//!
//! The buffer must not outlive the write lock. SQLite writes all pages of a transaction in a row as long as
//! it never spills some to the log early, so a connection that uses this has to set `PRAGMA cache_spill =
//! OFF`.

use std::ffi::{c_int, c_void};
use std::path::PathBuf;

use rusqlite::ffi::{SQLITE_ERROR, SQLITE_OK, sqlite3_file, sqlite3_int64, sqlite3_io_methods};

use super::format::{FRAME_HEADER, LOG_HEADER};
#[cfg(unix)]
use super::reusable_wal;

/// The size of the buffer in bytes: that of the largest possible page, because SQLite's Unix VFS cannot write
/// 128 KiB at once. A larger transaction is written in several pieces.
const MOST_BYTES: usize = 65536;

/// An open log, in memory that SQLite allocates. The file structure of the original VFS follows it there.
#[repr(C)]
pub(super) struct Wal {
    /// The part that SQLite knows; has to come first.
    base: sqlite3_file,
    /// The file of the original VFS.
    file: *mut sqlite3_file,
    /// What is still to be written, and its offset in the file.
    buffer: Vec<u8>,
    start: sqlite3_int64,
    /// The offset of the page that the last header was for, and whether that page ends a transaction.
    page: Option<sqlite3_int64>,
    is_last: bool,
    /// The size of a page with its header, once it is known.
    frame: Option<sqlite3_int64>,
    /// Whether the last write was a log header that replaced the mark of a kept log.
    replaced_mark: bool,
    path: Option<PathBuf>,
}

impl Wal {
    /// Makes an open log of a file that the original VFS has opened.
    ///
    /// # Safety
    /// `file` is memory from SQLite with room for a `Wal`. The original VFS has opened `inner`, which is
    /// never moved.
    pub(super) unsafe fn put(file: *mut sqlite3_file, inner: *mut sqlite3_file, path: Option<PathBuf>) {
        let log = Wal {
            base: sqlite3_file { pMethods: &raw const METHODS },
            file: inner,
            buffer: Vec::new(),
            start: 0,
            page: None,
            is_last: false,
            frame: None,
            replaced_mark: false,
            path,
        };
        // SAFETY: as above.
        unsafe { file.cast::<Wal>().write(log) };
    }

    /// Writes the buffer, then calls a method of the original VFS.
    fn call(
        &mut self,
        method: impl FnOnce(&sqlite3_io_methods, *mut sqlite3_file) -> Option<c_int>,
    ) -> c_int {
        match self.flush() {
            SQLITE_OK => self.call_unbuffered(method),
            error => error,
        }
    }

    fn call_unbuffered(
        &self,
        method: impl FnOnce(&sqlite3_io_methods, *mut sqlite3_file) -> Option<c_int>,
    ) -> c_int {
        // SAFETY: the original has opened the file, and its methods live as long as the process.
        let methods = unsafe { (*self.file).pMethods.as_ref() };
        methods.and_then(|methods| method(methods, self.file)).unwrap_or(SQLITE_ERROR)
    }

    fn write(&mut self, bytes: &[u8], offset: sqlite3_int64) -> c_int {
        let replaces_mark = offset == 0 && bytes.len() == LOG_HEADER && self.has_mark();
        let status = self.write_buffered(bytes, offset);
        // SQLite does not sync a header whose write failed.
        self.replaced_mark = replaces_mark && status == SQLITE_OK;
        status
    }

    fn write_buffered(&mut self, bytes: &[u8], offset: sqlite3_int64) -> c_int {
        let is_header = bytes.len() == FRAME_HEADER && self.may_begin_frame(offset);
        if self.frame.is_none() && !is_header && self.page == Some(offset) {
            self.frame = sqlite3_int64::try_from(FRAME_HEADER + bytes.len()).ok();
        }
        let is_too_much = self.buffer.len() + bytes.len() > MOST_BYTES;
        let follows = self.end() == Some(offset);
        if is_too_much || !follows {
            match self.flush() {
                SQLITE_OK => {}
                error => return error,
            }
        }
        if is_header {
            if self.buffer.is_empty() {
                self.start = offset;
            }
            self.buffer.extend_from_slice(bytes);
            self.page = self.end();
            self.is_last = bytes[4..8] != [0; 4];
            SQLITE_OK
        } else if self.buffer.is_empty() {
            self.write_unbuffered(bytes, offset)
        } else {
            self.buffer.extend_from_slice(bytes);
            if self.is_last { self.flush() } else { SQLITE_OK }
        }
    }

    /// The mark of a log that was kept for this database.
    fn mark(&self) -> Option<[u8; LOG_HEADER]> {
        #[cfg(unix)]
        return reusable_wal::mark(self.path.as_deref()?);
        #[cfg(not(unix))]
        None
    }

    /// Whether the log begins with that mark.
    fn has_mark(&mut self) -> bool {
        let mut header = [0; LOG_HEADER];
        let Ok(size) = c_int::try_from(header.len()) else { return false };
        // SAFETY: there is room for as many bytes as are asked for.
        let status = self
            .call(|methods, file| unsafe { Some(methods.xRead?(file, header.as_mut_ptr().cast(), size, 0)) });
        status == SQLITE_OK && self.mark().is_some_and(|mark| header == mark)
    }

    /// Syncs the log. A header that replaced a mark is not synced, because it need not be on the disk before
    /// what follows it; see [`reusable_wal`].
    fn sync(&mut self, flags: c_int) -> c_int {
        if std::mem::take(&mut self.replaced_mark) {
            return SQLITE_OK;
        }
        // SAFETY: the flags are SQLite's.
        self.call(|methods, file| unsafe { Some(methods.xSync?(file, flags)) })
    }

    /// Whether a page's header can be at this offset. Not every write of that length is a header: with some
    /// settings a transaction is padded to a whole sector, and the padding is written in two parts.
    fn may_begin_frame(&self, offset: sqlite3_int64) -> bool {
        let header = sqlite3_int64::try_from(LOG_HEADER).unwrap_or(0);
        self.frame.is_none_or(|frame| (offset - header) % frame == 0)
    }

    /// The offset of the buffer's end.
    fn end(&self) -> Option<sqlite3_int64> {
        let length = sqlite3_int64::try_from(self.buffer.len()).ok()?;
        (length > 0).then_some(self.start + length)
    }

    /// Writes and empties the buffer. It is emptied even if the write fails, because the transaction fails
    /// then.
    fn flush(&mut self) -> c_int {
        if self.buffer.is_empty() {
            return SQLITE_OK;
        }
        let status = self.write_unbuffered(&self.buffer, self.start);
        self.buffer.clear();
        status
    }

    fn write_unbuffered(&self, bytes: &[u8], offset: sqlite3_int64) -> c_int {
        let Ok(size) = c_int::try_from(bytes.len()) else { return SQLITE_ERROR };
        // SAFETY: the slice is valid for the call.
        self.call_unbuffered(|methods, file| unsafe {
            Some(methods.xWrite?(file, bytes.as_ptr().cast(), size, offset))
        })
    }
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // Version 1 of the methods: a log has no shared memory and is not mapped.
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Returns the log that SQLite refers to by `file`.
///
/// # Safety
/// The log was made by [`Wal::put`], and no other thread uses it meanwhile, which SQLite guarantees.
unsafe fn log<'f>(file: *mut sqlite3_file) -> &'f mut Wal {
    // SAFETY: as above.
    unsafe { &mut *file.cast::<Wal>() }
}

/// Whether an open log begins with the mark of this database.
///
/// # Safety
/// As for [`log`].
pub(super) unsafe fn has_mark(file: *mut sqlite3_file) -> bool {
    // SAFETY: as above.
    unsafe { log(file).has_mark() }
}

pub(super) unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as for `log`; SQLite does not use the file any more.
    unsafe {
        let log = file.cast::<Wal>().read();
        // The buffer is empty, or has part of a transaction that was rolled back.
        log.call_unbuffered(|methods, file| Some(methods.xClose?(file)))
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    size: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: as for `log`; SQLite passes `size` valid bytes.
    unsafe {
        let size = usize::try_from(size).unwrap_or(0);
        log(file).write(std::slice::from_raw_parts(bytes.cast(), size), offset)
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as for `log`.
    unsafe { log(file).sync(flags) }
}

/// Methods that flush the buffer and call the original's.
macro_rules! forward {
    ($($name:ident = $method:ident($($argument:ident: $type:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: as for `log`; the arguments are passed on unchanged.
            unsafe { log(file).call(|methods, file| Some(methods.$method?(file $(, $argument)*))) }
        }
    )*};
}

forward! {
    read = xRead(bytes: *mut c_void, size: c_int, offset: sqlite3_int64);
    truncate = xTruncate(size: sqlite3_int64);
    file_size = xFileSize(size: *mut sqlite3_int64);
    lock = xLock(level: c_int);
    unlock = xUnlock(level: c_int);
    check_reserved_lock = xCheckReservedLock(is_reserved: *mut c_int);
    file_control = xFileControl(operation: c_int, argument: *mut c_void);
    sector_size = xSectorSize();
    device_characteristics = xDeviceCharacteristics();
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use rusqlite::ffi::{SQLITE_OPEN_WAL, sqlite3_vfs_find};

    use super::super::name;
    use super::*;

    fn connect(path: &std::path::Path) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = Connection::open_with_flags_and_vfs(path, flags, name()).unwrap();
        let setting = "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
                       PRAGMA cache_size = 10; PRAGMA cache_spill = OFF";
        connection.execute_batch(setting).unwrap();
        connection
    }

    fn insert(connection: &Connection, from: u32, count: u32) {
        for number in from..from + count {
            connection.execute("INSERT INTO t VALUES (?1, hex(zeroblob(200)))", [number]).unwrap();
        }
    }

    fn count(connection: &Connection) -> u32 {
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    /// Far more rows than fit into the cache or are written in one piece.
    const MANY: u32 = 2000;

    #[test]
    fn nothing_of_a_transaction_that_was_given_up_is_ever_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let (one, other) = (connect(&path), connect(&path));
        one.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)").unwrap();
        for (round, given_up) in (0..).zip([10, 40, 80, 200, MANY]) {
            one.execute_batch("BEGIN IMMEDIATE").unwrap();
            insert(&one, 1_000_000, given_up);
            one.execute_batch("ROLLBACK").unwrap();
            insert(&other, 20 * round, 10);
            assert_eq!(count(&one), 20 * round + 10);
            insert(&one, 20 * round + 10, 10);
            assert_eq!(count(&other), 20 * (round + 1));
        }
        drop((one, other));
        assert_eq!(count(&connect(&path)), 100);
    }

    #[test]
    fn others_see_a_large_transaction_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let (one, other) = (connect(&path), connect(&path));
        one.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
            .unwrap();
        one.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&one, 0, MANY);
        assert_eq!(count(&other), 0);
        one.execute_batch("COMMIT").unwrap();
        assert_eq!(count(&other), MANY);
        // As another program reads it, through SQLite's own VFS.
        let plain = Connection::open(&path).unwrap();
        assert_eq!(count(&plain), MANY);
    }

    /// As when a commit is padded to a whole sector: the last frame is written again, in two parts with a
    /// sync between them, and the second part is as short as a header.
    #[test]
    fn what_is_as_short_as_a_header_need_not_be_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = std::ffi::CString::new(directory.path().join("log").to_str().unwrap()).unwrap();
        let (header, page) = ([1; FRAME_HEADER], [2; 1024]);
        // SAFETY: as SQLite does it: memory of the size asked for, opened, used by one thread and closed.
        unsafe {
            let vfs = sqlite3_vfs_find(name().as_ptr());
            let size = usize::try_from((*vfs).szOsFile).unwrap();
            let mut memory = vec![0_u64; size.div_ceil(8)];
            let file = memory.as_mut_ptr().cast::<sqlite3_file>();
            let flags =
                SQLITE_OPEN_WAL | rusqlite::ffi::SQLITE_OPEN_READWRITE | rusqlite::ffi::SQLITE_OPEN_CREATE;
            assert_eq!(
                (*vfs).xOpen.unwrap()(vfs, path.as_ptr(), file, flags, std::ptr::null_mut()),
                SQLITE_OK
            );
            let put = |bytes: &[u8], offset: i64| {
                let size = c_int::try_from(bytes.len()).unwrap();
                assert_eq!(write(file, bytes.as_ptr().cast(), size, offset), SQLITE_OK);
            };
            put(&[0; 32], 0);
            for frame in [32, 32 + 1048] {
                put(&header, frame);
                put(&page, frame + 24);
            }
            put(&page[..1000], 32 + 1048 + 24);
            assert_eq!(sync(file, 2), SQLITE_OK);
            put(&page[1000..], 32 + 1048 + 1024);
            let length = std::fs::metadata(directory.path().join("log")).unwrap().len();
            assert_eq!(length, 32 + 2 * 1048, "all of it is written");
            assert_eq!(log(file).buffer, [0_u8; 0]);
            assert_eq!(close(file), SQLITE_OK);
        }
    }

    #[test]
    fn a_log_that_cannot_be_made_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        connect(&path).execute_batch("CREATE TABLE t (a)").unwrap();
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        std::fs::create_dir(log).unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = Connection::open_with_flags_and_vfs(&path, flags, name()).unwrap();
        let error = connection.execute("INSERT INTO t VALUES (1)", []).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::CannotOpen), "{error}");
    }
}
