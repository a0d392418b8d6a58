//! The subcommands, a file each: what may be typed, and what is done with it.
//!
//! Each checks its arguments first, then the settings; the core resolves the path and opens the database
//! last.

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

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Error};

use crate::subcommand::Subcommand;

/// All subcommands, in the order in which the help lists them.
const SUBCOMMANDS: [Entry; 24] = [
    Entry::new::<reserve::Reserve>("reserve"),
    Entry::new::<release::Release>("release"),
    Entry::new::<reserve_group::ReserveGroup>("reserve-group"),
    Entry::new::<autoreserve::Autoreserve>("autoreserve"),
    Entry::new::<run::Run>("run"),
    Entry::new::<list::List>("list"),
    Entry::new::<prune::Prune>("prune"),
    Entry::new::<expire::Expire>("expire"),
    Entry::new::<autoclean::Autoclean>("autoclean"),
    Entry::new::<port_info::PortInfo>("port-info"),
    Entry::new::<scan::Scan>("scan"),
    Entry::new::<exclude::Exclude>("exclude"),
    Entry::new::<compact_exclusions::CompactExclusions>("compact-exclusions"),
    Entry::new::<list_projects::ListProjects>("list-projects"),
    Entry::new::<assert_reservation::AssertReservation>("assert-reservation"),
    Entry::new::<assert_port::AssertPort>("assert-port"),
    Entry::new::<assert_data_dir::AssertDataDir>("assert-data-dir"),
    Entry::new::<migrate::Migrate>("migrate"),
    Entry::new::<init::Init>("init"),
    Entry::new::<validate::Validate>("validate"),
    Entry::new::<show_data_dir::ShowDataDir>("show-data-dir"),
    Entry::new::<show_path::ShowPath>("show-path"),
    Entry::new::<completions::Completions>("completions"),
    Entry::new::<manual::Manual>("manual"),
];

/// One subcommand: its name, what adds its options to a parser, and what reads them from a parser's matches.
struct Entry {
    name: &'static str,
    add_options: fn(Command) -> Command,
    parse: fn(&mut ArgMatches) -> Result<Box<dyn Subcommand>, Error>,
}

impl Entry {
    const fn new<S: Subcommand + Args + 'static>(name: &'static str) -> Entry {
        Entry {
            name,
            add_options: S::augment_args,
            parse: |matches| Ok(Box::new(S::from_arg_matches_mut(matches)?)),
        }
    }

    fn build(&self) -> Command {
        (self.add_options)(Command::new(self.name))
    }
}

/// The parsers of all subcommands.
pub(crate) fn all() -> impl Iterator<Item = Command> {
    SUBCOMMANDS.iter().map(Entry::build)
}

/// The parsers of those subcommands whose names are among the arguments: no other can be meant.
pub(crate) fn named(arguments: &[OsString]) -> impl Iterator<Item = Command> {
    let named = SUBCOMMANDS.iter().filter(|entry| arguments.iter().any(|argument| argument == entry.name));
    named.map(Entry::build)
}

/// The subcommand that a parser matched, with its options.
pub(crate) fn parse(matches: &mut ArgMatches) -> Result<Box<dyn Subcommand>, Error> {
    let typed = matches.remove_subcommand();
    let found = typed.and_then(|(name, options)| {
        SUBCOMMANDS.iter().find(|entry| entry.name == name).map(|entry| (entry, options))
    });
    // The parser requires a subcommand and knows no others, so there always is one.
    let (entry, mut options) = found.ok_or_else(|| Error::new(ErrorKind::MissingSubcommand))?;
    (entry.parse)(&mut options)
}
