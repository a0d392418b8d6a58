//! The subcommands, a file each: what may be typed, and what is done with it.
//!
//! Each judges its arguments first, then the settings; the core resolves the path and touches the registry last.

mod autoclean;
mod clean;
mod expire;
mod list;
mod occupancy;
mod port_info;
mod prune;
mod release;
mod reserve;

use clap::Subcommand;
use trop_core::Result;

use crate::args::{Global, Place};
use crate::output::Report;

#[derive(Subcommand)]
pub(crate) enum Command {
    Reserve(reserve::Reserve),
    Release(release::Release),
    List(list::List),
    Prune(prune::Prune),
    Expire(expire::Expire),
    Autoclean(autoclean::Autoclean),
    PortInfo(port_info::PortInfo),
}

impl Command {
    /// The options of a subcommand that is about one directory.
    pub(crate) fn place(&mut self) -> Option<&mut Place> {
        match self {
            Command::Reserve(command) => Some(&mut command.place),
            Command::Release(command) => Some(&mut command.place),
            Command::List(_)
            | Command::PortInfo(_)
            | Command::Prune(_)
            | Command::Expire(_)
            | Command::Autoclean(_) => None,
        }
    }

    pub(crate) fn run(self, global: Global) -> Result<Report> {
        match self {
            Command::Reserve(command) => command.run(global),
            Command::Release(command) => command.run(global),
            Command::List(command) => command.run(global),
            Command::Prune(command) => command.run(global),
            Command::Expire(command) => command.run(global),
            Command::Autoclean(command) => command.run(global),
            Command::PortInfo(command) => command.run(global),
        }
    }
}
