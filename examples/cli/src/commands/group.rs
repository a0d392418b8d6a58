//! `trop reserve-group` and `trop autoreserve`, which differ only in where the group is found.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use trop_core::{
    Discovery, Error, GroupFormat, GroupKey, GroupOutcome, GroupRequest, ReservedGroup, Result, Shell,
};

use super::{clean, reserve};
use crate::args::{ChangeOptions, metadata};
use crate::occupancy::OccupancyOptions;
use crate::output::{self, Report};
use crate::subcommand::Context;

#[derive(Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Options {
    /// The task it is for, kept until it is changed [default: what git says, for a new group]
    #[arg(long, value_name = "NAME")]
    task: Option<OsString>,

    /// How the ports are printed
    #[arg(long, value_enum, default_value_t = Format::Export)]
    format: Format,

    /// The shell that evaluates the output: bash, zsh, fish or powershell [default: the one trop is called
    /// from]
    #[arg(long, value_name = "SHELL")]
    shell: Option<String>,

    /// Replace the reservations of the directory if they are not this group, accept any path and every change
    #[arg(long)]
    force: bool,

    /// Accept a group whose directory is neither above nor below the working directory
    #[arg(long)]
    allow_unrelated_path: bool,

    #[command(flatten)]
    changes: ChangeOptions,

    /// Show which ports it would be, and reserve nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    occupancy: OccupancyOptions,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Statements for a shell to evaluate
    Export,
    /// An object from tags to ports
    Json,
    /// Lines `NAME=PORT`
    Dotenv,
    /// A line for people for each port
    Human,
}

/// Reserves the group that `discovery` finds. `origin` may return a note about where that was.
pub(crate) fn run(
    options: Options,
    context: Context,
    discovery: Discovery,
    origin: impl Fn(&ReservedGroup) -> Option<String>,
) -> Result<Report> {
    let (shell, guess) = shell(&options)?;
    let dry_run = options.dry_run;
    let format = options.format;
    // The order in which faults are reported: a missing file, wrong settings, no group, no database.
    let registry = context.registry_with(|options| options.discovery = discovery)?;
    let mut request = options.request()?;
    registry.group()?;
    let registry = if dry_run { registry.dry_run()? } else { registry };
    let print = |group: &ReservedGroup| match format {
        Format::Export => group.format(GroupFormat::Export(shell)),
        Format::Json => group.format(GroupFormat::Json(GroupKey::Tag)),
        Format::Dotenv => group.format(GroupFormat::Dotenv),
        // Formatted and thrown away: a group with an invalid variable name is refused in every format.
        Format::Human => group.format(GroupFormat::Dotenv).map(|_| human(group)),
    };
    let mut warning = None;
    let (group, text) = match registry.reserve_group_with(&request, print) {
        // A dry run is allowed from any directory.
        Err(error @ Error::UnrelatedPath { .. }) if dry_run => {
            warning =
                Some(format!("Warning: the real run would be refused: {error} (--allow-unrelated-path)"));
            request.allow_unrelated_path = true;
            registry.reserve_group_with(&request, print)?
        }
        result => result?,
    };

    let mut report = if dry_run { Report::default() } else { Report::result(text) };
    warning.into_iter().chain(origin(&group)).for_each(|note| report.note(note));
    if let Some(name) = guess.filter(|_| format == Format::Export) {
        report
            .note(format!("Warning: the output is for bash, which '{name}' may not understand; see --shell"));
    }
    for (member, service) in group.members.iter().zip(&registry.group()?.services) {
        if let (Some(refusal), Some(port)) = (member.refusal, service.preferred) {
            let (tag, reason) = (member.tag(), reserve::obstacle(refusal));
            report.note(format!("Warning: preferred port {port} of '{tag}' was not used: {reason}"));
        }
    }
    if let Some(cleanup) = &group.cleanup {
        clean::note_automatic(cleanup, &mut report);
    }
    if dry_run {
        let would = if group.outcome == GroupOutcome::Kept { "would return" } else { "would reserve" };
        report.note(format!("Dry run: {would} {} for '{}':", ports(&group), group.path));
        lines(&group).for_each(|line| report.note(line));
    } else {
        let how = match group.outcome {
            GroupOutcome::Replaced => " in place of others",
            GroupOutcome::Kept => " as before",
            _ => "",
        };
        report.note(format!("Reserved {} for '{}'{how}", ports(&group), group.path));
    }
    Ok(report)
}

/// The shell to print for; and the name of the calling shell, if that is unknown and bash is a guess.
fn shell(options: &Options) -> Result<(Shell, Option<String>)> {
    match &options.shell {
        Some(name) => Ok((Shell::parse(name)?, None)),
        None => Ok(Shell::detect()),
    }
}

impl Options {
    fn request(self) -> Result<GroupRequest> {
        let mut request = GroupRequest::default();
        request.task = metadata("task", "--task", self.task)?;
        self.occupancy.apply(&mut request.occupancy);
        request.allow_unrelated_path = self.allow_unrelated_path;
        request.allow_project_change = self.changes.project();
        request.allow_task_change = self.changes.task();
        request.force = self.force;
        Ok(request)
    }
}

fn ports(group: &ReservedGroup) -> String {
    let count = group.members.len();
    if count == 1 { "1 port".to_owned() } else { format!("{count} ports") }
}

/// A line for each service. The port comes first, so that no tag can look like a statement of a shell.
fn lines(group: &ReservedGroup) -> impl Iterator<Item = String> {
    group.members.iter().map(|member| format!("  {}  {} ({})", member.port(), member.tag(), member.variable))
}

fn human(group: &ReservedGroup) -> String {
    let mut text = format!("Reserved {} for '{}':\n", ports(group), output::escape(&group.path));
    for line in lines(group) {
        text.extend([&output::escape(&line), "\n"]);
    }
    text
}
