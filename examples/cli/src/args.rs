//! What may be typed: the command line as a whole. Each subcommand's own part is in its file under `commands/`.
//!
//! Ports and tags stay text here: a bad one is not a syntax error but an argument the core refuses.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, FromArgMatches, Parser};
use trop_core::{Error, LogMode, Port, PortRange, Registry, RegistryOptions, Result, Setting, Tag, Uses};

use crate::commands::{self, Command};
use crate::help;

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

const EXAMPLES: &str = "\
Examples:
  PORT=$(trop reserve)            the port of this directory
  DB=$(trop reserve --tag db)     a second one, for its database
  eval \"$(trop autoreserve)\"      the ports of all services in trop.yaml, as variables
  trop run -- npm test            a port in PORT that is given back when the tests end
  trop list                       who has which port
  trop port-info 5000             who has this port
  trop validate trop.yaml         whether a configuration file is right
  trop release                    gives back all ports of this directory";

impl Cli {
    /// The command line, and what variables say where it says nothing.
    ///
    /// Clap's own variables are judged for a global option before the part after the subcommand is seen.
    pub(crate) fn read() -> Result<Cli, clap::Error> {
        let arguments: Vec<_> = std::env::args_os().collect();
        let mut matches = match Cli::parser(&arguments).try_get_matches_from(&arguments) {
            Ok(matches) => matches,
            Err(answer) if answer.kind() == ErrorKind::DisplayVersion => return Err(answer),
            // Help, and what is wrong, is said by the whole command.
            Err(_) => help::command().try_get_matches_from(arguments)?,
        };
        let mut cli = Cli::from_arg_matches_mut(&mut matches)?;
        cli.command.check()?;
        fill(&mut cli.global.data_dir, Setting::DataDir)?;
        if let Some(path) = cli.command.path() {
            fill(path, Setting::Path)?;
        }
        cli.global.settle_verbosity(LogMode::from_environment());
        cli.global.uses = cli.command.uses();
        Ok(cli)
    }

    /// Understands these arguments and explains nothing. To build the whole command takes longer than to open the
    /// registry.
    fn parser(arguments: &[OsString]) -> clap::Command {
        let command = clap::Command::new("trop").version(env!("CARGO_PKG_VERSION")).subcommand_required(true);
        Global::augment_args(command).subcommands(commands::named(arguments))
    }
}

fn fill(path: &mut Option<PathBuf>, setting: Setting) -> Result<(), clap::Error> {
    let variable = setting.variables().first().copied().unwrap_or_default();
    if path.is_none() {
        *path = std::env::var_os(variable).map(PathBuf::from);
    }
    match path {
        Some(path) if path.as_os_str().is_empty() => {
            let message = format!("the variable {variable} is empty; unset it or name a directory");
            Err(help::command().error(ErrorKind::InvalidValue, message))
        }
        _ => Ok(()),
    }
}

/// Accepted before and after the subcommand.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Global {
    /// The registry's directory, made if it is missing [default: ~/.trop]
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

    /// Print details too, such as which rows a clean-up removes
    #[arg(long, global = true)]
    pub(crate) verbose: bool,

    /// Which settings the subcommand uses: variables of others are not judged.
    #[arg(skip = Uses::ALL)]
    pub(crate) uses: Uses,
}

impl Global {
    /// The registry, not yet opened: a bad path is reported before a missing or damaged database.
    pub(crate) fn registry(self) -> Result<Registry> {
        self.registry_with(|_| {})
    }

    /// As `registry`, with what the subcommand's own options say.
    pub(crate) fn registry_with(self, set: impl FnOnce(&mut RegistryOptions)) -> Result<Registry> {
        let mut options = RegistryOptions::default();
        options.data_dir = self.data_dir;
        options.create = !self.disable_autoinit;
        options.busy_timeout = self.busy_timeout.map(Duration::from_secs);
        options.uses = self.uses;
        options.origin = "command line";
        set(&mut options);
        Registry::open_lazily(options).map_err(|error| match error {
            // What is an argument to the core is a setting here.
            Error::InvalidArgument { argument: setting @ "busy_timeout", reason } => {
                Error::Config { setting, reason: format!("command line: --busy-timeout {reason}") }
            }
            error => error,
        })
    }

    /// Flags beat the variable, quiet beats verbose; at most one of them is set afterwards.
    fn settle_verbosity(&mut self, mode: LogMode) {
        let mode = if self.quiet || self.verbose { LogMode::Normal } else { mode };
        self.quiet |= mode == LogMode::Quiet;
        self.verbose = !self.quiet && (self.verbose || mode == LogMode::Verbose);
    }
}

/// Which directory, and whether it may be any.
#[derive(Args)]
pub(crate) struct Place {
    /// The directory the port belongs to [default: the working directory]
    #[arg(long)]
    pub(crate) path: Option<PathBuf>,

    /// Accept a path that is neither above nor below the working directory
    #[arg(long)]
    pub(crate) allow_unrelated_path: bool,
}

/// What of a stored reservation may change.
#[derive(Args)]
pub(crate) struct Changes {
    /// Allow to change the stored project
    #[arg(long)]
    allow_project_change: bool,

    /// Allow to change the stored task
    #[arg(long)]
    allow_task_change: bool,

    /// Allow to change both
    #[arg(long)]
    allow_change: bool,
}

impl Changes {
    pub(crate) fn project(&self) -> bool {
        self.allow_project_change || self.allow_change
    }

    pub(crate) fn task(&self) -> bool {
        self.allow_task_change || self.allow_change
    }
}

/// From where to where ports are chosen.
#[derive(Args)]
pub(crate) struct Limits {
    /// The lowest port to choose [default: 5000]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    min: Option<OsString>,

    /// The highest port to choose [default: 7000]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    max: Option<OsString>,
}

impl Limits {
    pub(crate) fn ports(self) -> Result<(Option<Port>, Option<Port>)> {
        let (min, max) = (port("min", self.min)?, port("max", self.max)?);
        if let (Some(min), Some(max)) = (min, max) {
            // The core looks at the range too, but after the settings.
            PortRange::new("min", min, max)?;
        }
        Ok((min, max))
    }
}

/// A tag that may not even be text.
pub(crate) fn tag(text: Option<OsString>) -> Result<Option<Tag>> {
    let Some(text) = text else { return Ok(None) };
    match text.to_str() {
        Some(text) => Tag::new(text).map(Some),
        None => Err(Error::InvalidArgument { argument: "tag", reason: "it is not valid UTF-8".to_owned() }),
    }
}

/// A port that may be anything.
pub(crate) fn port(argument: &'static str, text: Option<OsString>) -> Result<Option<Port>> {
    text.map(|text| Port::parse(argument, &text.to_string_lossy())).transpose()
}
