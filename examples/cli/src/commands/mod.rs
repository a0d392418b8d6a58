//! The subcommands, a file each: what may be typed, and what is done with it.
//!
//! Each judges its arguments first, then the settings; the core resolves the path and touches the registry last.

mod assert_data_dir;
mod assert_port;
mod assert_reservation;
mod autoclean;
mod autoreserve;
mod clean;
mod compact_exclusions;
mod completions;
mod exclude;
mod expire;
mod group;
mod init;
mod list;
mod list_projects;
mod manual;
mod migrate;
mod port_info;
mod prune;
mod release;
mod reserve;
mod reserve_group;
mod run;
mod scan;
mod show_data_dir;
mod show_path;
mod validate;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use trop_core::{Result, Uses};

use crate::args::Global;
use crate::output::Report;

#[derive(Subcommand)]
pub(crate) enum Command {
    Reserve(reserve::Reserve),
    Release(release::Release),
    ReserveGroup(reserve_group::ReserveGroup),
    Autoreserve(autoreserve::Autoreserve),
    Run(run::Run),
    List(list::List),
    Prune(prune::Prune),
    Expire(expire::Expire),
    Autoclean(autoclean::Autoclean),
    PortInfo(port_info::PortInfo),
    Scan(scan::Scan),
    Exclude(exclude::Exclude),
    CompactExclusions(compact_exclusions::CompactExclusions),
    ListProjects(list_projects::ListProjects),
    AssertReservation(assert_reservation::AssertReservation),
    AssertPort(assert_port::AssertPort),
    AssertDataDir(assert_data_dir::AssertDataDir),
    Migrate(migrate::Migrate),
    Init(init::Init),
    Validate(validate::Validate),
    ShowDataDir(show_data_dir::ShowDataDir),
    ShowPath(show_path::ShowPath),
    Completions(completions::Completions),
    #[command(hide = true)]
    Manual(manual::Manual),
}

/// The names of the subcommands, and what adds the options of each.
const OPTIONS: [(&str, AddOptions); 24] = [
    ("reserve", reserve::Reserve::augment_args),
    ("release", release::Release::augment_args),
    ("reserve-group", reserve_group::ReserveGroup::augment_args),
    ("autoreserve", autoreserve::Autoreserve::augment_args),
    ("run", run::Run::augment_args),
    ("list", list::List::augment_args),
    ("prune", prune::Prune::augment_args),
    ("expire", expire::Expire::augment_args),
    ("autoclean", autoclean::Autoclean::augment_args),
    ("port-info", port_info::PortInfo::augment_args),
    ("scan", scan::Scan::augment_args),
    ("exclude", exclude::Exclude::augment_args),
    ("compact-exclusions", compact_exclusions::CompactExclusions::augment_args),
    ("list-projects", list_projects::ListProjects::augment_args),
    ("assert-reservation", assert_reservation::AssertReservation::augment_args),
    ("assert-port", assert_port::AssertPort::augment_args),
    ("assert-data-dir", assert_data_dir::AssertDataDir::augment_args),
    ("migrate", migrate::Migrate::augment_args),
    ("init", init::Init::augment_args),
    ("validate", validate::Validate::augment_args),
    ("show-data-dir", show_data_dir::ShowDataDir::augment_args),
    ("show-path", show_path::ShowPath::augment_args),
    ("completions", completions::Completions::augment_args),
    ("manual", manual::Manual::augment_args),
];

type AddOptions = fn(clap::Command) -> clap::Command;

/// The subcommands that are among the arguments: no other can be meant.
pub(crate) fn named(arguments: &[OsString]) -> impl Iterator<Item = clap::Command> {
    let named = OPTIONS.iter().filter(|(name, _)| arguments.iter().any(|argument| argument == name));
    named.map(|(name, add_options)| add_options(clap::Command::new(*name)))
}

impl Command {
    /// The path of a subcommand that is about one directory, where a variable may name it.
    pub(crate) fn path(&mut self) -> Option<&mut Option<PathBuf>> {
        match self {
            Command::Reserve(command) => Some(&mut command.place.path),
            // One port is released whatever its path.
            Command::Release(command) if command.port.is_none() => Some(&mut command.place.path),
            Command::ShowPath(command) => Some(&mut command.path),
            Command::AssertReservation(command) => Some(&mut command.path),
            _ => None,
        }
    }

    /// Which settings it uses: a variable of another one may be malformed.
    pub(crate) fn uses(&self) -> Uses {
        match self {
            Command::Reserve(_) | Command::ReserveGroup(_) | Command::Autoreserve(_) => Uses::RESERVING,
            Command::Release(_) => Uses::PATHS,
            Command::Run(_) => Uses::PORTS.and(Uses::OCCUPANCY).and(Uses::EXPIRY).and(Uses::AUTOCLEAN),
            Command::List(_) => Uses::LISTS,
            Command::PortInfo(command) if command.include_occupancy => Uses::OCCUPANCY,
            Command::Scan(_) => Uses::PORTS.and(Uses::OCCUPANCY),
            Command::Expire(_) | Command::Autoclean(_) => Uses::EXPIRY,
            Command::PortInfo(_)
            | Command::ListProjects(_)
            | Command::AssertReservation(_)
            | Command::AssertPort(_)
            | Command::AssertDataDir(_)
            | Command::Migrate(_)
            | Command::Init(_)
            | Command::Prune(_)
            | Command::Exclude(_)
            | Command::CompactExclusions(_)
            | Command::Validate(_)
            | Command::ShowDataDir(_)
            | Command::ShowPath(_)
            | Command::Completions(_)
            | Command::Manual(_) => Uses::OPENING,
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
            Command::ReserveGroup(command) => command.run(global),
            Command::Autoreserve(command) => command.run(global),
            Command::Run(command) => Ok(command.run(global)),
            Command::List(command) => command.run(global),
            Command::Prune(command) => command.run(global),
            Command::Expire(command) => command.run(global),
            Command::Autoclean(command) => command.run(global),
            Command::PortInfo(command) => command.run(global),
            Command::Validate(command) => command.run(),
            Command::ShowDataDir(command) => command.run(&global),
            Command::ShowPath(command) => command.run(),
            Command::ListProjects(command) => command.run(global),
            Command::AssertReservation(command) => command.run(global),
            Command::AssertPort(command) => command.run(global),
            Command::Migrate(command) => command.run(global),
            Command::AssertDataDir(command) => command.run(global),
            Command::Init(command) => command.run(global),
            Command::Completions(command) => command.run(global),
            Command::Manual(command) => command.run(global),
            Command::Scan(command) => command.run(global),
            Command::Exclude(command) => command.run(global),
            Command::CompactExclusions(command) => command.run(&global),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_options_of_a_named_subcommand_are_those_of_the_whole_command() {
        let whole = crate::args::Cli::command();
        let typed: Vec<_> = whole.get_subcommands().map(|subcommand| subcommand.get_name().into()).collect();
        let named: Vec<_> = super::named(&typed).collect();
        let arguments =
            |command: &clap::Command| format!("{:?}", command.get_arguments().collect::<Vec<_>>());
        assert_eq!(named.len(), typed.len());
        for (named, whole) in named.iter().zip(whole.get_subcommands()) {
            assert_eq!((named.get_name(), arguments(named)), (whole.get_name(), arguments(whole)));
        }
    }
}
