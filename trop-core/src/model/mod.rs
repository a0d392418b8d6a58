//! The values that all other modules work with. They do no I/O, except for paths, which read the working and
//! home directory and may follow symbolic links.

mod arguments;
mod error;
mod lease_id;
mod migration;
pub(crate) mod paths;
mod port;
mod refusal;
mod reservation;
mod tag;
mod timestamp;
mod unsafe_ports;

pub use arguments::identifier;
pub(crate) use error::OPEN;
pub use error::{AutomaticCleanup, Blockers, Code, Error, Result, contain};
pub(crate) use lease_id::LeaseId;
pub use migration::{Migration, Move};
pub use port::{Port, PortRange, PortSet};
pub use refusal::Refusal;
pub use reservation::{Key, Reservation};
pub use tag::Tag;
pub(crate) use tag::{is_identifier, trimmed};
pub use timestamp::Timestamp;
pub(crate) use unsafe_ports::{are_all_unsafe, is_unsafe, unsafe_ports};
