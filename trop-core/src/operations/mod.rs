//! The operations of a registry, one per file: the request, the result, and the method of
//! [`Registry`](crate::Registry) with its steps in order.

mod allocation;
mod cleanup;
mod exclude;
mod explain;
mod foreign_process;
mod group_format;
mod init;
mod lease;
mod lookup;
mod metadata;
mod migrate;
mod release;
mod reserve;
mod reserve_group;
mod scan;
mod validate;

pub use cleanup::{Cleanup, Preserved};
pub use exclude::{ExcludeRequest, ExclusionFile};
pub use explain::Explanation;
pub use foreign_process::ForeignProcess;
pub use group_format::{GroupFormat, Shell};
pub use init::{InitRequest, Initialized};
pub use lease::{Holder, Lease, LeaseInfo, LeaseRequest, ProcessState, forgotten_ports};
pub use lookup::Filter;
pub use metadata::Field;
pub use migrate::MigrateRequest;
pub use release::ReleaseRequest;
pub use reserve::{ReserveRequest, Reserved};
pub use reserve_group::{GroupKey, GroupOutcome, GroupRequest, Member, ReservedGroup};
pub use scan::{Doubt, Finding, PortOccupancy, Scan, ScanRequest};
