//! `trop compact-exclusions`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::path::PathBuf;

use clap::Args;
use trop_core::{Result, compact_exclusions};

use crate::output::{Report, escape};
use crate::subcommand::{Context, Subcommand};

/// Rewrite a file's list of excluded ports as short as possible
///
/// Sorts and merges; the same ports stay excluded, and everything else in the file stays as it is.
#[derive(Args)]
#[command(after_help = "\
Example: see what would become of it
  trop compact-exclusions trop.yaml --dry-run")]
pub(crate) struct CompactExclusions {
    /// The configuration file
    path: PathBuf,

    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Subcommand for CompactExclusions {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let edit = compact_exclusions(&self.path, self.dry_run)?;

        let file = edit.path.display().to_string();
        let file = escape(&file);
        let dry = if self.dry_run { "Dry run, nothing is written: " } else { "" };
        let text = match edit.before {
            None => format!("{dry}There are no excluded ports in {file}\n"),
            Some(_) if !edit.changed => format!("{dry}The exclusions in {file} are already optimal\n"),
            Some(before) if self.dry_run => {
                format!("{dry}{before} entries would be {} in {file}\n", edit.after)
            }
            Some(before) => format!("Compacted {before} entries to {} in {file}\n", edit.after),
        };
        Ok(if context.global.quiet { Report::default() } else { Report::result(text) })
    }
}
