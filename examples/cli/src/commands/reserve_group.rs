//! `trop reserve-group`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::path::PathBuf;

use clap::Args;
use trop_core::{Discovery, Result, Uses};

use super::group;
use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Reserve the ports of all services a configuration file defines, all or none
///
/// Prints them as statements for a shell. Asking again gives the same ports. The ports belong to the
/// directory of the file, and each to the tag of its service.
#[derive(Args)]
#[command(after_help = "\
Example: write the ports where other programs look for them
  trop reserve-group deploy/ports.yaml --format dotenv > .env")]
pub(crate) struct ReserveGroup {
    /// The file that defines the group; trop.yaml and trop.local.yaml of one directory count together
    #[arg(value_name = "CONFIG_PATH")]
    file: PathBuf,

    #[command(flatten)]
    options: group::Options,
}

impl Subcommand for ReserveGroup {
    fn uses(&self) -> Uses {
        Uses::RESERVING
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        group::run(self.options, context, Discovery::File(self.file), |_| None)
    }
}
