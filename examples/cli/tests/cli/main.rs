//! The command from outside: exit codes, both streams, and the rows it leaves.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod allocation;
mod arguments;
mod cleanup;
mod database;
mod fields;
mod git;
mod guard;
mod list;
mod release;
mod release_more;
mod reserve;
mod support;
