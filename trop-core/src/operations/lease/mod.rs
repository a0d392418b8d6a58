//! Leases: ports that live exactly as long as whoever asked for them.

mod allocate;
mod handle;
mod holding;
mod listening;
mod lookup;
mod socket;

pub use allocate::LeaseRequest;
pub use handle::Lease;
pub use lookup::{Holder, LeaseInfo};
