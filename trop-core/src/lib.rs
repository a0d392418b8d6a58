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
//!
//! The services of a project get their ports in one step, all or none:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let project = scratch.path().canonicalize()?;
//! # let mut options = trop_core::RegistryOptions::default();
//! # options.data_dir = Some(project.join("data"));
//! # options.discovery = trop_core::Discovery::Off;
//! # let registry = trop_core::Registry::open(options)?;
//! use trop_core::{GroupFormat, GroupRequest, Shell};
//!
//! std::fs::write(project.join("trop.yaml"), "reservations: {services: {web: {}, api: {offset: 1}}}")?;
//! let mut request = GroupRequest::default();
//! request.file = Some(project.join("trop.yaml"));
//! let group = registry.reserve_group(&request)?;
//! assert_eq!(group.members[0].tag(), "api");
//! assert_eq!(group.members[0].port().get(), group.members[1].port().get() + 1);
//! assert!(group.format(GroupFormat::Export(Shell::Bash))?.starts_with("export API="));
//! # Ok(())
//! # }
//! ```
//!
//! Tests and whatever else runs once lease ports, which come back however the process ends:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let mut options = trop_core::RegistryOptions::default();
//! # options.data_dir = Some(scratch.path().to_path_buf());
//! # let registry = trop_core::Registry::open(options)?;
//! use trop_core::LeaseRequest;
//!
//! let lease = registry.lease(&LeaseRequest::default())?;
//! let listener = lease.listen("127.0.0.1", 16)?;
//! assert_eq!(listener.local_addr()?.port(), lease.port().get());
//! drop(lease);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod candidates;
mod cleanup;
mod config;
mod data_dir;
mod error;
mod exclusions;
mod explain;
mod git;
mod group;
mod init;
mod lease;
mod lookup;
mod metadata;
mod migrate;
mod occupancy;
mod os;
mod owner;
mod paths;
mod port;
mod recent;
mod registry;
mod release;
mod reservation;
mod reserve;
mod scan;
mod shell;
mod store;
mod tag;
mod validate;

pub use cleanup::{Cleanup, Preserved};
pub use config::{
    Configuration, Discovery, Group, LogMode, Origin, OutputFormat, Problem, Service, Setting, Uses,
    is_variable_name, validate,
};
pub use data_dir::data_dir;
pub use error::{AutomaticCleanup, Blockers, Code, Error, Result, contain};
pub use exclusions::{ExcludeRequest, ExclusionEdit, ExclusionFile, add_exclusions, compact_exclusions};
pub use explain::Explanation;
pub use group::{GroupKey, GroupOutcome, GroupRequest, Member, ReservedGroup};
pub use init::{InitRequest, Initialized};
pub use lease::{Holder, Lease, LeaseInfo, LeaseRequest};
pub use lookup::Filter;
pub use metadata::Field;
pub use migrate::{MigrateRequest, Migration, Move};
pub use occupancy::{Family, OccupancyPolicy, Probe, Protocol, Scope, Verdict};
pub use owner::Owner;
pub use paths::resolve_path;
pub use port::{Port, PortRange, PortSet};
pub use registry::{Registry, RegistryOptions};
pub use release::ReleaseRequest;
pub use reservation::{Key, Reservation, Timestamp};
pub use reserve::{Refusal, ReserveRequest, Reserved};
pub use scan::{Doubt, Finding, PortOccupancy, Scan, ScanRequest};
pub use shell::{GroupFormat, Shell};
pub use tag::{Tag, identifier};

/// The version of the SQLite inside, such as `3.54.0`.
pub const SQLITE_VERSION: &std::ffi::CStr = rusqlite::ffi::SQLITE_VERSION;
