//! The port registry of one machine.
//!
//! Test runners, dev servers and agents reserve TCP and UDP port numbers from one shared SQLite file, in
//! process and transactionally, and nobody gets a number that somebody else holds.
//!
//! ```
//! # fn main() -> trop_core::Result<()> {
//! # let scratch = tempfile::tempdir().unwrap();
//! use trop_core::{Registry, RegistryOptions, ReserveRequest, Tag};
//!
//! let mut options = RegistryOptions::default();
//! # options.data_dir = Some(scratch.path().to_path_buf());
//! let registry = Registry::open(options)?;
//! let mut request = ReserveRequest::default();
//! request.tag = Some(Tag::new("web")?);
//! let port = registry.reserve(&request)?.reservation.port;
//! assert_eq!(registry.reserve(&request)?.reservation.port, port);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod data_dir;
mod error;
mod init;
mod lookup;
mod migrate;
mod occupancy;
mod os;
mod paths;
mod port;
mod registry;
mod release;
mod reservation;
mod reserve;
mod store;
mod tag;
mod validate;

pub use data_dir::data_dir;
pub use error::{Blockers, Code, Error, Result, contain};
pub use init::{InitRequest, Initialized};
pub use lookup::Filter;
pub use migrate::{MigrateRequest, Migration, Move};
pub use occupancy::OccupancyPolicy;
pub use port::{Port, PortRange, PortSet};
pub use registry::{Registry, RegistryOptions};
pub use release::ReleaseRequest;
pub use reservation::{Key, Reservation, Timestamp};
pub use reserve::{Refusal, ReserveRequest, Reserved};
pub use tag::Tag;

/// The version of the SQLite inside, such as `3.54.0`.
pub const SQLITE_VERSION: &std::ffi::CStr = rusqlite::ffi::SQLITE_VERSION;
