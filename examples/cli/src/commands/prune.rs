//! `trop prune`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::Args;
use trop_core::{Registry, Result};

use super::clean::{self, Messages};
use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Remove the reservations of directories that do not exist any more
///
/// A directory that cannot be looked at, because of its permissions or a mount that is away, keeps its
/// reservations.
#[derive(Args)]
#[command(after_help = "\
Example: what would go
  trop prune --dry-run --verbose")]
pub(crate) struct Prune {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl Subcommand for Prune {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let messages = Messages {
            done: |cleanup| format!("Removed {}", clean::reservations(cleanup.pruned.len())),
            would: |cleanup| format!("Would remove {}", clean::reservations(cleanup.pruned.len())),
            rows: |cleanup| cleanup.pruned.iter().map(clean::pruned).collect(),
        };
        clean::run(context, self.dry_run, &messages, Registry::prune)
    }
}
