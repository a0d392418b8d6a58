//! Option structs: they start with their size, grow only at the end, and have no padding.

use std::ffi::c_char;
use std::mem::size_of;
use std::ptr;

use trop_core::{Error, Port, Result};

/// Do not create a missing data directory or database.
pub const TROP_OPEN_NO_CREATE: u32 = 1;
/// Use the process-wide registry of the current data directory and working directory; allows no other option.
pub const TROP_OPEN_SHARED: u32 = 2;
/// Make no occupancy probe at all.
pub const TROP_OPEN_SKIP_OCCUPANCY_CHECK: u32 = 4;
/// Make no TCP probe.
pub const TROP_OPEN_SKIP_TCP: u32 = 8;
/// Make no UDP probe.
pub const TROP_OPEN_SKIP_UDP: u32 = 16;
/// Make no IPv4 probe.
pub const TROP_OPEN_SKIP_IPV4: u32 = 32;
/// Make no IPv6 probe.
pub const TROP_OPEN_SKIP_IPV6: u32 = 64;
/// Probe the wildcard addresses too, not only loopback.
pub const TROP_OPEN_CHECK_ALL_INTERFACES: u32 = 128;
/// Refuse a path that is neither the working directory nor above or below it.
pub const TROP_RESERVE_REFUSE_UNRELATED_PATH: u32 = 1;
/// Release only the reservation without a tag.
pub const TROP_RELEASE_UNTAGGED_ONLY: u32 = 1;
/// Refuse a path that is neither the working directory nor above or below it.
pub const TROP_RELEASE_REFUSE_UNRELATED_PATH: u32 = 2;

/// What is not given.
const NOT_GIVEN: i32 = -1;

/// More than any version will have: a size above it is a mistake, not a newer caller.
const LARGEST_SIZE: usize = 4096;

/// How to open a registry. Initialise with TROP_OPEN_OPTIONS_INIT or trop_open_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct trop_open_options {
    /// sizeof(trop_open_options).
    pub size: u32,
    /// TROP_OPEN_* combined.
    pub flags: u32,
    /// The data directory; NULL means TROP_DATA_DIR, else ~/.trop.
    pub data_dir: *const c_char,
    /// Ports never to choose, such as "5001,5005..5009"; NULL means none.
    pub excluded: *const c_char,
    /// How long to wait for other users of the database, in milliseconds; 0 fails at once, -1 means 5000.
    pub busy_timeout_ms: i32,
    /// The lowest port to choose; -1 means 5000.
    pub ports_min: i32,
    /// The highest port to choose; -1 means 7000.
    pub ports_max: i32,
    /// 0.
    pub reserved: u32,
}

/// What to reserve. Initialise with TROP_RESERVE_OPTIONS_INIT or trop_reserve_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct trop_reserve_options {
    /// sizeof(trop_reserve_options).
    pub size: u32,
    /// TROP_RESERVE_* combined.
    pub flags: u32,
    /// The path of the key; NULL means the working directory.
    pub path: *const c_char,
    /// The tag of the key; NULL means none.
    pub tag: *const c_char,
    /// The preferred port of a new key; -1 means none.
    pub port: i32,
    /// Replaces the lowest port to choose; -1 means the registry's.
    pub min: i32,
    /// Replaces the highest port to choose; -1 means the registry's.
    pub max: i32,
    /// 0.
    pub reserved: u32,
}

/// What to release. Initialise with TROP_RELEASE_OPTIONS_INIT or trop_release_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct trop_release_options {
    /// sizeof(trop_release_options).
    pub size: u32,
    /// TROP_RELEASE_* combined.
    pub flags: u32,
    /// The path; NULL means the working directory.
    pub path: *const c_char,
    /// Only the reservation with this tag; NULL means all of the path, tagged or not.
    pub tag: *const c_char,
}

/// An option struct.
///
/// # Safety
/// Plain old data without padding that starts with its size; every version so far is at least `SMALLEST` bytes.
pub(crate) unsafe trait Options: Copy {
    /// The flags that are known.
    const FLAGS: u32;
    /// The size of the first published version.
    const SMALLEST: usize;
    const DEFAULT: Self;

    fn flags(&self) -> u32;

    /// The reserved field, if there is one.
    fn reserved(&self) -> u32 {
        0
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a few dozen bytes")]
const fn size<T>() -> u32 {
    size_of::<T>() as u32
}

// SAFETY: three pairs of 32-bit fields around two pointers.
unsafe impl Options for trop_open_options {
    const FLAGS: u32 = 255;
    const SMALLEST: usize = size_of::<Self>();
    const DEFAULT: Self = trop_open_options {
        size: size::<Self>(),
        flags: 0,
        data_dir: ptr::null(),
        excluded: ptr::null(),
        busy_timeout_ms: NOT_GIVEN,
        ports_min: NOT_GIVEN,
        ports_max: NOT_GIVEN,
        reserved: 0,
    };

    fn flags(&self) -> u32 {
        self.flags
    }

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

// SAFETY: three pairs of 32-bit fields around two pointers.
unsafe impl Options for trop_reserve_options {
    const FLAGS: u32 = TROP_RESERVE_REFUSE_UNRELATED_PATH;
    const SMALLEST: usize = size_of::<Self>();
    const DEFAULT: Self = trop_reserve_options {
        size: size::<Self>(),
        flags: 0,
        path: ptr::null(),
        tag: ptr::null(),
        port: NOT_GIVEN,
        min: NOT_GIVEN,
        max: NOT_GIVEN,
        reserved: 0,
    };

    fn flags(&self) -> u32 {
        self.flags
    }

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

// SAFETY: a pair of 32-bit fields before two pointers.
unsafe impl Options for trop_release_options {
    const FLAGS: u32 = TROP_RELEASE_UNTAGGED_ONLY | TROP_RELEASE_REFUSE_UNRELATED_PATH;
    const SMALLEST: usize = size_of::<Self>();
    const DEFAULT: Self =
        trop_release_options { size: size::<Self>(), flags: 0, path: ptr::null(), tag: ptr::null() };

    fn flags(&self) -> u32 {
        self.flags
    }
}

/// Reads the caller's struct, which may be of an older or newer version than ours; NULL means the defaults.
///
/// # Safety
/// `pointer` is NULL, or points to as many readable bytes as its first field says.
pub(crate) unsafe fn read<T: Options>(pointer: *const T) -> Result<T> {
    let invalid = |reason: String| Error::InvalidArgument { argument: "options", reason };
    if pointer.is_null() {
        return Ok(T::DEFAULT);
    }
    // SAFETY: every version starts with its size.
    let given = unsafe { pointer.cast::<u32>().read() } as usize;
    if !(T::SMALLEST..=LARGEST_SIZE).contains(&given) {
        return Err(invalid(format!("unknown size {given}; initialise the struct before using it")));
    }
    let known = given.min(size_of::<T>());
    let mut options = T::DEFAULT;
    // SAFETY: `known` bytes are readable there and writable here, and any bytes are a valid T.
    unsafe { ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut options).cast::<u8>(), known) };
    // SAFETY: `given` bytes are readable.
    let rest = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(known), given - known) };
    if rest.iter().any(|byte| *byte != 0) || options.reserved() != 0 {
        return Err(invalid("it asks for something this version of trop does not know".to_owned()));
    }
    let unknown = options.flags() & !T::FLAGS;
    if unknown != 0 {
        return Err(Error::InvalidArgument {
            argument: "flags",
            reason: format!("unknown flags {unknown:#x}"),
        });
    }
    Ok(options)
}

/// A port field; -1 is none.
pub(crate) fn port(argument: &'static str, number: i32) -> Result<Option<Port>> {
    if number == NOT_GIVEN { Ok(None) } else { Port::new(argument, i64::from(number)).map(Some) }
}

/// Writes the defaults into as many bytes as the caller has, which may be of an older or newer version than ours.
///
/// # Safety
/// `options` is NULL, or points to `size` writable bytes.
unsafe fn initialise<T: Options>(options: *mut T, size: u32) {
    if options.is_null() {
        return;
    }
    let given = size as usize;
    let known = given.min(size_of::<T>());
    let defaults = T::DEFAULT;
    // SAFETY: `given` bytes are writable there and `known` bytes are readable here; the size comes first.
    unsafe {
        ptr::write_bytes(options.cast::<u8>(), 0, given);
        ptr::copy_nonoverlapping((&raw const defaults).cast::<u8>(), options.cast::<u8>(), known);
        if given >= size_of::<u32>() {
            options.cast::<u32>().write(size);
        }
    }
}

/// Initialises options with their defaults, as TROP_OPEN_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_open_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_open_options_init(options: *mut trop_open_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { initialise(options, size) }
}

/// Initialises options with their defaults, as TROP_RESERVE_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_reserve_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_reserve_options_init(options: *mut trop_reserve_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { initialise(options, size) }
}

/// Initialises options with their defaults, as TROP_RELEASE_OPTIONS_INIT does.
///
/// options: the struct to write; NULL is allowed and ignored.
/// size: sizeof(trop_release_options), so that a newer library writes no more than an older program has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trop_release_options_init(options: *mut trop_release_options, size: u32) {
    // SAFETY: the header's conventions.
    unsafe { initialise(options, size) }
}
