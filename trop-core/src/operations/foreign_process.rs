//! Which process uses a port that is reserved for another directory.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::{PortUser, users_of_port};
use crate::model::Reservation;
use crate::registry::Registry;

/// A process that uses the port of a reservation and works in a directory that is not the reservation's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignProcess {
    /// The process id.
    pub process_id: u32,
    /// The name of its program, empty if it is not known.
    pub process_name: String,
    /// Its working directory.
    pub directory: PathBuf,
}

impl Registry {
    /// The process that listens on the port of a reservation, or has it bound for UDP, and whose working
    /// directory is neither the path of the reservation nor below it. None if any of several processes works
    /// there, or if nothing can be said of them: another user's processes cannot be looked at, and other
    /// systems than Linux do not tell. No port is bound, and the database is not read.
    #[must_use]
    pub fn foreign_process(&self, reservation: &Reservation) -> Option<ForeignProcess> {
        let path = Path::new(reservation.key.path());
        // Links in the path of a key are kept; a working directory has none.
        let real = fs::canonicalize(path);
        let is_inside = |user: &PortUser| {
            user.directory.starts_with(path)
                || real.as_ref().is_ok_and(|real| user.directory.starts_with(real))
        };
        let users = users_of_port(reservation.port);
        if users.iter().any(is_inside) {
            return None;
        }
        users.into_iter().next().map(|PortUser { process, directory }| ForeignProcess {
            process_id: process.id,
            process_name: process.name,
            directory,
        })
    }
}
