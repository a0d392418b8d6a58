//! The `trop` command: clap definitions, printing and exit codes. What it does is decided by `trop-core`.

mod args;
mod child;
mod commands;
mod help;
mod logger;
mod occupancy;
mod output;

use std::process::ExitCode;

use trop_core::{Code, Error};

use crate::output::Failure;

fn main() -> ExitCode {
    let cli = match args::Cli::read() {
        Ok(cli) => cli,
        Err(answer) => return output::help_or_usage(answer).unwrap_or_else(|error| fail(&error)),
    };
    let quiet = cli.global.quiet;
    logger::start(&cli.global);
    let report = trop_core::contain(|| cli.command.run(cli.global));
    match report.and_then(|report| report.print(quiet)) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(Failure::Refusal { findings, summary })) => {
            for finding in &findings {
                output::line(finding);
            }
            output::line(&format!("Error: {summary}"));
            ExitCode::from(1)
        }
        Ok(Some(Failure::Status(status, failure))) => {
            if let Some(error) = failure {
                tell(&error);
            }
            ExitCode::from(status)
        }
        Ok(Some(Failure::Error(error))) | Err(error) => fail(&error),
    }
}

fn fail(error: &Error) -> ExitCode {
    tell(error);
    ExitCode::from(exit_code(error))
}

fn tell(error: &Error) {
    let advice = match error {
        Error::UnrelatedPath { .. } => " (--allow-unrelated-path)",
        Error::MigrationConflict { .. }
        | Error::GroupConflict { is_forced: false, .. }
        | Error::Leased { .. } => " (--force)",
        Error::StickyField { field: "project", .. } => " (--allow-project-change)",
        Error::StickyField { .. } => " (--allow-task-change)",
        Error::Busy { .. } => " (--busy-timeout)",
        Error::NotFound { .. } => " (--recursive)",
        Error::AlreadyExists { .. } => " (--overwrite replaces it by an empty one)",
        _ => "",
    };
    output::line(&format!("Error: {error}{advice}"));
}

/// The one mapping from errors to exit codes. Syntax errors, which clap finds, exit with 2.
fn exit_code(error: &Error) -> u8 {
    match error {
        Error::UnresolvablePath { .. } | Error::UnknownShell => return 6,
        // No plain input or output failure.
        error if error.is_unopened_database() => return 6,
        Error::NoProjectFile { .. } => return 4,
        _ => {}
    }
    match error.code() {
        Code::UnrelatedPath | Code::StickyField => 1,
        Code::Busy => 2,
        Code::NoDataDir => 3,
        Code::InvalidArgument => 4,
        Code::Io => 5,
        Code::Config => 7,
        Code::Panic => 70,
        _ => 6,
    }
}
