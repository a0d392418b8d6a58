//! `trop expire`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::Args;
use trop_core::{Cleanup, Result, Uses};

use super::clean::{self, Messages};
use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Remove the reservations that nobody has asked for in many days
///
/// Asking for a reservation again with trop reserve makes it young.
#[derive(Args)]
#[command(after_help = "\
Example: what was not used for a week
  trop expire --days 7 --dry-run --verbose")]
pub(crate) struct Expire {
    /// How many days without use a reservation may have, at least 1 [default: 30]
    #[arg(long)]
    days: Option<u32>,

    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl Subcommand for Expire {
    fn uses(&self) -> Uses {
        Uses::EXPIRY
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let days = clean::days(self.days)?;
        let messages = Messages {
            done: |cleanup| format!("Expired {}", summary(cleanup)),
            would: |cleanup| format!("Would expire {}", summary(cleanup)),
            rows: |cleanup| cleanup.expired.iter().map(|row| clean::expired(cleanup, row)).collect(),
        };
        clean::run(context, self.dry_run, &messages, |registry| registry.expire(days))
    }
}

fn summary(cleanup: &Cleanup) -> String {
    format!("{} not used for more than {} days", clean::reservations(cleanup.expired.len()), cleanup.days)
}
