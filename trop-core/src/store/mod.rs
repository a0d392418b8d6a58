//! The shared SQLite file: who may use it when, what is in it, and how it is read and written.

mod attempt;
mod connection;
mod connections;
mod copy;
pub(crate) mod data_dir;
mod default_dir;
mod definition;
mod file;
mod free_ports;
mod leases;
mod lock_wait;
mod reader;
mod rows;
mod schema;
mod sqlite_error;
mod transaction;
mod upgrade;
mod validate;
mod writer;

pub(crate) use attempt::Failure;
pub(crate) use connection::Database;
pub(crate) use connections::ConnectionSlot;
pub(crate) use free_ports::{Found, Order, next_free, rest_is_over, rested_ports};
pub(crate) use leases::{
    LeaseRow, has_owner, insert_lease, insert_owner, is_owner_file, lease_of, leases, next_owner,
    remove_lease, remove_leases, remove_owners, unknown_owners,
};
pub(crate) use rows::{
    Selection, by_key, by_port, insert, is_reserved, list, refresh, remove, reserved_ports, select,
};
pub(crate) use validate::validate;
