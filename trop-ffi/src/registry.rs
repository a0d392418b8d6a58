//! Opening and closing a registry, and running calls on it.

use std::ffi::c_char;
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trop_core::{Discovery, Error, PortRange, Registry, RegistryOptions, Result, contain};

use crate::arguments::{self, NOT_GIVEN, invalid};
use crate::error::{call, report, trop_error};
use crate::flags::{OCCUPANCY, occupancy};
use crate::options::{self, Options, size};

/// Do not create a missing data directory or database.
pub const TROP_OPEN_NO_CREATE: u32 = 1;
/// Use the process-wide registry of the current data directory and working directory; allows no other option.
pub const TROP_OPEN_SHARED: u32 = 2;
/// Read no configuration file.
pub const TROP_OPEN_NO_DISCOVERY: u32 = 4;
/// Read no environment variable but TROP_DATA_DIR.
pub const TROP_OPEN_NO_VARIABLES: u32 = 8;
/// Let searches choose ports that browsers and fetch refuse to connect to, too.
pub const TROP_OPEN_ALLOW_UNSAFE_PORTS: u32 = 16;
/// Let no search choose ports that browsers and fetch refuse to connect to, whatever is configured.
pub const TROP_OPEN_AVOID_UNSAFE_PORTS: u32 = 32;

/// How to open a registry. Initialise with TROP_OPEN_OPTIONS_INIT or trop_open_options_init.
///
/// What is given here overrides environment variables, these override configuration files, and these override
/// the defaults. Excluded ports and flags only add to what those say, except for
/// TROP_OPEN_ALLOW_UNSAFE_PORTS and TROP_OPEN_AVOID_UNSAFE_PORTS, of which at most one may be given and which
/// override avoid_unsafe_ports, and TROP_CHECK_ALL_INTERFACES and TROP_CHECK_LOOPBACK_ONLY, of which the same
/// holds for check_all_interfaces.
#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
pub struct trop_open_options {
    /// sizeof(trop_open_options).
    pub size: u32,
    /// TROP_OPEN_*, TROP_SKIP_* and TROP_CHECK_* combined.
    pub flags: u32,
    /// The data directory; NULL means TROP_DATA_DIR, else ~/.trop.
    pub data_dir: *const c_char,
    /// Ports never to choose, such as "5001,5005..5009"; NULL means only those that the configuration
    /// excludes.
    pub excluded: *const c_char,
    /// How long to wait for other users of the database, in milliseconds; 0 fails at once, -1 means what is
    /// configured, else 5000.
    pub busy_timeout_ms: i32,
    /// The lowest port to choose, for reservations and leases; -1 means what is configured, else 5000 for
    /// reservations and 10000 for leases.
    pub ports_min: i32,
    /// The highest port to choose, for reservations and leases; -1 means what is configured, else 7000 for
    /// reservations and 29999 for leases.
    pub ports_max: i32,
    /// Must be 0.
    pub reserved: u32,
    /// Where the search upward for trop.yaml and trop.local.yaml begins; NULL means the working directory.
    pub start_dir: *const c_char,
    /// The project's configuration file, instead of searching for one; NULL means none. At most one of
    /// start_dir, config_file and TROP_OPEN_NO_DISCOVERY may be given.
    pub config_file: *const c_char,
}

// SAFETY: four pairs of 32-bit fields and four pointers, ordered so that there is no padding.
unsafe impl Options for trop_open_options {
    const FLAGS: u32 = TROP_OPEN_NO_CREATE
        | TROP_OPEN_SHARED
        | TROP_OPEN_NO_DISCOVERY
        | TROP_OPEN_NO_VARIABLES
        | TROP_OPEN_ALLOW_UNSAFE_PORTS
        | TROP_OPEN_AVOID_UNSAFE_PORTS
        | OCCUPANCY;
    const SMALLEST: usize = offset_of!(Self, start_dir);
    const DEFAULT: Self = trop_open_options {
        size: size::<Self>(),
        flags: 0,
        data_dir: ptr::null(),
        excluded: ptr::null(),
        busy_timeout_ms: NOT_GIVEN,
        ports_min: NOT_GIVEN,
        ports_max: NOT_GIVEN,
        reserved: 0,
        start_dir: ptr::null(),
        config_file: ptr::null(),
    };

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

/// Initialises options with their defaults, as TROP_OPEN_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_open_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_open_options_init(options: *mut trop_open_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { options::initialise(options, size) }
}

/// An open registry. Any number of threads may use it at once.
pub struct trop_registry {
    registry: Registry,
    /// This is a handle of the process-wide registry, which stays open when the handle is closed.
    shared: bool,
    closed: AtomicBool,
}

impl trop_registry {
    /// Runs a whole call: reading its arguments, the work, making its result. A panic in any of them poisons
    /// the registry.
    pub(crate) fn run<T>(&self, body: impl FnOnce(&Registry) -> Result<T>) -> Result<T> {
        self.registry.contain(|registry| {
            if self.closed.load(Ordering::SeqCst) {
                return Err(Error::Closed);
            }
            body(registry)
        })
    }

    fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) && !self.shared {
            self.registry.close();
        }
    }
}

/// Runs a call on a registry and stores its result in an out-parameter, given with the name of its argument.
///
/// Nothing outside [`trop_registry::run`] can panic, so only that catches panics.
///
/// # Safety
/// All pointers are NULL or as the header's conventions say.
pub(crate) unsafe fn call_on<T: Default>(
    registry: *mut trop_registry,
    (argument, place): (&'static str, *mut T),
    error: *mut *mut trop_error,
    body: impl FnOnce(&Registry) -> Result<T>,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        let run = || arguments::object("registry", registry)?.run(body);
        report(error, arguments::fill(argument, place, T::default(), run))
    }
}

/// Opens the registry of a data directory, creating directory and database if they are absent.
///
/// options: how to open it; NULL means the defaults.
/// registry: receives the handle; close and free it with trop_registry_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CONFIG, TROP_ERR_CORRUPT,
/// TROP_ERR_SCHEMA, TROP_ERR_NO_DATA_DIR, TROP_ERR_IO, TROP_ERR_UNSUPPORTED or TROP_ERR_SECOND_COPY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_open(
    options: *const trop_open_options,
    registry: *mut *mut trop_registry,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        let open = || {
            let options = options::read(options)?;
            let shared = options.flags & TROP_OPEN_SHARED != 0;
            let registry = if shared { open_shared(&options)? } else { Registry::open(request(&options)?)? };
            Ok(Box::into_raw(Box::new(trop_registry { registry, shared, closed: AtomicBool::new(false) })))
        };
        call(error, || arguments::fill("registry", registry, ptr::null_mut(), open))
    }
}

fn open_shared(options: &trop_open_options) -> Result<Registry> {
    let (size, flags) = (options.size, TROP_OPEN_SHARED);
    if *options != (trop_open_options { size, flags, ..trop_open_options::DEFAULT }) {
        return Err(invalid("flags", "TROP_OPEN_SHARED allows no other option"));
    }
    Registry::shared()
}

/// # Safety
/// The strings are NULL or NUL-terminated.
unsafe fn request(options: &trop_open_options) -> Result<RegistryOptions> {
    let mut request = RegistryOptions::default();
    let has = |flag| options.flags & flag != 0;
    // SAFETY: the caller's promise.
    unsafe {
        request.data_dir = arguments::path("data_dir", options.data_dir)?;
        if let Some(list) = arguments::text("excluded", options.excluded)? {
            request.excluded = list.parse()?;
        }
        let start_dir = arguments::path("start_dir", options.start_dir)?;
        let config_file = arguments::path("config_file", options.config_file)?;
        request.discovery = Discovery::new(!has(TROP_OPEN_NO_DISCOVERY), start_dir, config_file)?;
    }
    if options.busy_timeout_ms != NOT_GIVEN {
        let milliseconds = u64::try_from(options.busy_timeout_ms)
            .map_err(|_| invalid("busy_timeout", format!("{} ms is negative", options.busy_timeout_ms)))?;
        request.busy_timeout = Some(Duration::from_millis(milliseconds));
    }
    request.min = arguments::port("ports", options.ports_min)?;
    request.max = arguments::port("ports", options.ports_max)?;
    if let (Some(min), Some(max)) = (request.min, request.max) {
        PortRange::new("ports", min, max)?;
    }
    request.create = !has(TROP_OPEN_NO_CREATE);
    request.variables = !has(TROP_OPEN_NO_VARIABLES);
    request.avoid_unsafe_ports = match (has(TROP_OPEN_ALLOW_UNSAFE_PORTS), has(TROP_OPEN_AVOID_UNSAFE_PORTS))
    {
        (false, false) => None,
        (true, true) => {
            let reason =
                "TROP_OPEN_ALLOW_UNSAFE_PORTS and TROP_OPEN_AVOID_UNSAFE_PORTS contradict each other";
            return Err(invalid("flags", reason));
        }
        (_, avoid) => Some(avoid),
    };
    request.occupancy = occupancy(options.flags)?;
    Ok(request)
}

/// Closes a registry: later calls with it return TROP_ERR_CLOSED. Calls of other threads that are under way
/// are not interrupted. Closing twice and NULL are allowed. Reservations stay; leases end, except those of
/// the process-wide registry.
///
/// registry: the registry; still to be freed with trop_registry_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_registry_close(registry: *mut trop_registry) {
    // SAFETY: NULL or a live registry.
    if let Some(registry) = unsafe { registry.as_ref() } {
        // There is no way to report a failure; what is left open is closed when the process ends.
        let _ = contain(|| {
            registry.close();
            Ok(())
        });
    }
}

/// Closes a registry as trop_registry_close does and frees its memory. NULL is allowed. No other thread may
/// use it any more.
///
/// registry: the registry; it is gone afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_registry_free(registry: *mut trop_registry) {
    if registry.is_null() {
        return;
    }
    // SAFETY: it came from `Box::into_raw` and is freed once.
    let registry = unsafe { Box::from_raw(registry) };
    // There is no way to report a failure.
    let _ = contain(|| {
        registry.close();
        drop(registry);
        Ok(())
    });
}

/// Frees the memory of a registry without closing it: for languages that collect garbage, whose programs keep
/// numbers and leases. Those last as trop_port, trop_lease and trop_lease_forget say; without any the
/// registry is closed. NULL is allowed. No other thread may use the handle any more.
///
/// registry: the registry; it is gone afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_registry_forget(registry: *mut trop_registry) {
    if registry.is_null() {
        return;
    }
    // SAFETY: it came from `Box::into_raw` and is freed once.
    let registry = unsafe { Box::from_raw(registry) };
    // There is no way to report a failure.
    let _ = contain(|| {
        drop(registry);
        Ok(())
    });
}
