//! The one place that talks to the operating system below the standard library, and the only `unsafe` code of
//! the core.
//!
//! Everything has a fallback that compiles elsewhere; only Linux is tested.
#![allow(unsafe_code)]

pub(crate) mod file_locks;
pub(crate) mod file_system;
pub(crate) mod fs;
pub(crate) mod lock_queue;
pub(crate) mod net;
pub(crate) mod process;
pub(crate) mod sock_diag;
pub(crate) mod vfs;
