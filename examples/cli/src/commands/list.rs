//! `trop list`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use trop_core::{Filter, Result};

use crate::args::Global;
use crate::output::{self, Format, Report};

/// List all reservations
///
/// Ordered by path, then tag. Times are in UTC.
#[derive(Args)]
#[command(after_help = "\
Example: for a script, the ports of one project below the working directory
  trop list --format json --filter-project shop --filter-path .")]
pub(crate) struct List {
    /// The table is for people; the other formats have full paths [default: table]
    #[arg(long, value_enum, ignore_case = true)]
    format: Option<Format>,

    /// Only reservations of exactly this project
    #[arg(long, value_name = "PROJECT")]
    filter_project: Option<OsString>,

    /// Only reservations with exactly this tag
    #[arg(long, value_name = "TAG")]
    filter_tag: Option<OsString>,

    /// Only reservations of this path and of what is below it
    #[arg(long, value_name = "PATH")]
    filter_path: Option<PathBuf>,

    /// Do not shorten the home directory to ~ in the table
    #[arg(long)]
    show_full_paths: bool,
}

impl List {
    pub(crate) fn run(self, global: Global) -> Result<Report> {
        let mut filter = Filter::default();
        filter.project = self.filter_project.map(exact);
        filter.tag = self.filter_tag.map(exact);
        filter.path = self.filter_path;
        let registry = global.registry()?;
        let format = self.format.unwrap_or_else(|| registry.configuration().output_format.into());
        let reservations = registry.list_filtered(&filter)?;
        let home = std::env::home_dir().filter(|_| !self.show_full_paths);
        Ok(Report::result(output::records(&reservations, format, home.as_deref())?))
    }
}

/// The text itself. What is not UTF-8 cannot be stored, so it becomes text that cannot be stored either.
fn exact(text: OsString) -> String {
    text.into_string().unwrap_or_else(|_| "\0".to_owned())
}
