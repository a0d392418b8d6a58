//! `trop validate`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::path::PathBuf;

use clap::Args;
use trop_core::Result;

use crate::output::{Report, escape};
use crate::subcommand::{Context, Subcommand};

/// Check a configuration file
///
/// Lists everything that is wrong with it, with its line. A file called config.yaml is checked as a user's
/// file, any other as a project file.
#[derive(Args)]
#[command(after_help = "\
Example: before committing a project's file
  trop validate trop.yaml")]
pub(crate) struct Validate {
    /// The file
    config_path: PathBuf,
}

impl Subcommand for Validate {
    fn run(self: Box<Self>, _: Context) -> Result<Report> {
        let problems = trop_core::validate(&self.config_path)?;
        let path = self.config_path.display().to_string();
        let count = match problems.len() {
            0 => return Ok(Report::result(format!("'{}' is valid\n", escape(&path)))),
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        let findings = problems.iter().map(ToString::to_string).collect();
        Ok(Report::negative(findings, format!("'{path}' is invalid: {count}")))
    }
}
