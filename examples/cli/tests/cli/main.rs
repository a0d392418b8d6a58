//! The command from outside: exit codes, both streams, and the rows it leaves.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod arguments;
mod configuration;
mod database;
mod exclusions;
mod generated;
mod guard;
mod list;
mod lookup;
mod migrate;
mod release;
mod reserve;
mod scan;
mod show;
mod support;
mod validate;
mod variables;
mod verbosity;
