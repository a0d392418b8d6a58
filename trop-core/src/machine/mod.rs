//! Facts about this machine: which process has a port bound, and which project a directory belongs to.

mod checkout_cache;
mod git;
mod holding;
mod kernel_sockets;
mod occupancy;
mod probe_cache;
mod sockets;

pub(crate) use checkout_cache::CheckoutCache;
pub(crate) use git::Inferred;
pub(crate) use holding::{HoldingSockets, bound};
pub(crate) use kernel_sockets::{KernelSockets, verdicts};
pub use occupancy::{Family, OccupancyPolicy, Probe, Protocol, Scope, Verdict};
pub(crate) use probe_cache::{Availability, ProbeCache};
pub use sockets::Owner;
pub(crate) use sockets::{Owners, PortUser, Process, users_of_port};
