//! What may be typed.
//!
//! Ports and tags stay text here: a bad one is not a syntax error but an argument the core refuses.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// The port registry of this machine: reserve a TCP/UDP port number that nobody else is given
///
/// A reservation belongs to a directory and an optional tag: asking again gives the same port.
/// It lasts until it is released.
#[derive(Parser)]
#[command(name = "trop", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The command line, and what variables say where it says nothing.
    ///
    /// Clap's own variables are judged for a global option before the part after the subcommand is seen.
    pub(crate) fn read() -> Result<Cli, clap::Error> {
        let mut cli = Cli::try_parse()?;
        fill(&mut cli.global.data_dir, "TROP_DATA_DIR")?;
        match &mut cli.command {
            Command::Reserve(ReserveArgs { place, .. }) | Command::Release(ReleaseArgs { place, .. }) => {
                fill(&mut place.path, "TROP_PATH")?;
            }
            Command::List(_) | Command::PortInfo(_) => {}
        }
        Ok(cli)
    }
}

fn fill(path: &mut Option<PathBuf>, variable: &str) -> Result<(), clap::Error> {
    if path.is_none() {
        *path = std::env::var_os(variable).map(PathBuf::from);
    }
    match path {
        Some(path) if path.as_os_str().is_empty() => {
            let message = format!("the variable {variable} is empty; unset it or name a directory");
            Err(Cli::command().error(ErrorKind::InvalidValue, message))
        }
        _ => Ok(()),
    }
}

const EXAMPLES: &str = "\
Examples:
  PORT=$(trop reserve)            the port of this directory
  DB=$(trop reserve --tag db)     a second one, for its database
  trop list                       who has which port
  trop port-info 5000             who has this port
  trop release                    gives back all ports of this directory";

/// Accepted before and after the subcommand.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The registry's directory, made if it is missing [default: ~/.trop] [env: TROP_DATA_DIR]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) data_dir: Option<PathBuf>,

    /// How long to wait for other programs that use the registry; 0 fails at once [default: 5]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(crate) busy_timeout: Option<u64>,

    /// Fail if there is no registry yet, instead of making one
    #[arg(long, global = true)]
    pub(crate) disable_autoinit: bool,

    /// Print results and failures only
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Reserve(ReserveArgs),
    Release(ReleaseArgs),
    List(ListArgs),
    PortInfo(PortInfoArgs),
}

/// Reserve a port, or get the one that is reserved already
///
/// Prints the port. The same path and tag have the same port until it is released.
#[derive(Args)]
#[command(after_help = "\
Example: a port for this directory's web server, 8080 if it can be had
  PORT=$(trop reserve --tag web --port 8080 --min 8000 --max 8999)")]
pub(crate) struct ReserveArgs {
    /// Tells several ports of one path apart
    #[arg(long)]
    pub(crate) tag: Option<OsString>,

    /// The port to prefer if the path and tag have none yet
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) port: Option<OsString>,

    /// The lowest port to choose [default: 5000]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    pub(crate) min: Option<OsString>,

    /// The highest port to choose [default: 7000]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    pub(crate) max: Option<OsString>,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// Release the ports of a directory
///
/// Without --tag and --untagged-only: all ports of exactly this path. Having none is not a failure.
#[derive(Args)]
#[command(after_help = "\
Example: give back the port of this directory's web server only
  trop release --tag web")]
pub(crate) struct ReleaseArgs {
    /// Only the port with this tag
    #[arg(long)]
    pub(crate) tag: Option<OsString>,

    /// Only the port without a tag
    #[arg(long)]
    pub(crate) untagged_only: bool,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// Which directory, and whether it may be any.
#[derive(Args)]
pub(crate) struct Place {
    /// The directory the port belongs to [default: the working directory] [env: TROP_PATH]
    #[arg(long)]
    pub(crate) path: Option<PathBuf>,

    /// Accept a path that is neither above nor below the working directory
    #[arg(long)]
    pub(crate) allow_unrelated_path: bool,
}

/// List all reservations
///
/// Ordered by path, then tag. Times are in UTC.
#[derive(Args)]
#[command(after_help = "\
Example: for a script
  trop list --format json")]
pub(crate) struct ListArgs {
    /// The table is for people; the other formats have full paths
    #[arg(long, value_enum, ignore_case = true, default_value_t = Format::Table)]
    pub(crate) format: Format,

    /// Do not shorten the home directory to ~ in the table
    #[arg(long)]
    pub(crate) show_full_paths: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Csv,
    Tsv,
}

/// Tell who has a port
///
/// Answers from the registry: whether a program listens on the port is not looked at.
#[derive(Args)]
#[command(after_help = "\
Example: who has port 5000
  trop port-info 5000")]
pub(crate) struct PortInfoArgs {
    /// The port, 1 to 65535
    pub(crate) port: u16,
}
