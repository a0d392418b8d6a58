//! What `trop prune`, `trop expire` and `trop autoclean` print.

use trop_core::{Cleanup, Error, Key, Registry, Reservation, Result};

use crate::args::Global;
use crate::output::Report;

/// How a kind of clean-up is told.
pub(crate) struct Telling {
    /// The summary of what was done, and of what a dry run would do.
    pub(crate) done: fn(&Cleanup) -> String,
    pub(crate) would: fn(&Cleanup) -> String,
    /// One line for each row.
    pub(crate) rows: fn(&Cleanup) -> Vec<String>,
}

/// Cleans up, or shows on a copy what that would do.
pub(crate) fn run(
    global: Global,
    dry_run: bool,
    telling: &Telling,
    clean: impl FnOnce(&Registry) -> Result<Cleanup>,
) -> Result<Report> {
    let (quiet, verbose) = (global.quiet, global.verbose);
    let registry = global.registry()?;
    let cleanup = clean(&if dry_run { registry.dry_run()? } else { registry })?;

    let total = cleanup.total();
    let mut report =
        if quiet && total > 0 { Report::result(format!("{total}\n")) } else { Report::default() };
    if verbose {
        for line in (telling.rows)(&cleanup) {
            report.note(line);
        }
    }
    warn(&cleanup, &mut report);
    report.note(if dry_run {
        format!("[DRY RUN] {}", (telling.would)(&cleanup))
    } else {
        (telling.done)(&cleanup)
    });
    Ok(report)
}

/// Names the paths that could not be inspected.
pub(crate) fn warn(cleanup: &Cleanup, report: &mut Report) {
    for kept in &cleanup.preserved {
        report
            .note(format!("Warning: cannot inspect '{}': {}; reservation preserved", kept.path, kept.cause));
    }
}

/// What an allocation removed because the range was exhausted.
pub(crate) fn tell_automatic(cleanup: &Cleanup, report: &mut Report) {
    warn(cleanup, report);
    report.note(format!(
        "Automatic cleanup: the port range was exhausted; removed {} pruned and {} expired reservations",
        cleanup.pruned.len(),
        cleanup.expired.len()
    ));
}

/// The number of days in which a reservation has to be used; what is an argument to the core is a setting here.
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

/// A pruned row.
pub(crate) fn pruned(row: &Reservation) -> String {
    let tag = row.key.tag().map_or("-", |tag| tag.as_str());
    let project = row.project.as_deref().unwrap_or("-");
    format!("  port {}, path {}, tag {tag}, project {project}", row.port, row.key.path())
}

/// An expired row.
pub(crate) fn expired(cleanup: &Cleanup, row: &Reservation) -> String {
    let tag = row.key.tag().map_or("-", |tag| tag.as_str());
    let age = (cleanup.now.seconds() - row.last_used_at.seconds()) / 86400;
    format!("  port {}, path {}, tag {tag}, last used {age} days ago", row.port, row.key.path())
}
