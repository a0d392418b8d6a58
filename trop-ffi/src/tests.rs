//! What Rust can prove of the C interface; the C programs in `tests/c` prove the rest.

use std::ffi::{CStr, CString};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr;

use trop_core::{Code, Error, LeaseRequest, Port, Registry, RegistryOptions};

use crate::clean::*;
use crate::error::*;
use crate::flags::*;
use crate::group::*;
use crate::lease::*;
use crate::lookup::*;
use crate::options::{Options, read};
use crate::registry::*;
use crate::reservation::*;
use crate::reserve::*;
use crate::strings::*;
use crate::version::*;

/// Compares with a committed file; with `TROP_BLESS=1` writes it.
fn golden(path: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("TROP_BLESS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "{} is out of date: run `make bless` and read the difference", path.display());
}

#[test]
fn the_committed_header_is_what_cbindgen_makes_now() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(root).with_config(config).generate().unwrap();
    let mut header = Vec::new();
    bindings.write(&mut header);
    golden("../include/trop.h", &String::from_utf8(header).unwrap());
}

#[test]
fn status_codes_are_the_codes_of_the_core() {
    let codes = [
        TROP_ERR_INVALID_ARGUMENT,
        TROP_ERR_EXHAUSTED,
        TROP_ERR_BUSY,
        TROP_ERR_NOT_FOUND,
        TROP_ERR_CONFLICT,
        TROP_ERR_STICKY_FIELD,
        TROP_ERR_UNRELATED_PATH,
        TROP_ERR_CONFIG,
        TROP_ERR_CORRUPT,
        TROP_ERR_SCHEMA,
        TROP_ERR_NO_DATA_DIR,
        TROP_ERR_IO,
        TROP_ERR_UNSUPPORTED,
        TROP_ERR_CLOSED,
        TROP_ERR_NOT_LISTENING,
        TROP_ERR_SECOND_COPY,
        TROP_ERR_PANIC,
    ];
    assert_eq!(codes.to_vec(), Code::ALL.map(Code::number).to_vec());
}

#[test]
fn version_macros_are_the_version_of_the_package() {
    let macros = format!("{TROP_VERSION_MAJOR}.{TROP_VERSION_MINOR}.{TROP_VERSION_PATCH}");
    assert_eq!(macros, env!("CARGO_PKG_VERSION"));
    // SAFETY: both live for ever.
    let (version, sqlite) =
        unsafe { (CStr::from_ptr(trop_version()), CStr::from_ptr(trop_sqlite_version())) };
    assert_eq!(version.to_str().unwrap(), macros);
    assert!(sqlite.to_str().unwrap().starts_with("3."));
}

#[test]
fn a_panic_becomes_a_status_with_an_error_object() {
    let mut error = ptr::null_mut();
    // SAFETY: a place for a pointer.
    let status = unsafe { call(&raw mut error, || panic!("boom")) };
    assert_eq!(status, TROP_ERR_PANIC);
    // SAFETY: the error is live until it is freed.
    unsafe {
        assert_eq!(trop_error_code(error), TROP_ERR_PANIC);
        assert!(CStr::from_ptr(trop_error_message(error)).to_str().unwrap().contains("boom"));
        trop_error_free(error);
        assert_eq!(call(ptr::null_mut(), || panic!("boom")), TROP_ERR_PANIC);
    }
}

/// The ports of this suite: each suite of the project has its own, see tests/README.md. No test asks who uses
/// one.
const MIN: i32 = 22000;
const MAX: i32 = 22999;

fn open(directory: &Path) -> *mut trop_registry {
    open_with_timeout(directory, trop_open_options::DEFAULT.busy_timeout_ms)
}

fn open_with_timeout(directory: &Path, milliseconds: i32) -> *mut trop_registry {
    let directory = CString::new(directory.to_str().unwrap()).unwrap();
    let options = trop_open_options {
        data_dir: directory.as_ptr(),
        ports_min: MIN,
        ports_max: MAX,
        flags: TROP_SKIP_OCCUPANCY_CHECK,
        busy_timeout_ms: milliseconds,
        ..trop_open_options::DEFAULT
    };
    let mut registry = ptr::null_mut();
    // SAFETY: everything lives long enough.
    let status = unsafe { trop_open(&raw const options, &raw mut registry, ptr::null_mut()) };
    assert_eq!(status, TROP_OK);
    registry
}

#[test]
fn a_panic_poisons_the_handle_for_whole_calls() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path());
    // Arguments are read inside the guarded part too: a poisoned handle does not get as far as refusing
    // these.
    let reserve = trop_reserve_options { flags: u32::MAX, ..trop_reserve_options::DEFAULT };
    let release = trop_release_options { flags: u32::MAX, ..trop_release_options::DEFAULT };
    let list = trop_list_options { flags: u32::MAX, ..trop_list_options::DEFAULT };
    let group = trop_group_options { flags: u32::MAX, ..trop_group_options::DEFAULT };
    let clean = trop_clean_options { flags: u32::MAX, ..trop_clean_options::DEFAULT };
    let migrate = trop_migrate_options { flags: u32::MAX, ..trop_migrate_options::DEFAULT };
    let lease = trop_lease_options { flags: u32::MAX, ..trop_lease_options::DEFAULT };
    let (mut reservation, mut json, mut leased) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    let mut held = ptr::null_mut();
    // SAFETY: everything lives long enough.
    unsafe {
        assert_eq!(trop_lease(registry, ptr::null(), &raw mut held, ptr::null_mut()), TROP_OK);
    }
    let (mut socket, mut number) = (0, 0);
    let mut statuses = || {
        // SAFETY: everything lives long enough; no call leaves anything to be freed.
        unsafe {
            [
                trop_reserve(registry, &raw const reserve, &raw mut reservation, ptr::null_mut()),
                trop_release(registry, &raw const release, ptr::null_mut(), ptr::null_mut()),
                trop_release_port(registry, 0, 0, ptr::null_mut(), ptr::null_mut()),
                trop_find(registry, c"".as_ptr(), ptr::null(), &raw mut reservation, ptr::null_mut()),
                trop_find_port(registry, 0, &raw mut reservation, ptr::null_mut()),
                trop_list(registry, &raw const list, &raw mut json, ptr::null_mut()),
                trop_reserve_group(registry, &raw const group, &raw mut json, ptr::null_mut()),
                trop_clean(registry, &raw const clean, &raw mut json, ptr::null_mut()),
                trop_migrate(registry, &raw const migrate, &raw mut json, ptr::null_mut()),
                trop_scan(registry, 0, 0, &raw mut json, ptr::null_mut()),
                trop_lease(registry, &raw const lease, &raw mut leased, ptr::null_mut()),
                trop_lease_many(registry, 1, &raw const lease, &raw mut leased, ptr::null_mut()),
                trop_port(registry, &raw const lease, &raw mut number, ptr::null_mut()),
                trop_explain(registry, 0, &raw mut json, ptr::null_mut()),
                trop_lease_listen(held, ptr::null(), -2, &raw mut socket, ptr::null_mut()),
                trop_lease_bind(held, 0, ptr::null(), &raw mut socket, ptr::null_mut()),
                trop_lease_wait_listening(held, -2, ptr::null_mut()),
            ]
        }
    };
    assert_eq!(statuses(), [TROP_ERR_INVALID_ARGUMENT; 17]);
    // SAFETY: the registry is live.
    let error = unsafe { &*registry }.run(|_| -> trop_core::Result<()> { panic!("boom") }).unwrap_err();
    assert_eq!(error.code(), Code::Panic);
    assert_eq!(statuses(), [TROP_ERR_PANIC; 17]);
    // SAFETY: as above; closing and freeing stay allowed.
    unsafe {
        assert_eq!(trop_projects(registry, &raw mut json, ptr::null_mut()), TROP_ERR_PANIC);
        assert_eq!(trop_validate_database(registry, ptr::null_mut()), TROP_ERR_PANIC);
        assert_eq!(trop_leases(registry, &raw mut json, ptr::null_mut()), TROP_ERR_PANIC);
        assert_eq!(trop_own_leases(registry, &raw mut json, ptr::null_mut()), TROP_ERR_PANIC);
        assert_eq!(trop_lease_is_open(held), 0);
        trop_lease_close(held);
        trop_lease_free(held);
        trop_registry_close(registry);
        trop_registry_free(registry);
    }
}

/// Changes the times of all rows, from another process, because this one may not open the file by itself.
fn set_times(directory: &Path, times: &str) {
    const UPDATE: &str = "import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    db.execute('UPDATE reservations SET ' + sys.argv[2])";
    let database = directory.join("trop.db");
    let done = Command::new("python3").args(["-c", UPDATE]).arg(database).arg(times).status();
    assert!(done.unwrap().success());
}

/// The reservation of the working directory, or of options; to be freed.
fn reserve(registry: *mut trop_registry, options: *const trop_reserve_options) -> *mut trop_reservation {
    let mut reservation = ptr::null_mut();
    // SAFETY: everything lives long enough.
    let status = unsafe { trop_reserve(registry, options, &raw mut reservation, ptr::null_mut()) };
    assert_eq!(status, TROP_OK);
    reservation
}

#[test]
fn the_two_times_of_a_reservation_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path());
    let first = reserve(registry, ptr::null());
    set_times(directory.path(), "created_at = 1000000000, last_used_at = 1000000001");
    let again = reserve(registry, ptr::null());
    // SAFETY: all three are live until they are freed.
    unsafe {
        assert_eq!(trop_reservation_last_used_at(first), trop_reservation_created_at(first));
        assert_eq!(trop_reservation_created_at(again), 1_000_000_000);
        assert!(trop_reservation_last_used_at(again) >= trop_reservation_created_at(first));
        trop_reservation_free(first);
        trop_reservation_free(again);
        trop_registry_free(registry);
    }
}

/// How many reservations a clean-up removed as expired.
fn expired(registry: *mut trop_registry, flags: u32, days: i64) -> usize {
    let options = trop_clean_options { flags, days, ..trop_clean_options::DEFAULT };
    let mut json = ptr::null_mut();
    // SAFETY: everything lives long enough.
    let cleanup: serde_json::Value = unsafe {
        assert_eq!(trop_clean(registry, &raw const options, &raw mut json, ptr::null_mut()), TROP_OK);
        let value = serde_json::from_slice(CStr::from_ptr(json).to_bytes()).unwrap();
        trop_string_free(json);
        value
    };
    assert_eq!(cleanup["pruned"], serde_json::json!([]));
    assert_eq!(cleanup["days"], if days == -1 { 30 } else { days });
    cleanup["expired"].as_array().unwrap().len()
}

#[test]
fn cleaning_expires_by_the_days_that_are_given() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path());
    let fill = || {
        // SAFETY: live until it is freed.
        unsafe { trop_reservation_free(reserve(registry, ptr::null())) };
        set_times(
            directory.path(),
            "created_at = created_at - 2678410, last_used_at = last_used_at - 2678410",
        );
    };
    fill();
    for (flags, days, count) in [
        (TROP_CLEAN_PRUNE, -1, 0),
        (TROP_CLEAN_EXPIRE, 32, 0),
        (TROP_CLEAN_EXPIRE, i64::from(u32::MAX), 0),
        (0, 32, 0),
        (TROP_DRY_RUN, -1, 1),
        (TROP_CLEAN_EXPIRE | TROP_DRY_RUN, 31, 1),
        (TROP_CLEAN_EXPIRE, -1, 1),
        (TROP_CLEAN_EXPIRE, -1, 0),
    ] {
        assert_eq!(expired(registry, flags, days), count, "{flags:#x}, {days}");
    }
    fill();
    assert_eq!(expired(registry, 0, 31), 1);
    // SAFETY: as above.
    unsafe { trop_registry_free(registry) };
}

#[test]
fn an_exhausted_range_keeps_what_must_not_expire() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path());
    let old = reserve(registry, ptr::null());
    set_times(directory.path(), "created_at = 1000000000, last_used_at = 1000000000");
    // SAFETY: everything lives long enough.
    unsafe {
        let port = i32::from(trop_reservation_port(old));
        let mut options = trop_reserve_options {
            flags: TROP_RESERVE_DISABLE_AUTOEXPIRE,
            tag: c"new".as_ptr(),
            min: port,
            max: port,
            ..trop_reserve_options::DEFAULT
        };
        let mut reservation = ptr::null_mut();
        let status = trop_reserve(registry, &raw const options, &raw mut reservation, ptr::null_mut());
        assert_eq!(status, TROP_ERR_EXHAUSTED);
        options.flags = TROP_RESERVE_DISABLE_AUTOPRUNE;
        let new = reserve(registry, &raw const options);
        let cleanup = CStr::from_ptr(trop_reservation_cleanup(new)).to_bytes();
        let cleanup: serde_json::Value = serde_json::from_slice(cleanup).unwrap();
        assert_eq!(cleanup["expired"][0]["port"], port);
        trop_reservation_free(old);
        trop_reservation_free(new);
        trop_registry_free(registry);
    }
}

/// Another process that holds the write lock of a database until its input ends.
struct Lock(std::process::Child);

impl Lock {
    fn take(directory: &Path) -> Lock {
        let mut command = Command::new("python3");
        command.arg("../tests/lock_holder.py").arg(directory.join("trop.db"));
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut locked = [0; 6];
        holder.stdout.as_mut().unwrap().read_exact(&mut locked).unwrap();
        Lock(holder)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let ended = self.0.wait();
        assert!(std::thread::panicking() || ended.unwrap().success());
    }
}

#[test]
fn a_locked_database_is_waited_for_as_long_as_told() {
    let directory = tempfile::tempdir().unwrap();
    // SAFETY: live until it is freed.
    unsafe { trop_registry_free(open(directory.path())) };
    let _lock = Lock::take(directory.path());
    for (milliseconds, told) in [(0, "waited 0s "), (20, "waited 0.02s ")] {
        let registry = open_with_timeout(directory.path(), milliseconds);
        let (mut reservation, mut error) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: everything lives long enough.
        unsafe {
            let status = trop_reserve(registry, ptr::null(), &raw mut reservation, &raw mut error);
            assert_eq!(status, TROP_ERR_BUSY);
            assert!(CStr::from_ptr(trop_error_message(error)).to_str().unwrap().contains(told));
            trop_error_free(error);
            trop_registry_free(registry);
        }
    }
}

#[test]
fn leases_end_while_the_database_is_locked() {
    let directory = tempfile::tempdir().unwrap();
    let impatient = open_with_timeout(directory.path(), 20);
    let patient = open_with_timeout(directory.path(), 600_000);
    let lease = |registry, port| {
        let options = trop_lease_options { port, ..trop_lease_options::DEFAULT };
        let mut lease = ptr::null_mut();
        // SAFETY: everything lives long enough.
        let status = unsafe { trop_lease(registry, &raw const options, &raw mut lease, ptr::null_mut()) };
        assert_eq!(status, TROP_OK);
        lease
    };
    let (closed, freed) = (lease(impatient, -1), lease(patient, -1));
    // SAFETY: everything lives long enough.
    unsafe {
        let ports = [trop_lease_port(closed), trop_lease_port(freed)];
        let lock = Lock::take(directory.path());
        trop_lease_close(closed);
        assert_eq!(trop_lease_is_open(closed), 0);
        trop_lease_close(closed);
        // One that waited would wait for the lock that is let go of below.
        trop_lease_free(freed);
        trop_lease_free(closed);
        drop(lock);
        let again = [lease(impatient, ports[0].into()), lease(patient, ports[1].into())];
        assert_eq!(again.map(|lease| trop_lease_port(lease)), ports);
        for lease in again {
            trop_lease_free(lease);
        }
        trop_registry_free(impatient);
        trop_registry_free(patient);
    }
}

#[test]
fn the_port_of_a_running_program_is_released_by_force_only() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path());
    let mut options = RegistryOptions::default();
    options.data_dir = Some(directory.path().into());
    options.min = Some(Port::new("min", MIN.into()).unwrap());
    options.max = Some(Port::new("max", MAX.into()).unwrap());
    options.occupancy.skip = true;
    let lease = Registry::open(options).unwrap().lease(&LeaseRequest::default()).unwrap();
    let port = i32::from(lease.port().get());
    let release = |flags| {
        let (mut count, mut error) = (9, ptr::null_mut());
        // SAFETY: everything lives long enough.
        unsafe {
            let status = trop_release_port(registry, port, flags, &raw mut count, &raw mut error);
            let blames_the_port = !error.is_null() && CStr::from_ptr(trop_error_argument(error)) == c"port";
            assert_eq!(blames_the_port, status == TROP_ERR_CONFLICT);
            trop_error_free(error);
            (status, count)
        }
    };
    assert_eq!(release(0), (TROP_ERR_CONFLICT, 0));
    assert_eq!(release(TROP_FORCE | TROP_DRY_RUN), (TROP_OK, 1));
    assert_eq!(release(TROP_FORCE), (TROP_OK, 1));
    assert_eq!(release(TROP_FORCE), (TROP_OK, 0));
    // SAFETY: live until it is freed.
    unsafe { trop_registry_free(registry) };
}

#[test]
fn options_of_other_sizes_are_told_apart() {
    #[repr(C)]
    struct Longer {
        known: trop_release_options,
        unknown: [u8; 16],
    }
    let mut longer = Longer { known: trop_release_options::DEFAULT, unknown: [0; 16] };
    longer.known.size = u32::try_from(size_of::<Longer>()).unwrap();
    let argument = |longer: &Longer| {
        // SAFETY: as many bytes as the size says, except where it is refused unread.
        unsafe { read((&raw const *longer).cast::<trop_release_options>()) }
            .err()
            .map(|error| error.argument().unwrap_or("").to_owned())
    };
    assert_eq!(argument(&longer), None, "a newer caller that asks for nothing new");
    longer.unknown[7] = 1;
    assert_eq!(argument(&longer).as_deref(), Some("options"));
    longer.unknown[7] = 0;
    for size in [0, 4, 8, size_of::<trop_release_options>() - 1, size_of::<trop_release_options>() + 1, 4097]
    {
        longer.known.size = u32::try_from(size).unwrap();
        assert_eq!(argument(&longer).as_deref(), Some("options"), "{size}");
    }
    longer.known = trop_release_options { flags: 4, ..trop_release_options::DEFAULT };
    assert_eq!(argument(&longer).as_deref(), Some("flags"));
}

#[test]
fn initialising_writes_what_the_caller_has_and_no_more() {
    let mut room = [0xff_u8; size_of::<trop_open_options>() + 16];
    for size in [0, 4, size_of::<trop_open_options>(), size_of::<trop_open_options>() + 8] {
        room.fill(0xff);
        // SAFETY: `size` bytes are writable.
        unsafe { trop_open_options_init(room.as_mut_ptr().cast(), u32::try_from(size).unwrap()) };
        assert!(room[size..].iter().all(|byte| *byte == 0xff), "{size}");
        assert!(size < 4 || room[..4] == u32::try_from(size).unwrap().to_ne_bytes(), "{size}");
    }
    assert!(room[size_of::<trop_open_options>()..][..8].iter().all(|byte| *byte == 0));
}

#[test]
fn a_shared_registry_allows_no_other_option() {
    let directory = CString::new("/nowhere").unwrap();
    let options = trop_open_options {
        flags: TROP_OPEN_SHARED,
        data_dir: directory.as_ptr(),
        ..trop_open_options::DEFAULT
    };
    let (mut registry, mut error) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: everything lives long enough.
    unsafe {
        assert_eq!(
            trop_open(&raw const options, &raw mut registry, &raw mut error),
            TROP_ERR_INVALID_ARGUMENT
        );
        assert!(registry.is_null());
        assert_eq!(CStr::from_ptr(trop_error_argument(error)), c"flags");
        trop_error_free(error);
    }
}

#[test]
fn texts_with_a_nul_inside_do_not_lose_the_error() {
    let error = Error::InvalidArgument { argument: "tag", reason: "a\0b".to_owned() };
    let object = Box::into_raw(Box::new(trop_error::from(&error)));
    // SAFETY: live until it is freed.
    unsafe {
        assert_eq!(CStr::from_ptr(trop_error_message(object)), c"Invalid tag: a");
        trop_error_free(object);
    }
}
