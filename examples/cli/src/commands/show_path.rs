//! `trop show-path`.

use std::path::PathBuf;

use clap::Args;
use trop_core::Result;

use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Print the path a reservation made here would have
///
/// The working directory is shown with its links followed, a given path as it is.
#[derive(Args)]
#[command(after_help = "\
Example: the path of the directory above
  trop show-path --path ..")]
pub(crate) struct ShowPath {
    /// The directory the port belongs to [default: the working directory]
    #[arg(long)]
    path: Option<PathBuf>,

    /// Follow the links of a given path, which then has to exist
    #[arg(long)]
    canonicalize: bool,
}

impl Subcommand for ShowPath {
    fn path(&mut self) -> Option<&mut Option<PathBuf>> {
        Some(&mut self.path)
    }

    fn run(self: Box<Self>, _: Context) -> Result<Report> {
        let path = trop_core::resolve_path(self.path.as_deref(), self.canonicalize)?;
        Ok(Report::result(path + "\n"))
    }
}
