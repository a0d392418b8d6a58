//! Looking at the registry without changing it.

use crate::error::Result;
use crate::port::Port;
use crate::registry::Registry;
use crate::reservation::{Key, Reservation};
use crate::store;

impl Registry {
    /// The reservation of exactly this key.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn find(&self, key: &Key) -> Result<Option<Reservation>> {
        self.seat().with(|database| database.read(|snapshot| store::by_key(snapshot, key)))
    }

    /// The reservation that holds a port.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn find_port(&self, port: Port) -> Result<Option<Reservation>> {
        self.seat().with(|database| database.read(|snapshot| store::by_port(snapshot, port)))
    }

    /// Every reservation, ordered by path, then tag, the untagged one first.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn list(&self) -> Result<Vec<Reservation>> {
        self.seat().with(|database| database.read(store::list))
    }
}
