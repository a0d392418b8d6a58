//! What `trop prune`, `trop expire` and `trop autoclean` print.

use trop_core::{Cleanup, Error, Key, Registry, Reservation, Result};

use crate::output::Report;
use crate::subcommand::Context;

/// The messages of one kind of clean-up.
pub(crate) struct Messages {
    /// The summary of what was done.
    pub(crate) done: fn(&Cleanup) -> String,
    /// The summary of what a dry run would do.
    pub(crate) would: fn(&Cleanup) -> String,
    /// The removed rows, a line each.
    pub(crate) rows: fn(&Cleanup) -> Vec<String>,
}

/// Cleans up, or does it on a copy to show what that would do.
pub(crate) fn run(
    context: Context,
    dry_run: bool,
    messages: &Messages,
    clean: impl FnOnce(&Registry) -> Result<Cleanup>,
) -> Result<Report> {
    let (quiet, verbose) = (context.global.quiet, context.global.verbose);
    let registry = context.registry()?;
    let cleanup = clean(&if dry_run { registry.dry_run()? } else { registry })?;

    let total = cleanup.total();
    let mut report =
        if quiet && total > 0 { Report::result(format!("{total}\n")) } else { Report::default() };
    if verbose {
        for line in (messages.rows)(&cleanup) {
            report.note(line);
        }
    }
    warn(&cleanup, &mut report);
    report.note(if dry_run {
        format!("[DRY RUN] {}", (messages.would)(&cleanup))
    } else {
        (messages.done)(&cleanup)
    });
    Ok(report)
}

/// Adds a warning for each path that could not be inspected.
pub(crate) fn warn(cleanup: &Cleanup, report: &mut Report) {
    for kept in &cleanup.preserved {
        report
            .note(format!("Warning: cannot inspect '{}': {}; reservation preserved", kept.path, kept.cause));
    }
}

/// Adds what an allocation removed because the range was exhausted.
pub(crate) fn note_automatic(cleanup: &Cleanup, report: &mut Report) {
    warn(cleanup, report);
    report.note(format!(
        "Automatic cleanup: the port range was exhausted; removed {} pruned and {} expired reservations",
        cleanup.pruned.len(),
        cleanup.expired.len()
    ));
}

/// Checks `--days`. The core calls 0 a bad argument; to a user of the command it is a bad setting.
pub(crate) fn days(days: Option<u32>) -> Result<Option<u32>> {
    match days {
        Some(0) => {
            let reason = "--days is 0 and must be > 0".to_owned();
            Err(Error::Config { setting: "expire_after_days", reason })
        }
        days => Ok(days),
    }
}

pub(crate) fn reservations(count: usize) -> String {
    if count == 1 { "1 reservation".to_owned() } else { format!("{count} reservations") }
}

/// `<path>:<tag>`, or `<path>` without a tag.
pub(crate) fn key(key: &Key) -> String {
    match key.tag() {
        Some(tag) => format!("{}:{tag}", key.path()),
        None => key.path().to_owned(),
    }
}

/// The line of a pruned row.
pub(crate) fn pruned(row: &Reservation) -> String {
    let tag = row.key.tag().map_or("-", |tag| tag.as_str());
    let project = row.project.as_deref().unwrap_or("-");
    format!("  port {}, path {}, tag {tag}, project {project}", row.port, row.key.path())
}

/// The line of an expired row.
pub(crate) fn expired(cleanup: &Cleanup, row: &Reservation) -> String {
    let tag = row.key.tag().map_or("-", |tag| tag.as_str());
    let age = (cleanup.now.seconds() - row.last_used_at.seconds()) / 86400;
    format!("  port {}, path {}, tag {tag}, last used {age} days ago", row.port, row.key.path())
}
