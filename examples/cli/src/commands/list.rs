//! `trop list`.

use clap::Args;
use trop_core::Result;

use crate::args::Global;
use crate::output::{self, Format, Report};

/// List all reservations
///
/// Ordered by path, then tag. Times are in UTC.
#[derive(Args)]
#[command(after_help = "\
Example: for a script
  trop list --format json")]
pub(crate) struct List {
    /// The table is for people; the other formats have full paths [default: table]
    #[arg(long, value_enum, ignore_case = true)]
    format: Option<Format>,

    /// Do not shorten the home directory to ~ in the table
    #[arg(long)]
    show_full_paths: bool,
}

impl List {
    pub(crate) fn run(self, global: Global) -> Result<Report> {
        let registry = global.registry()?;
        let format = self.format.unwrap_or_else(|| registry.configuration().output_format.into());
        let reservations = registry.list()?;
        let home = std::env::home_dir().filter(|_| !self.show_full_paths);
        Ok(Report::result(output::list(&reservations, format, home.as_deref())?))
    }
}
