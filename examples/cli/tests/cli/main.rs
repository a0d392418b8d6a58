//! The command from outside: exit codes, both streams, and the rows it leaves.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod arguments;
mod database;
mod generated;
mod guard;
mod init;
mod list;
mod lookup;
mod migrate;
mod release;
mod reserve;
mod support;
mod upgrade;
mod validate_database;
