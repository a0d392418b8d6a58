//! The description of one reservation.

use std::ffi::{CString, c_char};

use trop_core::{Refusal, Reservation, Reserved};

use crate::strings::{LazyText, as_pointer, c_string};

/// A copy of one reservation, independent of the registry.
pub struct trop_reservation {
    port: u16,
    path: LazyText,
    tag: Option<LazyText>,
    project: Option<LazyText>,
    task: Option<LazyText>,
    created_at: i64,
    last_used_at: i64,
    created: bool,
    refusal: Option<CString>,
    cleanup: Option<CString>,
}

impl From<Reservation> for trop_reservation {
    fn from(reservation: Reservation) -> trop_reservation {
        let (path, tag) = reservation.key.into_parts();
        trop_reservation {
            port: reservation.port.get(),
            path: path.into(),
            tag: tag.map(LazyText::from),
            project: reservation.project.map(LazyText::from),
            task: reservation.task.map(LazyText::from),
            created_at: reservation.created_at.seconds(),
            last_used_at: reservation.last_used_at.seconds(),
            created: false,
            refusal: None,
            cleanup: None,
        }
    }
}

impl From<Reserved> for trop_reservation {
    fn from(reserved: Reserved) -> trop_reservation {
        trop_reservation {
            created: reserved.created,
            refusal: reserved.refusal.map(Refusal::name).map(c_string),
            cleanup: reserved.cleanup.map(|cleanup| c_string(cleanup.to_json().to_string())),
            ..trop_reservation::from(reserved.reservation)
        }
    }
}

impl trop_reservation {
    pub(crate) fn into_raw(self) -> *mut trop_reservation {
        Box::into_raw(Box::new(self))
    }
}

/// The port of a reservation.
///
/// reservation: the reservation, or NULL.
///
/// Returns the port, 1 to 65535; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_port(reservation: *const trop_reservation) -> u16 {
    // SAFETY: NULL or a live reservation.
    unsafe { reservation.as_ref() }.map_or(0, |reservation| reservation.port)
}

/// The absolute path of a reservation's key.
///
/// reservation: the reservation, or NULL.
///
/// Returns a string that lives as long as the reservation; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_path(reservation: *const trop_reservation) -> *const c_char {
    // SAFETY: NULL or a live reservation.
    LazyText::as_pointer(unsafe { reservation.as_ref() }.map(|reservation| &reservation.path))
}

/// The tag of a reservation's key.
///
/// reservation: the reservation, or NULL.
///
/// Returns a string that lives as long as the reservation; NULL when it has no tag, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_tag(reservation: *const trop_reservation) -> *const c_char {
    // SAFETY: NULL or a live reservation.
    LazyText::as_pointer(unsafe { reservation.as_ref() }.and_then(|reservation| reservation.tag.as_ref()))
}

/// The project of a reservation.
///
/// reservation: the reservation, or NULL.
///
/// Returns a string that lives as long as the reservation; NULL when it has no project, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_project(reservation: *const trop_reservation) -> *const c_char {
    // SAFETY: NULL or a live reservation.
    LazyText::as_pointer(unsafe { reservation.as_ref() }.and_then(|reservation| reservation.project.as_ref()))
}

/// The task of a reservation.
///
/// reservation: the reservation, or NULL.
///
/// Returns a string that lives as long as the reservation; NULL when it has no task, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_task(reservation: *const trop_reservation) -> *const c_char {
    // SAFETY: NULL or a live reservation.
    LazyText::as_pointer(unsafe { reservation.as_ref() }.and_then(|reservation| reservation.task.as_ref()))
}

/// When the key got its first port.
///
/// reservation: the reservation, or NULL.
///
/// Returns seconds since 1970-01-01 00:00:00 UTC; -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_created_at(reservation: *const trop_reservation) -> i64 {
    // SAFETY: NULL or a live reservation.
    unsafe { reservation.as_ref() }.map_or(-1, |reservation| reservation.created_at)
}

/// When the key was last asked for.
///
/// reservation: the reservation, or NULL.
///
/// Returns seconds since 1970-01-01 00:00:00 UTC; -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_last_used_at(reservation: *const trop_reservation) -> i64 {
    // SAFETY: NULL or a live reservation.
    unsafe { reservation.as_ref() }.map_or(-1, |reservation| reservation.last_used_at)
}

/// Whether the call that returned the reservation made it.
///
/// reservation: the reservation, or NULL.
///
/// Returns 1 if the call made the reservation, 0 if the key had one before, when it was only looked up, and
/// for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_created(reservation: *const trop_reservation) -> i32 {
    // SAFETY: NULL or a live reservation.
    unsafe { reservation.as_ref() }.map_or(0, |reservation| i32::from(reservation.created))
}

/// Why a key that was new or overwritten did not get the preferred port it asked for.
///
/// reservation: the reservation, or NULL.
///
/// Returns "outside_range", "reserved", "excluded", "occupied" or "forbidden", a string that lives as long as
/// the reservation; NULL when there was no preferred port or it was used, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_refusal(reservation: *const trop_reservation) -> *const c_char {
    // SAFETY: NULL or a live reservation.
    as_pointer(unsafe { reservation.as_ref() }.and_then(|reservation| reservation.refusal.as_ref()))
}

/// What had to be removed to make room for a reservation, because no port of the range was usable.
///
/// reservation: the reservation, or NULL.
///
/// Returns a JSON object as from trop_clean, a string that lives as long as the reservation; NULL when
/// nothing had to be cleaned up, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_cleanup(reservation: *const trop_reservation) -> *const c_char {
    // SAFETY: NULL or a live reservation.
    as_pointer(unsafe { reservation.as_ref() }.and_then(|reservation| reservation.cleanup.as_ref()))
}

/// Frees the memory of a reservation's description; the port stays reserved (trop_release gives it back).
/// NULL is allowed.
///
/// reservation: the reservation; it and its strings are gone afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reservation_free(reservation: *mut trop_reservation) {
    if !reservation.is_null() {
        // SAFETY: it came from `Box::into_raw` and is freed once.
        drop(unsafe { Box::from_raw(reservation) });
    }
}
