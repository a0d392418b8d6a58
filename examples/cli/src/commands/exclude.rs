//! `trop exclude`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;

use clap::Args;
use trop_core::{ExcludeRequest, ExclusionFile, PortRange, Result};

use crate::output::{Report, escape};
use crate::subcommand::{Context, Subcommand};

/// Never give out a port, or a range of ports
///
/// Adds to `excluded_ports` of the nearest trop.local.yaml, else trop.yaml, at or above the working
/// directory.
#[derive(Args)]
#[command(after_help = "\
Example: keep out of the way of a database
  trop exclude 5432
  trop exclude 6000..6063 --global")]
pub(crate) struct Exclude {
    /// The port, or the range with both ends included
    #[arg(value_name = "PORT|LOW..HIGH")]
    ports: OsString,

    /// In the user's own file, config.yaml in the data directory, for all projects
    #[arg(long)]
    global: bool,

    /// Even if a port is reserved
    #[arg(long)]
    force: bool,
}

impl Subcommand for Exclude {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let mut request = ExcludeRequest::new(PortRange::parse("port", &self.ports.to_string_lossy())?);
        request.force = self.force;
        if self.global {
            request.file = ExclusionFile::Global;
        }
        let quiet = context.global.quiet;

        let edit = context.registry()?.exclude(&request)?;

        let file = edit.path.display().to_string();
        let (low, high) = (request.ports.min(), request.ports.max());
        let ports = if low == high { low.to_string() } else { request.ports.to_string() };
        let text = if edit.changed {
            format!("Excluded {ports} in {}\n", escape(&file))
        } else {
            format!("Already excluded, nothing to do in {}\n", escape(&file))
        };
        Ok(if quiet { Report::default() } else { Report::result(text) })
    }
}
