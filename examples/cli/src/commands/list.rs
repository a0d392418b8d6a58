//! `trop list`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use trop_core::{Filter, LeaseInfo, Reservation, Result, Uses};

use crate::output::{Format, Listing, Report};
use crate::subcommand::{Context, Subcommand};

const COLUMNS: [&str; 7] = ["port", "path", "tag", "project", "task", "created_at", "last_used_at"];

const LEASE_COLUMNS: [&str; 9] =
    ["port", "label", "state", "pid", "command", "directory", "since", "process_state", "kept_by"];

/// List all reservations, or all leases
///
/// Reservations are ordered by path, then tag; leases by port. Times are in UTC.
#[derive(Args)]
#[command(after_help = "\
Examples: for a script, the ports of one project below the working directory; the ports of running programs
  trop list --format json --filter-project shop --filter-path .
  trop list --leases")]
pub(crate) struct List {
    /// The table is for people; the other formats have full paths [default: table]
    #[arg(long, value_enum, ignore_case = true)]
    format: Option<Format>,

    /// The leases of everybody instead: ports that end with the process that took them
    #[arg(long, conflicts_with_all = ["filter_project", "filter_tag", "filter_path"])]
    leases: bool,

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

impl Subcommand for List {
    fn uses(&self) -> Uses {
        Uses::LISTS
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let mut filter = Filter::default();
        filter.project = self.filter_project.map(exact);
        filter.tag = self.filter_tag.map(exact);
        filter.path = self.filter_path;
        let registry = context.registry()?;
        let format = self.format.unwrap_or_else(|| registry.configuration().output_format.into());
        let (columns, paths, records) = if self.leases {
            let leases = registry.leases()?;
            (&LEASE_COLUMNS[..], "directory", leases.iter().map(LeaseInfo::to_json).collect())
        } else {
            let reservations = registry.list_filtered(&filter)?;
            (&COLUMNS[..], "path", reservations.iter().map(Reservation::to_json).collect())
        };
        let home = std::env::home_dir().filter(|_| !self.show_full_paths);
        let shortened = home.map(|home| (paths, home));
        let listing = Listing { columns, headings: &[], absent: ["-", ""], records, shortened };
        Ok(Report::result(listing.print(format)?))
    }
}

/// The text to filter by. What is not UTF-8 is never stored, so it becomes another text that is never stored.
fn exact(text: OsString) -> String {
    text.into_string().unwrap_or_else(|_| "\0".to_owned())
}
