//! `trop reserve`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use trop_core::{Field, Refusal, Reservation, ReserveRequest, Result, Uses};

use super::clean;
use crate::args::{ChangeOptions, PathOptions, RangeOptions, metadata, port, tag};
use crate::occupancy::OccupancyOptions;
use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Reserve a port, or get the one that is reserved already
///
/// Prints the port. The same path and tag have the same port until it is released.
#[derive(Args)]
#[command(after_help = "\
Example: a port for this directory's web server, 8080 if it can be had
  PORT=$(trop reserve --tag web --port 8080 --min 8000 --max 8999)")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Reserve {
    /// Tells several ports of one path apart
    #[arg(long)]
    tag: Option<OsString>,

    /// The port to prefer if the path and tag have none yet
    #[arg(long, allow_negative_numbers = true)]
    port: Option<OsString>,

    #[command(flatten)]
    range: RangeOptions,

    /// The project it is for, kept until it is changed [default: what git says, for a new reservation]
    #[arg(long, value_name = "NAME", conflicts_with = "clear_project")]
    project: Option<OsString>,

    /// Store no project
    #[arg(long)]
    clear_project: bool,

    /// The task it is for, kept until it is changed [default: what git says, for a new reservation]
    #[arg(long, value_name = "NAME", conflicts_with = "clear_task")]
    task: Option<OsString>,

    /// Store no task
    #[arg(long)]
    clear_task: bool,

    #[command(flatten)]
    directory: PathOptions,

    #[command(flatten)]
    changes: ChangeOptions,

    /// Choose a port anew for a path and tag that have one
    #[arg(long)]
    overwrite: bool,

    /// Use the preferred port although a program uses it
    #[arg(long)]
    ignore_occupied: bool,

    /// Use the preferred port although it is excluded
    #[arg(long)]
    ignore_exclusions: bool,

    /// Overwrite, accept any path, allow every change, and use the preferred port although it is in use or
    /// excluded
    #[arg(long)]
    force: bool,

    /// When all ports are taken, keep the reservations of directories that do not exist any more
    #[arg(long)]
    disable_autoprune: bool,

    /// When all ports are taken, keep the reservations that were not used for long
    #[arg(long)]
    disable_autoexpire: bool,

    /// Both of these
    #[arg(long)]
    disable_autoclean: bool,

    /// Show which port it would be, and reserve nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    occupancy: OccupancyOptions,
}

impl Subcommand for Reserve {
    fn uses(&self) -> Uses {
        Uses::RESERVING
    }

    fn path(&mut self) -> Option<&mut Option<PathBuf>> {
        Some(&mut self.directory.path)
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let (is_given, dry_run) = (self.directory.path.is_some(), self.dry_run);
        let mut request = self.request()?;
        // As settings of the highest priority, so that they can repair a range that others make invalid.
        let (min, max) = (request.min.take(), request.max.take());
        let registry = context.registry_with(|options| {
            options.min = min;
            options.max = max;
        })?;
        let registry = if dry_run { registry.dry_run()? } else { registry };
        let reserved = registry.reserve(&request)?;

        let Reservation { port, key, .. } = &reserved.reservation;
        let mut report = if dry_run { Report::default() } else { Report::result(format!("{port}\n")) };
        if is_given && matches!(Path::new(key.path()).try_exists(), Ok(false)) {
            report.note(format!("Warning: the path '{}' does not exist", key.path()));
        }
        if let Some(preferred) = request.preferred
            && preferred != *port
        {
            let reason = reserved.refusal.map_or("this path and tag have a port already", obstacle);
            report.note(format!("Warning: preferred port {preferred} was not used: {reason}"));
        }
        if !reserved.created
            && let Some(other) = registry.foreign_process(&reserved.reservation)
        {
            report.note(format!(
                "Warning: port {port} is used by process {} ({}), which works in '{}', outside '{}'",
                other.process_id,
                other.process_name,
                other.directory.display(),
                key.path()
            ));
        }
        if let Some(cleanup) = &reserved.cleanup {
            clean::note_automatic(cleanup, &mut report);
        }
        if dry_run {
            let what = if reserved.created { "would reserve" } else { "would return" };
            report.note(format!("Dry run: {what} port {port} for {}", clean::key(key)));
        }
        Ok(report)
    }
}

impl Reserve {
    fn request(self) -> Result<ReserveRequest> {
        let mut request = ReserveRequest::default();
        request.tag = tag(self.tag)?;
        request.preferred = port("port", self.port)?;
        (request.min, request.max) = self.range.ports()?;
        let project = metadata("project", "--project", self.project)?;
        request.project = Field::new("clear_project", project, self.clear_project)?;
        let task = metadata("task", "--task", self.task)?;
        request.task = Field::new("clear_task", task, self.clear_task)?;
        request.path = self.directory.path;
        request.allow_unrelated_path = self.directory.allow_unrelated_path;
        request.allow_project_change = self.changes.project();
        request.allow_task_change = self.changes.task();
        request.overwrite = self.overwrite;
        request.ignore_occupied = self.ignore_occupied;
        request.ignore_exclusions = self.ignore_exclusions;
        request.force = self.force;
        request.disable_autoprune = self.disable_autoprune || self.disable_autoclean;
        request.disable_autoexpire = self.disable_autoexpire || self.disable_autoclean;
        self.occupancy.apply(&mut request.occupancy);
        Ok(request)
    }
}

/// Why a preferred port was not given out.
pub(crate) fn obstacle(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::OutsideRange => "it is outside the port range",
        Refusal::Reserved => "another path or tag has it",
        Refusal::Excluded => "it is excluded",
        Refusal::Occupied => "something on this machine is using it, or may be",
        Refusal::Forbidden => "this user may not bind it",
        other => other.name(),
    }
}
