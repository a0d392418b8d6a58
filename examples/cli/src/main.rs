//! The `trop` command: options, printing and exit codes. All decisions are made by `trop-core`.

mod args;
mod child;
mod cli;
mod commands;
mod help;
mod logger;
mod occupancy;
mod output;
mod subcommand;

use std::process::ExitCode;

use trop_core::{Code, Error};

use crate::cli::Cli;
use crate::output::Failure;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(answer) => return output::help_or_usage(answer).unwrap_or_else(|error| fail(&error)),
    };
    let quiet = cli.context.global.quiet;
    logger::start(&cli.context.global);
    let report = trop_core::contain(|| cli.command.run(cli.context));
    match report.and_then(|report| report.print(quiet)) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(Failure::Negative { findings, summary })) => {
            for finding in &findings {
                output::line(finding);
            }
            output::line(&format!("Error: {summary}"));
            ExitCode::from(1)
        }
        Ok(Some(Failure::Status(status, failure))) => {
            if let Some(error) = failure {
                print_error(&error);
            }
            ExitCode::from(status)
        }
        Ok(Some(Failure::Error(error))) | Err(error) => fail(&error),
    }
}

/// Prints the error, and returns its exit code.
fn fail(error: &Error) -> ExitCode {
    print_error(error);
    ExitCode::from(exit_code(error))
}

/// Prints the error, and which option would help.
fn print_error(error: &Error) {
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

/// The exit code of an error. Syntax errors, which clap finds, exit with 2.
fn exit_code(error: &Error) -> u8 {
    match error {
        Error::UnresolvablePath { .. } | Error::UnknownShell => return 6,
        // Its code is that of input and output, but the database is at fault.
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
