//! The identity of a lease.

use super::port::Port;

/// Identifies a lease. The serial number distinguishes it from earlier and later leases of the same port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseId {
    pub(crate) port: Port,
    pub(crate) serial: i64,
}
