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
//! Tests and other short-lived programs lease ports, which are given back however the process ends. Dropping
//! a lease ends it; [`Registry::port`] gives a number that lasts as long as the process:
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
//! let port = registry.port(&LeaseRequest::default())?;
//! # assert!(registry.holder(port)?.is_some());
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod config;
mod fork;
mod machine;
mod model;
mod operations;
mod os;
mod registry;
mod store;

pub use config::{
    Configuration, Discovery, ExclusionEdit, Group, LogMode, Origin, OutputFormat, Problem, RegistryOptions,
    Service, Setting, Uses, add_exclusions, compact_exclusions, is_variable_name, validate,
};
pub use machine::{Family, OccupancyPolicy, Owner, Probe, Protocol, Scope, Verdict};
pub use model::paths::resolve_path;
pub use model::{
    AutomaticCleanup, Blockers, Code, Error, Key, Migration, Move, Port, PortRange, PortSet, Refusal,
    Reservation, Result, Tag, Timestamp, contain, identifier,
};
pub use operations::{
    Cleanup, Doubt, ExcludeRequest, ExclusionFile, Explanation, Field, Filter, Finding, ForeignProcess,
    GroupFormat, GroupKey, GroupOutcome, GroupRequest, Holder, InitRequest, Initialized, Lease, LeaseInfo,
    LeaseRequest, Member, MigrateRequest, PortOccupancy, Preserved, ProcessState, ReleaseRequest,
    ReserveRequest, Reserved, ReservedGroup, Scan, ScanRequest, Shell, forgotten_ports,
};
pub use registry::Registry;
pub use store::data_dir::data_dir;

/// The version of the SQLite that is built in, such as `3.54.0`.
pub const SQLITE_VERSION: &std::ffi::CStr = rusqlite::ffi::SQLITE_VERSION;
