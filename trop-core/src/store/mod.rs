//! The shared SQLite file: who may use it when, what is in it, and how it is read and written.

mod connection;
mod definition;
mod free_ports;
mod leases;
mod pool;
mod rows;
mod schema;
mod transaction;
mod upgrade;
mod validate;
mod wait;

use std::path::{Path, PathBuf};

pub(crate) use connection::Database;
pub(crate) use free_ports::lowest_usable;
pub(crate) use leases::{
    LeaseRow, has_owner, insert_lease, insert_owner, is_owner_file, leases, next_owner, owner_of,
    remove_lease, remove_owners, unknown_owners,
};
pub(crate) use pool::{Seat, generation, locked, locked_on, usable};
pub(crate) use rows::{
    Selection, by_key, by_port, insert, is_reserved, list, refresh, remove, reserved_ports, select,
};
pub(crate) use validate::validate;

/// The file beside a database that has its name with something appended.
fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
