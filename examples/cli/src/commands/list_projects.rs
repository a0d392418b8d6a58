//! `trop list-projects`.

use clap::Args;
use trop_core::Result;

use crate::output::{self, Report};
use crate::subcommand::{Context, Subcommand};

/// List the projects that have reservations
///
/// One per line, in the order of their bytes.
#[derive(Args)]
#[command(after_help = "\
Example: how many projects there are
  trop list-projects | wc -l")]
pub(crate) struct ListProjects {}

impl Subcommand for ListProjects {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let mut text = String::new();
        for project in context.registry()?.projects()? {
            text += &output::escape(&project);
            text.push('\n');
        }
        Ok(Report::result(text))
    }
}
