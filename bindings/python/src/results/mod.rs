//! Results of the core as immutable Python objects.

mod explanation;
mod lease_info;
mod migration;
mod reservation;
mod value;

pub(crate) use explanation::Explanation;
pub(crate) use lease_info::LeaseInfo;
pub(crate) use migration::{Migration, Move};
pub(crate) use reservation::{Cleanup, Preserved, Reservation, restore};
