//! Leases: taking them, using them and giving them back.

use std::ffi::{CString, c_char};
use std::ptr;
use std::time::Duration;

use trop_core::{Lease, LeaseRequest, Protocol, Registry, Result, contain};

use crate::arguments::{self, NOT_GIVEN, invalid, null};
use crate::error::{report, trop_error};
use crate::flags::{OCCUPANCY, occupancy};
use crate::options::{self, Options, size};
use crate::registry::{call_on, trop_registry};
use crate::strings::{as_pointer, c_string};

/// Lease consecutive ports.
pub const TROP_LEASE_CONTIGUOUS: u32 = 1;
/// Keep a socket bound to the port while the lease is open, so that the system assigns it to no other
/// program. A server that sets SO_REUSEADDR can still listen on it; one that does not set it cannot. Linux
/// only.
pub const TROP_LEASE_HOLD: u32 = 2;

/// TCP, for trop_lease_bind.
pub const TROP_PROTOCOL_TCP: i32 = 1;
/// UDP, for trop_lease_bind.
pub const TROP_PROTOCOL_UDP: i32 = 2;

/// A count that no range has ports for. From here on the caller's array is left alone: the call fails in any
/// case, and the array may be shorter than the count says.
const TOO_MANY: u32 = 65536;
/// Stands for no socket; 0 would be a valid descriptor.
const NO_SOCKET: i64 = -1;

/// What to lease. Initialise with TROP_LEASE_OPTIONS_INIT or trop_lease_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct trop_lease_options {
    /// sizeof(trop_lease_options).
    pub size: u32,
    /// TROP_LEASE_*, TROP_SKIP_* and TROP_CHECK_* combined.
    pub flags: u32,
    /// A label for people who read lists: 1 to 255 bytes, white space at both ends is dropped; NULL means
    /// none.
    pub label: *const c_char,
    /// The preferred port, or the first of several; -1 means none.
    pub port: i32,
    /// Replaces the lowest port to choose; -1 means the registry's.
    pub min: i32,
    /// Replaces the highest port to choose; -1 means the registry's.
    pub max: i32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: three pairs of 32-bit fields and a pointer, ordered so that there is no padding.
unsafe impl Options for trop_lease_options {
    const FLAGS: u32 = TROP_LEASE_CONTIGUOUS | TROP_LEASE_HOLD | OCCUPANCY;
    const DEFAULT: Self = trop_lease_options {
        size: size::<Self>(),
        flags: 0,
        label: ptr::null(),
        port: NOT_GIVEN,
        min: NOT_GIVEN,
        max: NOT_GIVEN,
        reserved: 0,
    };

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

/// Initialises options with their defaults, as TROP_LEASE_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_lease_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_options_init(options: *mut trop_lease_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { options::initialise(options, size) }
}

/// A port that belongs to this process until the lease is closed or freed, its registry is closed or freed
/// (unless that is the process-wide one), or the process ends in any way. Any number of threads may use it at
/// once, and it may be freed after its registry.
///
/// A forked child shares the lease: it lasts until both processes have ended, and closing or freeing it in
/// the child does not end it. A program started by exec does not share it.
pub struct trop_lease_handle {
    lease: Lease,
    label: Option<CString>,
    /// The registry of the lease: a panic in a call on the lease poisons it.
    registry: Registry,
}

impl trop_lease_handle {
    fn new(lease: Lease, registry: &Registry) -> *mut trop_lease_handle {
        let label = lease.label().map(c_string);
        Box::into_raw(Box::new(trop_lease_handle { lease, label, registry: registry.clone() }))
    }

    fn run<T>(&self, body: impl FnOnce(&Lease) -> Result<T>) -> Result<T> {
        self.registry.contain(|_| body(&self.lease))
    }
}

/// Leases a port: the preferred one if it is usable, else the lowest usable one of the range that has rested,
/// which means that no number that was given up comes again while there is another one. No two leases ever
/// have the same port. If no port of the range is usable, the range is cleaned up first, as far as the
/// configuration allows.
///
/// registry: the registry.
/// options: what to lease; NULL means any port of the registry's range of leases.
/// lease: receives the lease; end and free it with trop_lease_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_EXHAUSTED, TROP_ERR_BUSY, TROP_ERR_CONFIG,
/// TROP_ERR_UNSUPPORTED where ports cannot be held or files cannot be locked, TROP_ERR_CLOSED or a database
/// error. After a failure the registry is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease(
    registry: *mut trop_registry,
    options: *const trop_lease_options,
    lease: *mut *mut trop_lease_handle,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("lease", lease), error, |registry| {
            let lease = registry.lease(&request(options)?)?;
            Ok(trop_lease_handle::new(lease, registry))
        })
    }
}

/// Leases several ports, all or none. They come in ascending order, except that a preferred port which is
/// among them comes first.
///
/// registry: the registry.
/// count: how many, 1 to the size of the range.
/// options: what to lease; NULL means any ports of the registry's range of leases.
/// leases: receives the leases: an array with room for count pointers. After a failure all of them are NULL,
/// but nothing is written when count is above 65535. End and free each lease with trop_lease_free.
/// error: receives the details of a failure; may be NULL.
///
/// Returns the same as trop_lease. With TROP_LEASE_CONTIGUOUS, TROP_ERR_EXHAUSTED also means that enough
/// ports are usable, but no neighbours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_many(
    registry: *mut trop_registry,
    count: u32,
    options: *const trop_lease_options,
    leases: *mut *mut trop_lease_handle,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions; the core gives as many leases as were asked for, or none.
    unsafe {
        if leases.is_null() {
            return report(error, Err(null("leases")));
        }
        if count < TOO_MANY {
            ptr::write_bytes(leases, 0, count as usize);
        }
        let result = arguments::object("registry", registry).and_then(|registry| {
            registry.run(|registry| {
                let taken = registry.lease_many(count, &request(options)?)?;
                for (index, lease) in taken.into_iter().enumerate() {
                    leases.add(index).write(trop_lease_handle::new(lease, registry));
                }
                Ok(())
            })
        });
        report(error, result)
    }
}

/// Chooses a port as trop_lease does and returns only its number, which nobody else gets until the process
/// ends or the registry is closed or freed (unless that is the process-wide one). Unlike that of a lease, it
/// cannot be given back before, but by trop_release_port. A forked child shares it.
///
/// registry: the registry.
/// options: what to lease; NULL means any port of the registry's range of leases.
/// port: receives the port; 0 after a failure.
/// error: receives the details of a failure; may be NULL.
///
/// Returns the same as trop_lease.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_port(
    registry: *mut trop_registry,
    options: *const trop_lease_options,
    port: *mut u16,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        call_on(registry, ("port", port), error, |registry| Ok(registry.port(&request(options)?)?.get()))
    }
}

/// # Safety
/// As [`options::read`]; the label is NULL or NUL-terminated.
unsafe fn request(options: *const trop_lease_options) -> Result<LeaseRequest> {
    // SAFETY: the caller's promise.
    let options = unsafe { options::read(options) }?;
    let mut request = LeaseRequest::default();
    // SAFETY: the caller's promise.
    request.label = unsafe { arguments::text("label", options.label) }?.map(str::to_owned);
    request.preferred = arguments::port("port", options.port)?;
    request.min = arguments::port("min", options.min)?;
    request.max = arguments::port("max", options.max)?;
    request.occupancy = occupancy(options.flags)?;
    request.contiguous = options.flags & TROP_LEASE_CONTIGUOUS != 0;
    request.hold = options.flags & TROP_LEASE_HOLD != 0;
    Ok(request)
}

/// The port of a lease, also of one that has ended.
///
/// lease: the lease, or NULL.
///
/// Returns the port, 1 to 65535; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_port(lease: *const trop_lease_handle) -> u16 {
    // SAFETY: NULL or a live lease.
    unsafe { lease.as_ref() }.map_or(0, |lease| lease.lease.port().get())
}

/// The label of a lease.
///
/// lease: the lease, or NULL.
///
/// Returns a string that lives as long as the lease; NULL when it has no label, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_label(lease: *const trop_lease_handle) -> *const c_char {
    // SAFETY: NULL or a live lease.
    as_pointer(unsafe { lease.as_ref() }.and_then(|lease| lease.label.as_ref()))
}

/// Whether a lease is open: neither it nor its registry was closed. In a forked child it is always open.
///
/// lease: the lease, or NULL.
///
/// Returns 1 or 0; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_is_open(lease: *const trop_lease_handle) -> i32 {
    // SAFETY: NULL or a live lease.
    let lease = unsafe { lease.as_ref() };
    i32::from(lease.is_some_and(|lease| lease.run(|lease| Ok(lease.is_open())).unwrap_or(false)))
}

/// Ends a lease, so that its port can be given out again. Never waits and never fails: if the database is
/// busy, the end is noted, and whoever would be refused because of the lease removes it. Closing a lease
/// twice, closing a lease of the parent in a forked child, and NULL are allowed and do nothing. Sockets on
/// the port stay open.
///
/// lease: the lease; still to be freed with trop_lease_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_close(lease: *mut trop_lease_handle) {
    // SAFETY: NULL or a live lease.
    if let Some(lease) = unsafe { lease.as_ref() } {
        // There is no way to report a panic.
        let _ = contain(|| {
            lease.lease.close();
            Ok(())
        });
    }
}

/// Ends a lease as trop_lease_close does and frees its memory. NULL is allowed. No other thread may use the
/// lease any more.
///
/// lease: the lease; it is gone afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_free(lease: *mut trop_lease_handle) {
    // SAFETY: the header's conventions.
    let _ = unsafe { dispose(lease, drop) };
}

/// Frees the memory of a lease without ending it: for languages that collect garbage, whose programs keep the
/// number. The lease lasts until the process ends or its registry is closed or freed; of more than 256 such
/// leases in a process the oldest end. NULL is allowed. No other thread may use the lease any more.
///
/// lease: the lease; it is gone afterwards.
///
/// Returns 1, or 0 if the lease had ended or belongs to a process that forked this one, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_forget(lease: *mut trop_lease_handle) -> i32 {
    // SAFETY: the header's conventions.
    i32::from(unsafe { dispose(lease, |lease| lease.forget()) }.unwrap_or_default())
}

/// Frees a handle, and does the rest with its lease. `None` for NULL and after a panic, which there is no way
/// to report.
///
/// # Safety
/// NULL, or from [`trop_lease_handle::new`] and not freed before.
unsafe fn dispose<T>(lease: *mut trop_lease_handle, rest: impl FnOnce(Lease) -> T) -> Option<T> {
    if lease.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let handle = unsafe { Box::from_raw(lease) };
    contain(move || Ok(rest(handle.lease))).ok()
}

/// Listens on the leased port, so that there is no gap between the choice of the port and its use. The caller
/// closes the socket. Socket and lease are independent: closing one does not close the other. The socket is
/// closed on exec.
///
/// lease: the lease.
/// host: an address or a name of this host; NULL means "127.0.0.1".
/// backlog: how many connections may wait to be accepted; -1 means 128.
/// socket: receives a listening TCP socket: a file descriptor, on Windows a SOCKET; -1 after a failure.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, also for a host that is unknown, TROP_ERR_CLOSED when the
/// lease has ended, or TROP_ERR_IO when it cannot listen there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_listen(
    lease: *mut trop_lease_handle,
    host: *const c_char,
    backlog: i32,
    socket: *mut i64,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        socket_of(lease, socket, error, |lease| {
            let host = arguments::text("host", host)?.unwrap_or(Lease::HOST);
            let backlog = if backlog == NOT_GIVEN { Lease::BACKLOG } else { backlog };
            Ok(handed_over(lease.listen(host, backlog)?))
        })
    }
}

/// Binds a socket to the leased port, as trop_lease_listen does, but does not listen.
///
/// lease: the lease.
/// protocol: TROP_PROTOCOL_TCP or TROP_PROTOCOL_UDP.
/// host: an address or a name of this host; NULL means "127.0.0.1".
/// socket: receives a bound socket: a file descriptor, on Windows a SOCKET; -1 after a failure.
/// error: receives the details of a failure; may be NULL.
///
/// Returns the same as trop_lease_listen.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_bind(
    lease: *mut trop_lease_handle,
    protocol: i32,
    host: *const c_char,
    socket: *mut i64,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        socket_of(lease, socket, error, |lease| {
            let protocol = match protocol {
                TROP_PROTOCOL_TCP => Protocol::Tcp,
                TROP_PROTOCOL_UDP => Protocol::Udp,
                unknown => return Err(invalid("protocol", format!("{unknown} is no TROP_PROTOCOL_*"))),
            };
            let host = arguments::text("host", host)?.unwrap_or(Lease::HOST);
            Ok(handed_over(lease.bind(protocol, host)?))
        })
    }
}

/// Runs a call on a lease and stores the socket it makes in the out-parameter.
///
/// # Safety
/// All pointers are NULL or as the header's conventions say.
unsafe fn socket_of(
    lease: *mut trop_lease_handle,
    socket: *mut i64,
    error: *mut *mut trop_error,
    make: impl FnOnce(&Lease) -> Result<i64>,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        let run = || arguments::object("lease", lease)?.run(make);
        report(error, arguments::fill("socket", socket, NO_SOCKET, run))
    }
}

/// The socket as a number, for the caller to close.
#[cfg(unix)]
fn handed_over(socket: impl std::os::fd::IntoRawFd) -> i64 {
    i64::from(socket.into_raw_fd())
}

/// The socket as a number, for the caller to close.
#[cfg(windows)]
fn handed_over(socket: impl std::os::windows::io::IntoRawSocket) -> i64 {
    socket.into_raw_socket().cast_signed()
}

/// Waits until something accepts TCP connections on the loopback address of the leased port and, as far as
/// the operating system tells, belongs to the process that has the lease or to one of its descendants.
///
/// lease: the lease.
/// timeout_ms: how long to wait, in milliseconds; 0 checks once, -1 means 10000.
/// error: receives the details of a failure; may be NULL.
///
/// Returns TROP_OK, TROP_ERR_INVALID_ARGUMENT, TROP_ERR_CLOSED when the lease has ended, or
/// TROP_ERR_NOT_LISTENING: at once when somebody else listens there, else when the time is over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_lease_wait_listening(
    lease: *mut trop_lease_handle,
    timeout_ms: i32,
    error: *mut *mut trop_error,
) -> i32 {
    // SAFETY: the header's conventions.
    unsafe {
        let result = arguments::object("lease", lease).and_then(|lease| {
            lease.run(|lease| {
                let timeout = match timeout_ms {
                    NOT_GIVEN => Lease::WAIT,
                    given => Duration::from_millis(
                        u64::try_from(given)
                            .map_err(|_| invalid("timeout", format!("{given} milliseconds are negative")))?,
                    ),
                };
                lease.wait_listening(timeout)
            })
        });
        report(error, result)
    }
}
