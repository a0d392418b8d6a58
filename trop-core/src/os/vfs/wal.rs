//! A log: a transaction in one piece, not each page in two.
//!
//! By itself SQLite asks the operating system twice for every page, for the 24 bytes before it and for the page, which
//! makes up most of what a small transaction costs. Here what it writes to a log is collected and written at the latest
//! with the last page of the transaction, before that call returns: nothing is published to other processes, and no
//! lock is let go, before it is in the file. The order is the same and so is every error.
//!
//! What is collected must not outlive the write lock. SQLite writes all pages of a transaction in a row if it never
//! spills some to the log early, so a connection that uses this has to say `PRAGMA cache_spill = OFF`.

use std::ffi::{c_int, c_void};
use std::path::PathBuf;

use rusqlite::ffi::{SQLITE_ERROR, SQLITE_OK, sqlite3_file, sqlite3_int64, sqlite3_io_methods};

use super::format::{FRAME_HEADER, LOG_HEADER};
#[cfg(unix)]
use super::reusable_wal;

/// The largest page there is, and so the most that the original is otherwise asked to write at once: on Unix it cannot
/// write twice as much. A larger transaction is written in several pieces.
const MOST_BYTES: usize = 65536;

/// An open log, in memory that SQLite allocates. Behind it lies what the original VFS keeps of the file.
#[repr(C)]
pub(super) struct Wal {
    /// What SQLite knows of it; has to come first.
    base: sqlite3_file,
    /// The file as the original opened it.
    file: *mut sqlite3_file,
    /// What is collected, and where in the file it begins.
    collected: Vec<u8>,
    start: sqlite3_int64,
    /// Where the page comes that the last header was for, and whether it ends a transaction.
    page: Option<sqlite3_int64>,
    is_last: bool,
    /// The size of a page with its header, once it is known.
    frame: Option<sqlite3_int64>,
    /// Whether the last that was written is a header over the mark of a log that was kept.
    is_begun: bool,
    path: Option<PathBuf>,
}

impl Wal {
    /// Makes what SQLite knows of a log.
    ///
    /// # Safety
    /// There is room for a `Wal` at `file` and it is SQLite's; the original has opened `inner`, which stays where it is.
    pub(super) unsafe fn put(file: *mut sqlite3_file, inner: *mut sqlite3_file, path: Option<PathBuf>) {
        let log = Wal {
            base: sqlite3_file { pMethods: &raw const METHODS },
            file: inner,
            collected: Vec::new(),
            start: 0,
            page: None,
            is_last: false,
            frame: None,
            is_begun: false,
            path,
        };
        // SAFETY: as above.
        unsafe { file.cast::<Wal>().write(log) };
    }

    /// Calls a method of the original's file, after everything was written.
    fn call(
        &mut self,
        method: impl FnOnce(&sqlite3_io_methods, *mut sqlite3_file) -> Option<c_int>,
    ) -> c_int {
        match self.write_collected() {
            SQLITE_OK => self.call_at_once(method),
            error => error,
        }
    }

    fn call_at_once(
        &self,
        method: impl FnOnce(&sqlite3_io_methods, *mut sqlite3_file) -> Option<c_int>,
    ) -> c_int {
        // SAFETY: the original has opened the file, and its methods live as long as the process.
        let methods = unsafe { (*self.file).pMethods.as_ref() };
        methods.and_then(|methods| method(methods, self.file)).unwrap_or(SQLITE_ERROR)
    }

    fn write(&mut self, bytes: &[u8], offset: sqlite3_int64) -> c_int {
        let is_begun = offset == 0 && bytes.len() == LOG_HEADER && self.has_mark();
        let status = self.collect(bytes, offset);
        // If it failed, SQLite does not wait for it either.
        self.is_begun = is_begun && status == SQLITE_OK;
        status
    }

    fn collect(&mut self, bytes: &[u8], offset: sqlite3_int64) -> c_int {
        let is_header = bytes.len() == FRAME_HEADER && self.may_begin_frame(offset);
        if self.frame.is_none() && !is_header && self.page == Some(offset) {
            self.frame = sqlite3_int64::try_from(FRAME_HEADER + bytes.len()).ok();
        }
        let is_too_much = self.collected.len() + bytes.len() > MOST_BYTES;
        let follows = self.end() == Some(offset);
        if is_too_much || !follows {
            match self.write_collected() {
                SQLITE_OK => {}
                error => return error,
            }
        }
        if is_header {
            if self.collected.is_empty() {
                self.start = offset;
            }
            self.collected.extend_from_slice(bytes);
            self.page = self.end();
            self.is_last = bytes[4..8] != [0; 4];
            SQLITE_OK
        } else if self.collected.is_empty() {
            self.write_at_once(bytes, offset)
        } else {
            self.collected.extend_from_slice(bytes);
            if self.is_last { self.write_collected() } else { SQLITE_OK }
        }
    }

    /// The mark of a log that was kept with this database.
    fn mark(&self) -> Option<[u8; LOG_HEADER]> {
        #[cfg(unix)]
        return reusable_wal::mark(self.path.as_deref()?);
        #[cfg(not(unix))]
        None
    }

    /// Whether it has that.
    fn has_mark(&mut self) -> bool {
        let mut header = [0; LOG_HEADER];
        let Ok(size) = c_int::try_from(header.len()) else { return false };
        // SAFETY: there is room for as many bytes as are asked for.
        let status = self
            .call(|methods, file| unsafe { Some(methods.xRead?(file, header.as_mut_ptr().cast(), size, 0)) });
        status == SQLITE_OK && self.mark().is_some_and(|mark| header == mark)
    }

    /// Waits until everything is on the disk. A header that was written over a mark may get there with what follows it.
    fn sync(&mut self, flags: c_int) -> c_int {
        if std::mem::take(&mut self.is_begun) {
            return SQLITE_OK;
        }
        // SAFETY: the flags are SQLite's.
        self.call(|methods, file| unsafe { Some(methods.xSync?(file, flags)) })
    }

    /// Whether a header may stand there. Not all that is as short is one: with some settings a transaction is padded to a
    /// whole sector, and the padding is written in two parts.
    fn may_begin_frame(&self, offset: sqlite3_int64) -> bool {
        let header = sqlite3_int64::try_from(LOG_HEADER).unwrap_or(0);
        self.frame.is_none_or(|frame| (offset - header) % frame == 0)
    }

    /// Where what is collected ends in the file.
    fn end(&self) -> Option<sqlite3_int64> {
        let length = sqlite3_int64::try_from(self.collected.len()).ok()?;
        (length > 0).then_some(self.start + length)
    }

    /// Afterwards nothing is left to be written, also if that failed: the transaction fails with it.
    fn write_collected(&mut self) -> c_int {
        if self.collected.is_empty() {
            return SQLITE_OK;
        }
        let status = self.write_at_once(&self.collected, self.start);
        self.collected.clear();
        status
    }

    fn write_at_once(&self, bytes: &[u8], offset: sqlite3_int64) -> c_int {
        let Ok(size) = c_int::try_from(bytes.len()) else { return SQLITE_ERROR };
        // SAFETY: the slice is valid for the call.
        self.call_at_once(|methods, file| unsafe {
            Some(methods.xWrite?(file, bytes.as_ptr().cast(), size, offset))
        })
    }
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // The first version: logs are neither shared memory nor mapped.
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

/// The log that SQLite means.
///
/// # Safety
/// There is a log that was [put](Wal::put) there, and it is used by nobody else meanwhile, which SQLite warrants.
unsafe fn log<'f>(file: *mut sqlite3_file) -> &'f mut Wal {
    // SAFETY: as above.
    unsafe { &mut *file.cast::<Wal>() }
}

/// Whether a log that is open was kept with this database.
///
/// # Safety
/// As for [`log`].
pub(super) unsafe fn has_mark(file: *mut sqlite3_file) -> bool {
    // SAFETY: as above.
    unsafe { log(file).has_mark() }
}

pub(super) unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as for `log`; SQLite uses the file no more.
    unsafe {
        let log = file.cast::<Wal>().read();
        // Nothing is collected, or it belongs to a transaction that was given up.
        log.call_at_once(|methods, file| Some(methods.xClose?(file)))
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    size: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: as for `log`; SQLite gives as many bytes as it says.
    unsafe {
        let size = usize::try_from(size).unwrap_or(0);
        log(file).write(std::slice::from_raw_parts(bytes.cast(), size), offset)
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as for `log`.
    unsafe { log(file).sync(flags) }
}

/// Methods that do what the original's do, with everything written before.
macro_rules! forward {
    ($($name:ident = $method:ident($($argument:ident: $type:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: as for `log`; the arguments are handed on as they are.
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

    /// Far more than the cache has room for, and than is written in one piece.
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
        // As a program finds it that has no other way to the log.
        let plain = Connection::open(&path).unwrap();
        assert_eq!(count(&plain), MANY);
    }

    /// As when a commit is padded to a whole sector: the last frame comes again, in two parts with a sync between them, and
    /// the second part is as short as a header.
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
            assert_eq!(log(file).collected, [0_u8; 0]);
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
