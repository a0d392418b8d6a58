//! The subcommands, a file each: what may be typed, and what is done with it.
//!
//! Each judges its arguments first, then the settings; the core resolves the path and touches the registry last.

mod compact_exclusions;
mod exclude;
mod list;
mod port_info;
mod release;
mod reserve;
mod scan;

use clap::Subcommand;
use trop_core::Result;

use crate::args::{Global, Place};
use crate::output::Report;

#[derive(Subcommand)]
pub(crate) enum Command {
    Reserve(reserve::Reserve),
    Release(release::Release),
    List(list::List),
    PortInfo(port_info::PortInfo),
    Scan(scan::Scan),
    Exclude(exclude::Exclude),
    CompactExclusions(compact_exclusions::CompactExclusions),
}

impl Command {
    /// The options of a subcommand that is about one directory.
    pub(crate) fn place(&mut self) -> Option<&mut Place> {
        match self {
            Command::Reserve(command) => Some(&mut command.place),
            Command::Release(command) => Some(&mut command.place),
            _ => None,
        }
    }

    /// Rules of syntax that span options.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        match self {
            Command::PortInfo(command) => command.check(),
            _ => Ok(()),
        }
    }

    pub(crate) fn run(self, global: Global) -> Result<Report> {
        match self {
            Command::Reserve(command) => command.run(global),
            Command::Release(command) => command.run(global),
            Command::List(command) => command.run(global),
            Command::PortInfo(command) => command.run(global),
            Command::Scan(command) => command.run(global),
            Command::Exclude(command) => command.run(global),
            Command::CompactExclusions(command) => command.run(&global),
        }
    }
}
