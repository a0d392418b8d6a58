//! The shared SQLite file: who may use it when, what is in it, and how it is read and written.

mod connection;
mod definition;
mod free_ports;
mod pool;
mod rows;
mod schema;
mod upgrade;
mod validate;
mod wait;

pub(crate) use free_ports::lowest_usable;
pub(crate) use pool::{Seat, locked, usable};
pub(crate) use rows::{
    Selection, by_key, by_port, insert, is_reserved, list, refresh, remove, reserved_ports, select,
};
pub(crate) use validate::validate;
