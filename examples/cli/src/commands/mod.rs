//! The subcommands, a file each: what may be typed, and what is done with it.
//!
//! Each judges its arguments first, then the settings; the core resolves the path and touches the registry last.

mod list;
mod port_info;
mod release;
mod reserve;
mod show_data_dir;
mod show_path;
mod validate;

use std::path::PathBuf;

use clap::Subcommand;
use trop_core::{Result, Uses};

use crate::args::Global;
use crate::output::Report;

#[derive(Subcommand)]
pub(crate) enum Command {
    Reserve(reserve::Reserve),
    Release(release::Release),
    List(list::List),
    PortInfo(port_info::PortInfo),
    Validate(validate::Validate),
    ShowDataDir(show_data_dir::ShowDataDir),
    ShowPath(show_path::ShowPath),
}

impl Command {
    /// The option `--path` of a subcommand that is about one directory.
    pub(crate) fn path(&mut self) -> Option<&mut Option<PathBuf>> {
        match self {
            Command::Reserve(command) => Some(&mut command.place.path),
            Command::Release(command) => Some(&mut command.place.path),
            Command::ShowPath(command) => Some(&mut command.path),
            _ => None,
        }
    }

    /// Which settings it uses: a variable of another one may be malformed.
    pub(crate) fn uses(&self) -> Uses {
        match self {
            Command::Reserve(_) => Uses::RESERVING,
            Command::Release(_) => Uses::PATHS,
            Command::List(_) => Uses::LISTS,
            Command::PortInfo(_) | Command::Validate(_) | Command::ShowDataDir(_) | Command::ShowPath(_) => {
                Uses::OPENING
            }
        }
    }

    pub(crate) fn run(self, global: Global) -> Result<Report> {
        match self {
            Command::Reserve(command) => command.run(global),
            Command::Release(command) => command.run(global),
            Command::List(command) => command.run(global),
            Command::PortInfo(command) => command.run(global),
            Command::Validate(command) => command.run(),
            Command::ShowDataDir(command) => command.run(&global),
            Command::ShowPath(command) => command.run(),
        }
    }
}
