//! `trop prune`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::Args;
use trop_core::{Registry, Result};

use super::clean::{self, Telling};
use crate::args::Global;
use crate::output::Report;

/// Remove the reservations of directories that do not exist any more
///
/// A directory that cannot be looked at, because of its permissions or a mount that is away, keeps its reservations.
#[derive(Args)]
#[command(after_help = "\
Example: what would go
  trop prune --dry-run --verbose")]
pub(crate) struct Prune {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl Prune {
    pub(crate) fn run(self, global: Global) -> Result<Report> {
        let telling = Telling {
            done: |cleanup| format!("Removed {}", clean::reservations(cleanup.pruned.len())),
            would: |cleanup| format!("Would remove {}", clean::reservations(cleanup.pruned.len())),
            rows: |cleanup| cleanup.pruned.iter().map(clean::pruned).collect(),
        };
        clean::run(global, self.dry_run, &telling, Registry::prune)
    }
}
