//! Opening a registry, and the calls on it.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trop_core::{
    Error, PortRange, Registry, RegistryOptions, ReleaseRequest, Reservation, ReserveRequest, Result, Tag,
    contain,
};

use crate::error::{call, null, trop_error};
use crate::options::{self, Options, trop_open_options, trop_release_options, trop_reserve_options};
use crate::options::{
    TROP_OPEN_CHECK_ALL_INTERFACES, TROP_OPEN_NO_CREATE, TROP_OPEN_SHARED, TROP_OPEN_SKIP_IPV4,
    TROP_OPEN_SKIP_IPV6, TROP_OPEN_SKIP_OCCUPANCY_CHECK, TROP_OPEN_SKIP_TCP, TROP_OPEN_SKIP_UDP,
    TROP_RELEASE_REFUSE_UNRELATED_PATH, TROP_RELEASE_UNTAGGED_ONLY, TROP_RESERVE_REFUSE_UNRELATED_PATH,
};
use crate::reservation::trop_reservation;
use crate::strings;

/// An open registry. Any number of threads may use it at once.
pub struct trop_registry {
    registry: Registry,
    /// The registry belongs to the whole process: closing this handle closes nothing else.
    shared: bool,
    closed: AtomicBool,
}

impl trop_registry {
    /// Runs a whole call, from reading its arguments to handing out its result: a panic in it poisons the registry.
    pub(crate) fn run<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        self.registry.contain(|_| body())
    }

    /// The registry, unless this handle was closed.
    fn open(&self) -> Result<&Registry> {
        if self.closed.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(&self.registry) }
    }

    fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) && !self.shared {
            self.registry.close();
        }
    }
}

/// Opens the registry of a data directory, creating directory and database if they are absent.
///
/// options: how; NULL means the defaults.
/// registry: receives the handle; close and free it with trop_registry_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CORRUPT, TROP_ERR_SCHEMA,
/// TROP_ERR_NO_DATA_DIR, TROP_ERR_IO, TROP_ERR_UNSUPPORTED or TROP_ERR_SECOND_COPY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_open(
    options: *const trop_open_options,
    registry: *mut *mut trop_registry,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call(error, || {
            let place = registry.as_mut().ok_or_else(|| null("registry"))?;
            *place = ptr::null_mut();
            let options = options::read(options)?;
            let shared = options.flags & TROP_OPEN_SHARED != 0;
            let registry = if shared { open_shared(&options)? } else { Registry::open(opening(&options)?)? };
            *place =
                Box::into_raw(Box::new(trop_registry { registry, shared, closed: AtomicBool::new(false) }));
            Ok(())
        })
    }
}

fn open_shared(options: &trop_open_options) -> Result<Registry> {
    let default = trop_open_options::DEFAULT;
    let plain = options.flags == TROP_OPEN_SHARED
        && options.data_dir.is_null()
        && options.excluded.is_null()
        && options.busy_timeout_ms == default.busy_timeout_ms
        && options.ports_min == default.ports_min
        && options.ports_max == default.ports_max;
    if !plain {
        let reason = "TROP_OPEN_SHARED allows no other option".to_owned();
        return Err(Error::InvalidArgument { argument: "flags", reason });
    }
    Registry::shared()
}

/// # Safety
/// The strings are NULL or NUL-terminated.
unsafe fn opening(options: &trop_open_options) -> Result<RegistryOptions> {
    let mut opening = RegistryOptions::default();
    // SAFETY: the caller's promise.
    unsafe {
        opening.data_dir = strings::path("data_dir", options.data_dir)?;
        if let Some(list) = strings::text("excluded", options.excluded)? {
            opening.excluded = list.parse()?;
        }
    }
    if options.busy_timeout_ms != -1 {
        let milliseconds = u64::try_from(options.busy_timeout_ms).map_err(|_| Error::InvalidArgument {
            argument: "busy_timeout",
            reason: format!("{} ms is negative", options.busy_timeout_ms),
        })?;
        opening.busy_timeout = Some(Duration::from_millis(milliseconds));
    }
    opening.min = options::port("ports", options.ports_min)?;
    opening.max = options::port("ports", options.ports_max)?;
    if let (Some(min), Some(max)) = (opening.min, opening.max) {
        PortRange::new("ports", min, max)?;
    }
    let has = |flag| options.flags & flag != 0;
    opening.create = !has(TROP_OPEN_NO_CREATE);
    opening.occupancy.skip = has(TROP_OPEN_SKIP_OCCUPANCY_CHECK);
    opening.occupancy.skip_tcp = has(TROP_OPEN_SKIP_TCP);
    opening.occupancy.skip_udp = has(TROP_OPEN_SKIP_UDP);
    opening.occupancy.skip_ipv4 = has(TROP_OPEN_SKIP_IPV4);
    opening.occupancy.skip_ipv6 = has(TROP_OPEN_SKIP_IPV6);
    opening.occupancy.check_all_interfaces = has(TROP_OPEN_CHECK_ALL_INTERFACES);
    Ok(opening)
}

/// Reserves the port of a key (path and tag): the one it has, else the preferred one if it is usable, else the
/// lowest usable one of the range.
///
/// registry: the registry.
/// options: what; NULL means the working directory without a tag.
/// reservation: receives the reservation; free it with trop_reservation_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_EXHAUSTED, TROP_ERR_BUSY, TROP_ERR_UNRELATED_PATH,
/// TROP_ERR_CONFIG, TROP_ERR_CLOSED or an error of the database; the registry is unchanged then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reserve(
    registry: *mut trop_registry,
    options: *const trop_reserve_options,
    reservation: *mut *mut trop_reservation,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call(error, || {
            let place = reservation.as_mut().ok_or_else(|| null("reservation"))?;
            *place = ptr::null_mut();
            let registry = registry.as_ref().ok_or_else(|| null("registry"))?;
            registry.run(|| {
                let options = options::read(options)?;
                let mut request = ReserveRequest::default();
                request.path = strings::path("path", options.path)?;
                request.tag = strings::text("tag", options.tag)?.map(Tag::new).transpose()?;
                request.preferred = options::port("port", options.port)?;
                request.min = options::port("min", options.min)?;
                request.max = options::port("max", options.max)?;
                request.allow_unrelated_path = options.flags & TROP_RESERVE_REFUSE_UNRELATED_PATH == 0;
                let reserved = registry.open()?.reserve(&request)?;
                *place = Box::into_raw(Box::new(trop_reservation::from(reserved)));
                Ok(())
            })
        })
    }
}

/// Releases reservations of one path, so that their ports can be given out again. Releasing nothing is success.
/// This gives the ports back; trop_reservation_free only frees the memory of a reservation's description.
///
/// registry: the registry.
/// options: which; NULL means every reservation of the working directory.
/// count: receives how many were released; may be NULL.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_UNRELATED_PATH, TROP_ERR_CLOSED or an
/// error of the database; the registry is unchanged then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_release(
    registry: *mut trop_registry,
    options: *const trop_release_options,
    count: *mut u64,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call(error, || {
            let mut place = count.as_mut();
            if let Some(place) = &mut place {
                **place = 0;
            }
            let registry = registry.as_ref().ok_or_else(|| null("registry"))?;
            registry.run(|| {
                let options = options::read(options)?;
                let mut request = ReleaseRequest::default();
                request.path = strings::path("path", options.path)?;
                request.tag = strings::text("tag", options.tag)?.map(Tag::new).transpose()?;
                request.untagged_only = options.flags & TROP_RELEASE_UNTAGGED_ONLY != 0;
                request.allow_unrelated_path = options.flags & TROP_RELEASE_REFUSE_UNRELATED_PATH == 0;
                let released = registry.open()?.release(&request)?;
                if let Some(place) = place {
                    *place = released as u64;
                }
                Ok(())
            })
        })
    }
}

/// Lists every reservation, ordered by path, then tag, the untagged one first.
///
/// registry: the registry.
/// json: receives a JSON array of objects with the keys port (number), path (string), tag, project, task (string
/// or null), created_at and last_used_at (strings, UTC, YYYY-MM-DD HH:MM:SS); free it with trop_string_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_BUSY, TROP_ERR_CLOSED or an error of the database.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_list_json(
    registry: *mut trop_registry,
    json: *mut *mut c_char,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call(error, || {
            let place = json.as_mut().ok_or_else(|| null("json"))?;
            *place = ptr::null_mut();
            let registry = registry.as_ref().ok_or_else(|| null("registry"))?;
            registry.run(|| {
                let reservations = registry.open()?.list()?;
                let list = serde_json::Value::Array(reservations.iter().map(Reservation::to_json).collect());
                // JSON escapes NUL, so this never cuts anything off.
                *place = CString::new(list.to_string()).unwrap_or_default().into_raw();
                Ok(())
            })
        })
    }
}

/// Closes a registry: later calls with it return TROP_ERR_CLOSED. Calls of other threads that are under way are
/// not interrupted. Closing twice and NULL are allowed. Reservations stay.
///
/// registry: the registry; still to be freed with trop_registry_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_registry_close(registry: *mut trop_registry) {
    // SAFETY: NULL or a live registry.
    if let Some(registry) = unsafe { registry.as_ref() } {
        // Nobody to tell: what cannot be closed is closed with the process.
        let _ = contain(|| {
            registry.close();
            Ok(())
        });
    }
}

/// Closes a registry and frees its memory. NULL is allowed. No other thread may use it any more. Reservations stay.
///
/// registry: the registry; it is gone afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_registry_free(registry: *mut trop_registry) {
    if registry.is_null() {
        return;
    }
    // SAFETY: it came from `Box::into_raw` and is freed once.
    let registry = unsafe { Box::from_raw(registry) };
    // Nobody to tell.
    let _ = contain(|| {
        registry.close();
        drop(registry);
        Ok(())
    });
}
