//! `trop migrate`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::path::{Path, PathBuf};

use clap::Args;
use trop_core::{Error, MigrateRequest, Migration, Result};

use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Move reservations from one path to another
///
/// For a directory that was renamed or moved: the ports and everything else about them stay as they are.
/// Without --recursive only the reservations of exactly the path are moved, with all tags.
#[derive(Args)]
#[command(after_help = "\
Example: a project and everything below it was moved
  trop migrate --recursive --from ~/shop --to ~/work/shop")]
pub(crate) struct Migrate {
    /// The path that has the reservations; it need not exist any more
    #[arg(long, value_name = "PATH")]
    from: PathBuf,

    /// The path that gets them
    #[arg(long, value_name = "PATH")]
    to: PathBuf,

    /// Also move the reservations of every path below
    #[arg(long)]
    recursive: bool,

    /// Remove reservations that hold a key at the destination
    #[arg(long)]
    force: bool,

    /// Show what would be moved, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Subcommand for Migrate {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let quiet = context.global.quiet;
        let mut request = MigrateRequest::new(self.from, self.to);
        request.recursive = self.recursive;
        request.force = self.force;
        let mut registry = context.registry()?;
        if self.dry_run {
            registry = registry.dry_run()?;
        }
        let migration = match registry.migrate(&request) {
            Ok(migration) => migration,
            Err(error) => return conflict(error),
        };

        let mut report = Report::default();
        if quiet && !self.dry_run && !migration.moves.is_empty() {
            report = Report::result(format!("{}\n", migration.to));
        }
        if migration.from == migration.to {
            report.note(format!("'{}' is source and destination", migration.to));
        } else if migration.moves.is_empty() {
            report.note(format!("No reservations to migrate at or below '{}'", migration.from));
            return Ok(report);
        }
        describe(&migration, &mut report);
        for row in &migration.conflicts {
            let (path, port) = (row.key.path(), row.port);
            report.note(format!("Removing port {port} of '{path}', which holds a destination key"));
        }
        if matches!(Path::new(&migration.to).try_exists(), Ok(false)) {
            report.note(format!("Warning: the destination '{}' does not exist", migration.to));
        }
        report.note(if self.dry_run {
            format!("Dry run: {} would be migrated; no changes were made", count(&migration))
        } else {
            format!("Migration complete. Migrated: {}", migration.moves.len())
        });
        Ok(report)
    }
}

/// A conflict is reported after the plan of the migration; any other error as it is.
fn conflict(error: Error) -> Result<Report> {
    let Error::MigrationConflict { plan } = &error else { return Err(error) };
    let mut report = Report::default();
    describe(plan, &mut report);
    for row in &plan.conflicts {
        let tag = row.key.tag().map(|tag| format!(" tag '{tag}'")).unwrap_or_default();
        report.note(format!("In the way: port {} of '{}'{tag}", row.port, row.key.path()));
    }
    report.fail(error);
    Ok(report)
}

fn describe(migration: &Migration, report: &mut Report) {
    report.note(format!("{} from '{}' to '{}':", count(migration), migration.from, migration.to));
    for row in &migration.moves {
        let before = &row.before;
        let mut line = format!("  {} -> {} port {}", before.key.path(), row.key.path(), before.port);
        if let Some(tag) = before.key.tag() {
            line.extend([" tag '", tag.as_str(), "'"]);
        }
        if let Some(project) = &before.project {
            line.extend([" project '", project, "'"]);
        }
        report.note(line);
    }
}

fn count(migration: &Migration) -> String {
    match migration.moves.len() {
        1 => "1 reservation".to_owned(),
        count => format!("{count} reservations"),
    }
}
