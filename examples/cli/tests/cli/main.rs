//! Runs the command and checks its exit code, its output, and the rows in the database afterwards.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod allocation;
mod arguments;
mod cleanup;
mod configuration;
mod database;
mod exclusions;
mod faults;
mod fields;
mod foreign_process;
mod generated;
mod git;
mod group_races;
mod group_shells;
mod groups;
mod guard;
mod homeless;
mod init;
mod leases;
mod list;
mod lookup;
mod migrate;
mod release;
mod release_more;
mod reserve;
mod run;
mod run_signals;
mod scan;
mod show;
mod support;
mod transactions;
mod upgrade;
mod validate;
mod validate_database;
mod variables;
mod verbosity;
