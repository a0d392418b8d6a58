//! `trop list-projects`.

use clap::Args;
use trop_core::Result;

use crate::args::Global;
use crate::output::{self, Report};

/// List the projects that have reservations
///
/// One per line, in the order of their bytes.
#[derive(Args)]
#[command(after_help = "\
Example: how many projects there are
  trop list-projects | wc -l")]
pub(crate) struct ListProjects {}

impl ListProjects {
    #[allow(clippy::unused_self, reason = "as every other command")]
    pub(crate) fn run(self, global: Global) -> Result<Report> {
        let mut text = String::new();
        for project in global.registry()?.projects()? {
            text += &output::escape(&project);
            text.push('\n');
        }
        Ok(Report::result(text))
    }
}
