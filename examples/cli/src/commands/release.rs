//! `trop release`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;

use clap::Args;
use trop_core::{Error, ReleaseRequest, Result};

use super::clean;
use crate::args::{Global, Place, tag};
use crate::output::Report;

/// Release the ports of a directory
///
/// Without --tag and --untagged-only: all ports of exactly this path. Having none is not a failure.
#[derive(Args)]
#[command(after_help = "\
Example: give back the port of this directory's web server only
  trop release --tag web")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Release {
    /// Only the port with this tag
    #[arg(long)]
    tag: Option<OsString>,

    /// Only the port without a tag
    #[arg(long)]
    untagged_only: bool,

    #[command(flatten)]
    pub(crate) place: Place,

    /// The same of every path below it
    #[arg(long)]
    recursive: bool,

    /// Accept any path: the same as --allow-unrelated-path
    #[arg(long)]
    force: bool,

    /// Show what would be released, and release nothing
    #[arg(long)]
    dry_run: bool,
}

impl Release {
    pub(crate) fn run(self, global: Global) -> Result<Report> {
        if self.tag.is_some() && self.untagged_only {
            let reason = "Cannot specify both --tag and --untagged-only".to_owned();
            return Err(Error::InvalidArgument { argument: "tag", reason });
        }
        let mut request = ReleaseRequest::default();
        request.path = self.place.path;
        request.tag = tag(self.tag)?;
        request.untagged_only = self.untagged_only;
        request.allow_unrelated_path = self.place.allow_unrelated_path || self.force;
        request.recursive = self.recursive;

        let verbose = global.verbose;
        let registry = global.registry()?;
        let registry = if self.dry_run { registry.rehearsal()? } else { registry };
        let rows = registry.release_listed(&request)?;

        let mut report = Report::default();
        for row in &rows {
            let key = clean::key(&row.key);
            if self.dry_run {
                report.note(format!("Dry run: would release port {} of {key}", row.port));
            } else if verbose {
                report.note(format!("Port {} of {key}", row.port));
            }
        }
        let prefix = if self.dry_run { "Dry run: would release" } else { "Released" };
        report.note(match rows.len() {
            0 if self.dry_run => "Dry run: No reservation found, nothing would be released".to_owned(),
            0 => "No reservation found: never reserved, or already released".to_owned(),
            1 => format!("{prefix} 1 port"),
            count => format!("{prefix} {count} ports"),
        });
        Ok(report)
    }
}
