//! `trop init`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::fmt::Write;

use clap::Args;
use trop_core::{Discovery, Error, InitRequest, Initialized, Result};

use crate::output::{Report, escape};
use crate::subcommand::{Context, Subcommand};

/// Set up the data directory and an empty database
///
/// Other commands do this by themselves when it is needed.
#[derive(Args)]
#[command(after_help = "\
Example: start with a configuration file to edit
  trop init --with-config")]
pub(crate) struct Init {
    /// Replace an existing database by an empty one: all reservations are lost
    #[arg(long)]
    overwrite: bool,

    /// Write a config.yaml that shows all settings, if there is none
    #[arg(long)]
    with_config: bool,

    /// Tell what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Subcommand for Init {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let mut request = InitRequest::default();
        request.overwrite = self.overwrite;
        request.with_config = self.with_config;
        let quiet = context.global.quiet;
        // No files: one that does not parse must not prevent it.
        let registry = context.registry_with(|options| options.discovery = Discovery::Off)?;
        let directory = registry.data_dir().display().to_string();
        let text = if self.dry_run {
            preview(&directory, registry.dry_run_init(&request))
        } else {
            done(&directory, &registry.init(&request)?)
        };
        // Notes for people, but on standard output, as the contract has it.
        Ok(if quiet { Report::default() } else { Report::result(text) })
    }
}

fn done(directory: &str, made: &Initialized) -> String {
    let directory = escape(directory);
    let mut text = format!("Initialized trop in {directory}\n");
    if made.created_directory {
        text += "Created data directory\n";
    }
    text +=
        if made.replaced_database { "Recreated database trop.db\n" } else { "Created database trop.db\n" };
    match made.wrote_config {
        Some(true) => text += "Created configuration file config.yaml\n",
        Some(false) => text += "Configuration file config.yaml already exists and was not overwritten\n",
        None => {}
    }
    text
}

fn preview(directory: &str, plan: Result<Initialized>) -> String {
    let directory = escape(directory);
    let mut text = format!("Dry-run: nothing is changed in {directory}\n");
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            text += "Would fail with ERROR: ";
            text += &escape(&error.to_string());
            if let Error::AlreadyExists { .. } = error {
                text += " (--overwrite replaces it)";
            }
            text.push('\n');
            return text;
        }
    };
    let mut would = |what: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "Would {what}");
    };
    if plan.created_directory {
        would(&format!("create data directory {directory}"));
    }
    if plan.replaced_database {
        would("Remove everything in the existing database trop.db");
    }
    would("create an empty database trop.db");
    match plan.wrote_config {
        Some(true) => would("create the configuration file config.yaml"),
        Some(false) => would("keep the configuration file config.yaml, which already exists"),
        None => {}
    }
    text
}
