//! The subcommands, a file each: what may be typed, and what is done with it.
//!
//! Each judges its arguments first, then the settings; the core resolves the path and touches the registry last.

mod assert_data_dir;
mod assert_port;
mod assert_reservation;
mod completions;
mod init;
mod list;
mod list_projects;
mod manual;
mod migrate;
mod port_info;
mod release;
mod reserve;

use std::path::PathBuf;

use clap::Subcommand;
use trop_core::Result;

use crate::args::Global;
use crate::output::Report;

#[derive(Subcommand)]
pub(crate) enum Command {
    Reserve(reserve::Reserve),
    Release(release::Release),
    List(list::List),
    PortInfo(port_info::PortInfo),
    ListProjects(list_projects::ListProjects),
    AssertReservation(assert_reservation::AssertReservation),
    AssertPort(assert_port::AssertPort),
    AssertDataDir(assert_data_dir::AssertDataDir),
    Migrate(migrate::Migrate),
    Init(init::Init),
    Completions(completions::Completions),
    #[command(hide = true)]
    Manual(manual::Manual),
}

impl Command {
    /// The path of a subcommand that is about one directory, where a variable may name it.
    pub(crate) fn path(&mut self) -> Option<&mut Option<PathBuf>> {
        match self {
            Command::Reserve(command) => Some(&mut command.place.path),
            Command::Release(command) => Some(&mut command.place.path),
            Command::AssertReservation(command) => Some(&mut command.path),
            _ => None,
        }
    }

    pub(crate) fn run(self, global: Global) -> Result<Report> {
        match self {
            Command::Reserve(command) => command.run(global),
            Command::Release(command) => command.run(global),
            Command::List(command) => command.run(global),
            Command::PortInfo(command) => command.run(global),
            Command::ListProjects(command) => command.run(global),
            Command::AssertReservation(command) => command.run(global),
            Command::AssertPort(command) => command.run(global),
            Command::Migrate(command) => command.run(global),
            Command::AssertDataDir(command) => command.run(global),
            Command::Init(command) => command.run(global),
            Command::Completions(command) => command.run(global),
            Command::Manual(command) => command.run(global),
        }
    }
}
