//! Leases: ports that are given back at the latest when the process that asked for them ends.

mod allocate;
mod handle;
mod listening;
mod lookup;
mod socket;
mod without_handle;

pub use allocate::LeaseRequest;
pub use handle::Lease;
pub(super) use lookup::find_keepers;
pub use lookup::{Holder, LeaseInfo, ProcessState};
pub use without_handle::forgotten_ports;
