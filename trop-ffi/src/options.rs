//! Reading and initialising option structs. A program may have been compiled with an older or a newer header
//! than this library's, so every struct starts with its size and its flags, grows only at the end, and has no
//! padding. Each struct is defined beside its call.

use std::mem::{align_of, size_of};
use std::ptr;

use trop_core::Result;

use crate::arguments::{invalid, known_flags};

/// Larger than the struct of any version will be: a size above it is a mistake, not a newer caller.
const LARGEST_SIZE: usize = 4096;

/// An option struct.
///
/// # Safety
/// Plain old data without padding that starts with its size and its flags, 32 bits each; every version so far
/// is at least `SMALLEST` bytes.
pub(crate) unsafe trait Options: Copy {
    /// The flags that the call takes.
    const FLAGS: u32;
    /// The size of the first published version.
    const SMALLEST: usize = size_of::<Self>();
    const DEFAULT: Self;

    /// The field that must be 0, if the struct has one.
    fn reserved(&self) -> u32 {
        0
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a few dozen bytes")]
pub(crate) const fn size<T>() -> u32 {
    size_of::<T>() as u32
}

/// Reads the caller's struct, which may be of an older or newer version than ours; NULL means the defaults.
///
/// # Safety
/// `pointer` is NULL, or points to as many readable bytes as its first field says.
pub(crate) unsafe fn read<T: Options>(pointer: *const T) -> Result<T> {
    if pointer.is_null() {
        return Ok(T::DEFAULT);
    }
    // SAFETY: every version starts with its size.
    let given = unsafe { pointer.cast::<u32>().read() } as usize;
    // Every version ends with a whole field, and so at a multiple of the alignment.
    if !(T::SMALLEST..=LARGEST_SIZE).contains(&given) || !given.is_multiple_of(align_of::<T>()) {
        let reason = format!("unknown size {given}; initialise the struct before using it");
        return Err(invalid("options", reason));
    }
    let known = given.min(size_of::<T>());
    let mut options = T::DEFAULT;
    // SAFETY: `known` bytes are readable there and writable here, and any bytes are a valid T.
    unsafe { ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut options).cast::<u8>(), known) };
    // SAFETY: `given` bytes are readable.
    let rest = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(known), given - known) };
    if rest.iter().any(|byte| *byte != 0) || options.reserved() != 0 {
        return Err(invalid("options", "it asks for something this version of trop does not know"));
    }
    // SAFETY: the flags are the second field of every version.
    let flags = unsafe { (&raw const options).cast::<u32>().add(1).read() };
    known_flags(flags, T::FLAGS)?;
    Ok(options)
}

/// Writes the defaults into as many bytes as the caller has, which may be of an older or newer version than
/// ours.
///
/// # Safety
/// `options` is NULL, or points to `size` writable bytes.
pub(crate) unsafe fn initialise<T: Options>(options: *mut T, size: u32) {
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
