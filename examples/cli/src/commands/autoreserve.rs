//! `trop autoreserve`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::Args;
use trop_core::{Discovery, Result, Uses};

use super::group;
use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Reserve the ports of all services the project defines, all or none
///
/// As reserve-group, with the trop.yaml and trop.local.yaml of the nearest directory upward.
#[derive(Args)]
#[command(after_help = "\
Example: the ports of this project as variables of the shell
  eval \"$(trop autoreserve)\"")]
pub(crate) struct Autoreserve {
    #[command(flatten)]
    options: group::Options,
}

impl Subcommand for Autoreserve {
    fn uses(&self) -> Uses {
        Uses::RESERVING
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        group::run(self.options, context, Discovery::WorkingDirectory, |group| {
            Some(format!("Discovered '{}'", group.file.display()))
        })
    }
}
