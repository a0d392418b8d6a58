//! The options that several subcommands share, and how the text of an option becomes a value.
//!
//! To clap, ports and tags are text: a bad one is no syntax error, but an argument that the core refuses.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use trop_core::{Error, LogMode, Port, PortRange, Result, Tag, identifier};

/// Options that are accepted before and after the subcommand.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct GlobalOptions {
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
}

impl GlobalOptions {
    /// Decides between `--quiet`, `--verbose` and the variable's `mode`, so that at most one flag is set
    /// afterwards: the flags come before the variable, and quiet comes before verbose.
    pub(crate) fn settle_verbosity(&mut self, mode: LogMode) {
        let mode = if self.quiet || self.verbose { LogMode::Normal } else { mode };
        self.quiet |= mode == LogMode::Quiet;
        self.verbose = !self.quiet && (self.verbose || mode == LogMode::Verbose);
    }
}

/// The directory of a reservation, and whether it may be any.
#[derive(Args)]
pub(crate) struct PathOptions {
    /// The directory the port belongs to [default: the working directory]
    #[arg(long)]
    pub(crate) path: Option<PathBuf>,

    /// Accept a path that is neither above nor below the working directory
    #[arg(long)]
    pub(crate) allow_unrelated_path: bool,
}

/// Which stored fields of a reservation may change.
#[derive(Args)]
pub(crate) struct ChangeOptions {
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

impl ChangeOptions {
    pub(crate) fn project(&self) -> bool {
        self.allow_project_change || self.allow_change
    }

    pub(crate) fn task(&self) -> bool {
        self.allow_task_change || self.allow_change
    }
}

/// The range to choose ports from.
#[derive(Args)]
pub(crate) struct RangeOptions {
    /// The lowest port to choose
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    min: Option<OsString>,

    /// The highest port to choose
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    max: Option<OsString>,
}

impl RangeOptions {
    /// The lowest and the highest port, as far as they are given.
    pub(crate) fn ports(self) -> Result<(Option<Port>, Option<Port>)> {
        let (min, max) = (port("min", self.min)?, port("max", self.max)?);
        if let (Some(min), Some(max)) = (min, max) {
            // The core checks the range too, but only after the settings: this is the argument's own fault.
            PortRange::new("min", min, max)?;
        }
        Ok((min, max))
    }
}

/// The tag that was typed, which need not be valid UTF-8.
pub(crate) fn tag(text: Option<OsString>) -> Result<Option<Tag>> {
    let Some(text) = text else { return Ok(None) };
    match text.to_str() {
        Some(text) => Tag::new(text).map(Some),
        None => Err(Error::InvalidArgument { argument: "tag", reason: "it is not valid UTF-8".to_owned() }),
    }
}

/// The port that was typed, which may be any text.
pub(crate) fn port(argument: &'static str, text: Option<OsString>) -> Result<Option<Port>> {
    text.map(|text| Port::parse(argument, &text.to_string_lossy())).transpose()
}

/// The project or task that was typed, trimmed. A bad one is reported as a setting, as one from a file is.
pub(crate) fn metadata(setting: &'static str, flag: &str, text: Option<OsString>) -> Result<Option<String>> {
    let Some(text) = text else { return Ok(None) };
    let invalid = |reason: &str| Error::Config { setting, reason: format!("{flag}: {reason}") };
    let text = text.to_str().ok_or_else(|| invalid("it is not valid UTF-8"))?;
    match identifier(setting, text) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(Error::InvalidArgument { reason, .. }) => Err(invalid(&reason)),
        Err(error) => Err(error),
    }
}
