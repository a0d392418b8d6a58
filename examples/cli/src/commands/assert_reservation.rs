//! `trop assert-reservation`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use trop_core::{Key, Result};

use crate::args::tag;
use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Assert that a directory has a port, and print it
///
/// Looks for exactly this path and tag. Exits with 1 if there is no such reservation.
#[derive(Args)]
#[command(after_help = "\
Example: start the web server only if it has a port
  PORT=$(trop assert-reservation --tag web) && serve \"$PORT\"")]
pub(crate) struct AssertReservation {
    /// The directory the port belongs to [default: the working directory]
    #[arg(long)]
    path: Option<PathBuf>,

    /// The tag; without it, the reservation without a tag is meant
    #[arg(long)]
    tag: Option<OsString>,

    /// Assert that there is none; prints nothing
    #[arg(long)]
    not: bool,
}

impl Subcommand for AssertReservation {
    fn path(&mut self) -> Option<&mut Option<PathBuf>> {
        Some(&mut self.path)
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let tag = tag(self.tag)?;
        let quiet = context.global.quiet;
        let registry = context.registry()?;
        let key = Key::new(self.path.as_deref(), tag)?;
        let found = registry.find(&key)?;
        let name = match key.tag() {
            Some(tag) => format!("'{}' with tag '{tag}'", key.path()),
            None => format!("'{}' without a tag", key.path()),
        };
        Ok(match (found, self.not) {
            (Some(found), false) if !quiet => Report::result(format!("{}\n", found.port)),
            (Some(_), false) | (None, true) => Report::default(),
            (None, false) => Report::failed_assertion(&format!("there is no reservation of {name}")),
            (Some(found), true) => {
                Report::failed_assertion(&format!("port {} is reserved for {name}", found.port))
            }
        })
    }
}
