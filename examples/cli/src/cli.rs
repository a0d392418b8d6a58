//! The command line as a whole: reading it, and the model that help, completions and the manual page share.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};
use trop_core::{LogMode, Result, Setting};

use crate::args::GlobalOptions;
use crate::subcommand::{Context, Subcommand};
use crate::{commands, help};

/// The port registry of this machine: reserve a TCP/UDP port number that nobody else is given
///
/// A reservation belongs to a directory and an optional tag: asking again gives the same port.
/// It lasts until it is released.
#[derive(Parser)]
#[command(name = "trop", version, after_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Root {
    #[command(flatten)]
    global: GlobalOptions,
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

/// A command line that was understood.
pub(crate) struct Cli {
    pub(crate) command: Box<dyn Subcommand>,
    pub(crate) context: Context,
}

impl Cli {
    /// Reads the command line, and from variables what it leaves open.
    ///
    /// Variables are not left to clap: it would check those of global options before it has seen the options
    /// behind the subcommand.
    ///
    /// # Errors
    /// What clap answers instead: help, the version, or what is wrong with the syntax.
    pub(crate) fn read() -> Result<Cli, clap::Error> {
        parse(std::env::args_os().collect()).map_err(with_usage)
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut matches = match parser(&arguments).try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(answer) if answer.kind() == ErrorKind::DisplayVersion => return Err(answer),
        // Help and syntax errors are worded by the whole model.
        Err(_) => model().try_get_matches_from(arguments)?,
    };
    let mut global = Root::from_arg_matches_mut(&mut matches)?.global;
    let mut command = commands::parse(&mut matches)?;
    command.check().map_err(|message| model().error(ErrorKind::MissingRequiredArgument, message))?;
    fill(&mut global.data_dir, Setting::DataDir)?;
    if let Some(path) = command.path() {
        fill(path, Setting::Path)?;
    }
    global.settle_verbosity(LogMode::from_environment());
    let uses = command.uses();
    Ok(Cli { command, context: Context { global, uses, model } })
}

/// Parses these arguments and explains nothing: it has only the subcommands that are named in them, because
/// building all of them takes longer than opening the registry.
fn parser(arguments: &[OsString]) -> clap::Command {
    Root::command().subcommands(commands::named(arguments))
}

/// The whole command, with each option's variable in its help text.
fn model() -> clap::Command {
    help::with_variables(Root::command().subcommands(commands::all()))
}

/// Takes a path that is not given from the variable of its setting.
fn fill(path: &mut Option<PathBuf>, setting: Setting) -> Result<(), clap::Error> {
    let variable = setting.variables().first().copied().unwrap_or_default();
    if path.is_none() {
        *path = std::env::var_os(variable).map(PathBuf::from);
    }
    match path {
        Some(path) if path.as_os_str().is_empty() => {
            let message = format!("the variable {variable} is empty; unset it or name a directory");
            Err(model().error(ErrorKind::InvalidValue, message))
        }
        _ => Ok(()),
    }
}

/// Adds the usage to a syntax error that clap reports without it.
fn with_usage(mut answer: clap::Error) -> clap::Error {
    if answer.use_stderr() && answer.get(ContextKind::Usage).is_none() {
        answer.insert(ContextKind::Usage, ContextValue::StyledStr(model().render_usage()));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::{CommandFactory, Root, commands, parser};

    #[test]
    fn the_parser_of_a_named_subcommand_has_the_options_of_the_whole_command() {
        let whole = Root::command().subcommands(commands::all());
        let arguments =
            |command: &clap::Command| format!("{:?}", command.get_arguments().collect::<Vec<_>>());
        for expected in whole.get_subcommands() {
            let parser = parser(&["trop".into(), expected.get_name().into()]);
            let named: Vec<_> = parser.get_subcommands().collect();
            assert_eq!(named.len(), 1);
            assert_eq!(
                (named[0].get_name(), arguments(named[0])),
                (expected.get_name(), arguments(expected))
            );
        }
    }
}
