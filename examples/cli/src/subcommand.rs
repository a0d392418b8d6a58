//! What a subcommand is: the trait that each one implements, and what it is run with.

use std::path::PathBuf;
use std::time::Duration;

use trop_core::{Error, Registry, RegistryOptions, Result, Uses};

use crate::args::GlobalOptions;
use crate::output::Report;

/// A subcommand as it was typed.
pub(crate) trait Subcommand {
    /// The settings it uses. A malformed variable of any other setting does not stop it.
    fn uses(&self) -> Uses {
        Uses::OPENING
    }

    /// Its `--path`, if `TROP_PATH` stands in where that option is missing.
    fn path(&mut self) -> Option<&mut Option<PathBuf>> {
        None
    }

    /// Checks syntax rules that span several options.
    ///
    /// # Errors
    /// The message of the syntax error.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// Does it, and returns what is to be printed.
    fn run(self: Box<Self>, context: Context) -> Result<Report>;
}

/// What a subcommand is run with.
pub(crate) struct Context {
    pub(crate) global: GlobalOptions,
    /// The settings that the subcommand uses.
    pub(crate) uses: Uses,
    /// Builds the model of the whole command, from which completions and the manual page are generated.
    pub(crate) model: fn() -> clap::Command,
}

impl Context {
    /// The registry, not yet opened: a bad path is reported before a missing or damaged database.
    pub(crate) fn registry(self) -> Result<Registry> {
        self.registry_with(|_| {})
    }

    /// As `registry`, with options that `set` takes from the subcommand's own.
    pub(crate) fn registry_with(self, set: impl FnOnce(&mut RegistryOptions)) -> Result<Registry> {
        let mut options = RegistryOptions::default();
        options.data_dir = self.global.data_dir;
        options.create = !self.global.disable_autoinit;
        options.busy_timeout = self.global.busy_timeout.map(Duration::from_secs);
        options.uses = self.uses;
        options.origin = "command line";
        set(&mut options);
        Registry::open_lazily(options).map_err(|error| match error {
            // The core calls it an argument; to a user of the command it is a setting, with exit code 7.
            Error::InvalidArgument { argument: setting @ "busy_timeout", reason } => {
                Error::Config { setting, reason: format!("command line: --busy-timeout {reason}") }
            }
            error => error,
        })
    }
}
