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
    /// The table is for people; the other formats have full paths
    #[arg(long, value_enum, ignore_case = true, default_value_t = Format::Table)]
    format: Format,

    /// Do not shorten the home directory to ~ in the table
    #[arg(long)]
    show_full_paths: bool,
}

impl List {
    pub(crate) fn run(self, global: Global) -> Result<Report> {
        let reservations = global.registry()?.list()?;
        let home = std::env::home_dir().filter(|_| !self.show_full_paths);
        Ok(Report::result(output::list(&reservations, self.format, home.as_deref())?))
    }
}
