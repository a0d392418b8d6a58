//! `trop release`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;

use clap::Args;
use trop_core::{Error, ReleaseRequest, Result};

use crate::args::{Global, Place, tag};
use crate::output::Report;

/// Release the ports of a directory
///
/// Without --tag and --untagged-only: all ports of exactly this path. Having none is not a failure.
#[derive(Args)]
#[command(after_help = "\
Example: give back the port of this directory's web server only
  trop release --tag web")]
pub(crate) struct Release {
    /// Only the port with this tag
    #[arg(long)]
    tag: Option<OsString>,

    /// Only the port without a tag
    #[arg(long)]
    untagged_only: bool,

    #[command(flatten)]
    pub(crate) place: Place,
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
        request.allow_unrelated_path = self.place.allow_unrelated_path;

        let count = global.registry()?.release(&request)?;

        let mut report = Report::default();
        report.note(match count {
            0 => "No reservation found: never reserved, or already released".to_owned(),
            1 => "Released 1 port".to_owned(),
            _ => format!("Released {count} ports"),
        });
        Ok(report)
    }
}
