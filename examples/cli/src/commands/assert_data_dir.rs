//! `trop assert-data-dir`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::Args;
use trop_core::{Discovery, Result};

use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Assert that the data directory exists, and optionally that its database is sound
///
/// Only looks: nothing is created, migrated or repaired. Exits with 1 if the directory does not exist, with 6
/// if the database in it is damaged or missing.
#[derive(Args)]
#[command(after_help = "\
Example: whether the registry is sound
  trop assert-data-dir --validate")]
pub(crate) struct AssertDataDir {
    /// Assert that it does not exist
    #[arg(long)]
    not: bool,

    /// Also check the database in it, every row and the structure
    #[arg(long)]
    validate: bool,
}

impl Subcommand for AssertDataDir {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let registry = context.registry_with(|options| {
            if !self.validate {
                // Whether a directory exists depends on no setting, so a bad one must not stop it.
                options.busy_timeout = None;
                options.discovery = Discovery::Off;
                options.variables = false;
            }
        })?;
        let exists = registry.has_data_dir()?;
        if exists && self.validate {
            registry.validate()?;
        }
        let directory = registry.data_dir().display();
        Ok(match (exists, self.not) {
            (true, false) | (false, true) => Report::default(),
            (false, false) => {
                Report::failed_assertion(&format!("the data directory '{directory}' does not exist"))
            }
            (true, true) => Report::failed_assertion(&format!("the data directory '{directory}' exists")),
        })
    }
}
