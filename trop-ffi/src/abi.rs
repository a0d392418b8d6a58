//! The number of the binary interface; also read by the build script.

/// The number of the binary interface, also the number in the shared library's SONAME.
pub const TROP_ABI_VERSION: u32 = 1;
