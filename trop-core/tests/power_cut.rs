//! What a power cut leaves of the files: the registry as it was at some moment, whole.
//!
//! Everything that is written is remembered, with every wait for the disk. Then the power is cut at each
//! moment: what was waited for is on the disk, and of the rest whichever sectors and names the disk happened
//! to have reached.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "SQLite asks for its files through a C interface")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use common::fork::fork;
use common::{Scratch, release, reserve};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The reservations: ports by their tags.
type Rows = BTreeMap<String, u16>;

#[test]
fn every_moment_leaves_a_registry_that_was_there() {
    common::isolated("every_moment_leaves_a_registry_that_was_there", |scratch| {
        remember_writes();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut rows = Rows::new();
        // The files as they are made first are made by SQLite alone, one after another.
        change(scratch, &mut rows, &mut random, 3);
        drop(drain());
        let mut disk = Disk::of(scratch);
        let room = tempfile::tempdir().unwrap();
        let mut moments = vec![rows.clone()];
        let (mut safe, mut kept, mut cuts) = (0, 0, 0);
        for changes in (0..120).map(|round| [1, 2, 3, 1, 0, 1, 6, 2][round % 8]) {
            let log = scratch.dir().join("trop.db-wal");
            let before = fs::read(&log).unwrap_or_default();
            let mut states = change(scratch, &mut rows, &mut random, changes);
            kept += usize::from(
                fs::read(&log).is_ok_and(|after| !before.is_empty() && after.starts_with(b"trop: empty log")),
            );
            let begun = moments.len() - 1;
            moments.append(&mut states);
            let mut done = begun;
            for event in drain() {
                match &event {
                    Event::Changed => done += 1,
                    // All that was done is moved into the database before that is waited for.
                    Event::Waited { path, .. } if path.ends_with("trop.db") => safe = done,
                    _ => {}
                }
                disk.see(event);
                for _ in 0..4 {
                    let found = disk.cut(room.path(), &mut random);
                    let last = (done + 1).min(moments.len() - 1);
                    assert!(
                        moments[safe..=last].contains(&found),
                        "{found:?} after {done} changes, of which {safe} are safe: {:#?}",
                        &moments[safe..=last]
                    );
                    cuts += 1;
                }
            }
        }
        assert!(kept > 12, "the log was kept {kept} times only");
        assert!(cuts > 4000, "{cuts}");
    });
}

/// Once there is a kept log: one wait for the log, one for what was copied out of it.
#[test]
fn a_program_with_one_change_waits_for_the_disk_twice() {
    common::isolated("a_program_with_one_change_waits_for_the_disk_twice", |scratch| {
        remember_writes();
        let run = |tag: &str| {
            drop(drain());
            reserve(&scratch.open(), "/p", tag).unwrap();
            let events = drain();
            let is_cut = events.iter().any(|event| matches!(event, Event::Cut { .. }));
            assert!(!is_cut, "{tag}: {events:#?}");
            events
        };
        let waits =
            |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Waited { .. })).count();
        run("a");
        for (tag, expected) in [("b", 3), ("c", 2), ("d", 2)] {
            let events = run(tag);
            assert_eq!(waits(&events), expected, "{tag}: {events:#?}");
        }
        // The kept log does not belong to a backup that was put back.
        let backup = fs::read(scratch.database()).unwrap();
        fs::write(scratch.database(), backup).unwrap();
        let events = run("e");
        assert_eq!(waits(&events), 3, "{events:#?}");
        assert!(events.iter().any(|event| matches!(event, Event::Waited { directory: true, .. })));
        drop(drain());
        assert_eq!(common::listed(&scratch.open()).len(), 5);
        assert!(drain().iter().all(|event| matches!(event, Event::Opened { .. })));
    });
}

/// One program run that makes so many changes, sometimes with another one open, sometimes with a fork in
/// between, which leaves the log as it is, or with a checkpoint, after which it is begun anew. Sometimes a
/// program that knows nothing of kept logs makes a change before. The states it goes through.
fn change(scratch: &Scratch, rows: &mut Rows, random: &mut Random, changes: usize) -> Vec<Rows> {
    let mut states = Vec::new();
    if random.below(6) == 0 && scratch.database().exists() {
        let statement = match rows.remove("theirs") {
            Some(_) => "DELETE FROM reservations WHERE tag = 'theirs'",
            None => "INSERT INTO reservations VALUES ('/q', 'theirs', 60000, NULL, NULL, 1, 1)",
        };
        let connection = Connection::open(scratch.database()).unwrap();
        connection.execute_batch(&format!("PRAGMA synchronous = NORMAL; {statement}")).unwrap();
        if statement.starts_with("INSERT") {
            rows.insert("theirs".to_owned(), 60000);
        }
        note(Event::Changed);
        states.push(rows.clone());
    }
    let registry = scratch.open();
    let other = random.below(4).eq(&0).then(|| scratch.open());
    for number in 0..changes {
        let registry = other.as_ref().filter(|_| number % 2 == 1).unwrap_or(&registry);
        let tag = format!("tag-{}", random.below(40));
        if rows.remove(&tag).is_some() {
            release(registry, "/p", &tag).unwrap();
        } else {
            rows.insert(tag.clone(), reserve(registry, "/p", &tag).unwrap());
        }
        note(Event::Changed);
        states.push(rows.clone());
        match random.below(10) {
            0 => fork(|| ()).join(),
            1..=3 => {
                let connection = Connection::open(scratch.database()).unwrap();
                connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
            }
            _ => {}
        }
    }
    if changes == 0 {
        assert_eq!(common::listed(&registry).len(), rows.len());
    }
    drop((registry, other));
    // Not written by SQLite, so it is looked for.
    let log = scratch.dir().join("trop.db-wal");
    if let Some(mark) = fs::read(&log).ok().and_then(|bytes| bytes.get(..32).map(<[u8]>::to_vec)) {
        note(Event::Written { path: log, offset: 0, bytes: mark });
    }
    states
}

/// Numbers without a pattern, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// What may be on the disk.
struct Disk {
    directory: PathBuf,
    files: Vec<Vec<Version>>,
    /// Which file each name may mean, the newest last; none where there is no such name.
    names: HashMap<PathBuf, Vec<Option<usize>>>,
}

/// A file's content. The first of a file's is on the disk; of each later one, any sector may be.
type Version = Vec<u8>;

impl Disk {
    fn of(scratch: &Scratch) -> Disk {
        let mut disk = Disk { directory: scratch.dir(), files: Vec::new(), names: HashMap::new() };
        for name in ["trop.db", "trop.db-wal"] {
            let path = scratch.dir().join(name);
            let file = fs::read(&path).ok().map(|content| {
                disk.files.push(vec![content]);
                disk.files.len() - 1
            });
            disk.names.insert(path, vec![file]);
        }
        disk
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Changed => {}
            Event::Opened { path } => {
                let meant = self.names.get_mut(&path).unwrap();
                if meant.last().unwrap().is_none() {
                    self.files.push(vec![Version::new()]);
                    meant.push(Some(self.files.len() - 1));
                }
            }
            Event::Written { path, offset, bytes } => {
                let versions = self.versions(&path);
                let mut content = versions.last().unwrap().clone();
                content.resize(content.len().max(offset + bytes.len()), 0);
                content[offset..offset + bytes.len()].copy_from_slice(&bytes);
                if versions.last() != Some(&content) {
                    versions.push(content);
                }
            }
            Event::Cut { path, size } => {
                let versions = self.versions(&path);
                let mut content = versions.last().unwrap().clone();
                content.resize(size, 0);
                versions.push(content);
            }
            Event::Waited { path, directory } => {
                let versions = self.versions(&path);
                versions.drain(..versions.len() - 1);
                if directory {
                    self.names.values_mut().for_each(|meant| drop(meant.drain(..meant.len() - 1)));
                }
            }
            Event::Deleted { path } => self.names.get_mut(&path).unwrap().push(None),
        }
    }

    fn versions(&mut self, path: &Path) -> &mut Vec<Version> {
        let file = self.names[path].last().unwrap().unwrap();
        &mut self.files[file]
    }

    /// What SQLite by itself finds when the power comes back.
    fn cut(&self, room: &Path, random: &mut Random) -> Rows {
        for (path, meant) in &self.names {
            let path = room.join(path.strip_prefix(&self.directory).unwrap());
            match meant[random.below(meant.len())] {
                Some(file) => fs::write(path, left_of(&self.files[file], random)).unwrap(),
                None => drop(fs::remove_file(path)),
            }
        }
        let path = room.join("trop.db");
        let connection =
            Connection::open_with_flags_and_vfs(path, OpenFlags::SQLITE_OPEN_READ_WRITE, c"unix").unwrap();
        // It is thrown away, so nothing needs to be moved or waited for.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        let mut statement = connection.prepare("SELECT tag, port FROM reservations").unwrap();
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }
}

/// Of each sector any version since the one that was waited for. A disk may be slow or quick, take sectors as
/// they come, or have one part of a file and not yet the other.
fn left_of(versions: &[Version], random: &mut Random) -> Vec<u8> {
    let newest = versions.len() - 1;
    let [early, late] = [random.below(versions.len()), random.below(versions.len())];
    let size = versions[[early, late, newest][random.below(3)]].len();
    let (manner, border) = (random.below(4), random.below(size / SECTOR + 1));
    let mut content = Vec::new();
    for number in 0..size.div_ceil(SECTOR) {
        let version = &versions[match manner {
            0 => early,
            1 => newest,
            2 => random.below(versions.len()),
            _ if number < border => early,
            _ => late,
        }];
        let (from, to) = (number * SECTOR, (number * SECTOR + SECTOR).min(size));
        content.extend_from_slice(version.get(from..version.len().min(to)).unwrap_or_default());
        content.resize(to, 0);
    }
    content
}

// ---- remembering ------------------------------------------------------------------------------------------

#[derive(Debug)]
enum Event {
    /// The test has made a change.
    Changed,
    Opened {
        path: PathBuf,
    },
    Written {
        path: PathBuf,
        offset: usize,
        bytes: Vec<u8>,
    },
    Cut {
        path: PathBuf,
        size: usize,
    },
    /// For the disk, and for the names in the directory too if the file was opened to be made if need be.
    Waited {
        path: PathBuf,
        directory: bool,
    },
    Deleted {
        path: PathBuf,
    },
}

static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());

fn note(event: Event) {
    EVENTS.lock().unwrap().push(event);
}

fn drain() -> Vec<Event> {
    std::mem::take(&mut *EVENTS.lock().unwrap())
}

/// The databases and logs that are open, by the address of SQLite's file.
static OPEN: Mutex<BTreeMap<usize, Open>> = Mutex::new(BTreeMap::new());

#[derive(Clone)]
struct Open {
    path: PathBuf,
    /// Whether the directory is waited for together with the file.
    directory: bool,
    theirs: ffi::sqlite3_io_methods,
}

/// The methods of databases and of logs. They stay, because who has seen them may go on using them.
static OURS: [OnceLock<ffi::sqlite3_io_methods>; 2] = [const { OnceLock::new() }; 2];

static ORIGINAL: OnceLock<usize> = OnceLock::new();

fn original() -> *mut ffi::sqlite3_vfs {
    *ORIGINAL.get().unwrap() as *mut ffi::sqlite3_vfs
}

/// From here on this is SQLite's default VFS.
fn remember_writes() {
    // SAFETY: a copy of the default VFS, which is never freed.
    unsafe {
        let default = ffi::sqlite3_vfs_find(std::ptr::null());
        ORIGINAL.set(default as usize).unwrap();
        let vfs = ffi::sqlite3_vfs {
            zName: c"remembering".as_ptr(),
            pNext: std::ptr::null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            ..*default
        };
        assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1), ffi::SQLITE_OK);
    }
}

fn path(name: *const c_char) -> PathBuf {
    // SAFETY: SQLite's names end with a zero byte.
    PathBuf::from(unsafe { CStr::from_ptr(name) }.to_str().unwrap())
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: handed on as it is; the methods are replaced by a copy with ours among them.
    unsafe {
        let status = (*original()).xOpen.unwrap()(original(), name, file, flags, out_flags);
        if status == ffi::SQLITE_OK && flags & (ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL) != 0 {
            let path = path(name);
            note(Event::Opened { path: path.clone() });
            let directory = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & ffi::SQLITE_OPEN_WAL != 0;
            let theirs = *(*file).pMethods;
            let ours = ffi::sqlite3_io_methods {
                xClose: Some(close),
                xWrite: Some(write),
                xTruncate: Some(truncate),
                xSync: Some(sync),
                ..theirs
            };
            OPEN.lock().unwrap().insert(file as usize, Open { path, directory, theirs });
            let kind = usize::from(flags & ffi::SQLITE_OPEN_WAL != 0);
            (*file).pMethods = OURS[kind].get_or_init(|| ours);
        }
        status
    }
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: handed on as it is.
    let status = unsafe { (*original()).xDelete.unwrap()(original(), name, sync) };
    if status == ffi::SQLITE_OK && path(name).ends_with("trop.db-wal") {
        note(Event::Deleted { path: path(name) });
    }
    status
}

fn opened(file: *mut ffi::sqlite3_file) -> Open {
    OPEN.lock().unwrap()[&(file as usize)].clone()
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let open = OPEN.lock().unwrap().remove(&(file as usize)).unwrap();
    // SAFETY: handed on as it is.
    unsafe { open.theirs.xClose.unwrap()(file) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    size: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let Open { path, theirs, .. } = opened(file);
    // SAFETY: SQLite gives as many bytes as it says.
    let written = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), usize::try_from(size).unwrap()) };
    note(Event::Written { path, offset: usize::try_from(offset).unwrap(), bytes: written.to_vec() });
    // SAFETY: handed on as it is.
    unsafe { theirs.xWrite.unwrap()(file, bytes, size, offset) }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    let Open { path, theirs, .. } = opened(file);
    note(Event::Cut { path, size: usize::try_from(size).unwrap() });
    // SAFETY: handed on as it is.
    unsafe { theirs.xTruncate.unwrap()(file, size) }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let Open { path, directory, theirs } = opened(file);
    // SQLite waits for the directory once.
    OPEN.lock().unwrap().get_mut(&(file as usize)).unwrap().directory = false;
    note(Event::Waited { path, directory });
    // SAFETY: handed on as it is.
    unsafe { theirs.xSync.unwrap()(file, flags) }
}
