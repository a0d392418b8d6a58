//! Which lease.

use super::port::Port;

/// A lease: the serial number tells it from earlier and later ones of the same port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseId {
    pub(crate) port: Port,
    pub(crate) serial: i64,
}
