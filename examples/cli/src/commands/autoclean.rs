//! `trop autoclean`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::Args;
use trop_core::{Cleanup, Result, Uses};

use super::clean::{self, Messages};
use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Prune and expire in one step
///
/// Removes the reservations of directories that do not exist any more and those that were not used for many
/// days.
#[derive(Args)]
#[command(after_help = "\
Example: for a nightly job, which prints the number of ports it won
  trop autoclean --quiet")]
pub(crate) struct Autoclean {
    /// How many days without use a reservation may have, at least 1 [default: 30]
    #[arg(long)]
    days: Option<u32>,

    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl Subcommand for Autoclean {
    fn uses(&self) -> Uses {
        Uses::EXPIRY
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let days = clean::days(self.days)?;
        let messages = Messages {
            done: |cleanup| format!("Removed {}", summary(cleanup)),
            would: |cleanup| format!("Would remove {}", summary(cleanup)),
            rows,
        };
        clean::run(context, self.dry_run, &messages, |registry| registry.autoclean(days))
    }
}

fn summary(cleanup: &Cleanup) -> String {
    let (pruned, expired) = (cleanup.pruned.len(), cleanup.expired.len());
    format!(
        "{} total: {pruned} pruned, {expired} expired (not used for more than {} days)",
        cleanup.total(),
        cleanup.days
    )
}

fn rows(cleanup: &Cleanup) -> Vec<String> {
    let mut lines = vec![format!("Pruned, {} total:", cleanup.pruned.len())];
    lines.extend(cleanup.pruned.iter().map(clean::pruned));
    lines.push(format!("Expired, {} total:", cleanup.expired.len()));
    lines.extend(cleanup.expired.iter().map(|row| clean::expired(cleanup, row)));
    lines
}
