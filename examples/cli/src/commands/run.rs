//! `trop run`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::process::Command;

use clap::Args;
use trop_core::{Error, Lease, LeaseRequest, Result, Uses, is_variable_name};

use crate::args::{RangeOptions, port};
use crate::child::{self, Forwarder};
use crate::occupancy::OccupancyOptions;
use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Exit status: trop itself failed, and the command was not started.
const FAILED: u8 = 125;
/// Exit status: the command cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// Exit status: the command does not exist.
const NOT_FOUND: u8 = 127;

/// Run a command with a port that nobody else is given until it ends
///
/// The port is in the environment variable PORT; of several, the others are in PORT_2, PORT_3 and so on.
/// Ports come back when trop ends in whatever way. Signals are forwarded to the command. The exit status
/// is the command's, 128 and the number of the signal that ended it, 127 if it does not exist, 126 if it
/// cannot be executed, and 125 if trop failed before.
#[derive(Args)]
#[command(after_help = "\
Examples: a test run with a port of its own; three neighbours, with names
  trop run -- npm test
  trop run --count 3 --contiguous --env WEB_PORT --env API_PORT --env DB_PORT -- ./start-all")]
pub(crate) struct Run {
    /// How many ports: all or none
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u32,

    /// Neighbouring ports only
    #[arg(long)]
    contiguous: bool,

    /// The variable to put a port in, once for each port [default: PORT, PORT_2, PORT_3, ...]
    #[arg(long, value_name = "NAME")]
    env: Vec<OsString>,

    /// The port to prefer, or the first of several
    #[arg(long, allow_negative_numbers = true)]
    port: Option<OsString>,

    #[command(flatten)]
    range: RangeOptions,

    /// What it is for, shown in lists
    #[arg(long, value_name = "TEXT")]
    label: Option<OsString>,

    /// Keep the port bound, so that the system gives it to nobody; servers that do not set SO_REUSEADDR fail
    /// (Linux)
    #[arg(long)]
    hold: bool,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,

    #[command(flatten)]
    occupancy: OccupancyOptions,
}

impl Subcommand for Run {
    fn uses(&self) -> Uses {
        Uses::LEASE_PORTS.and(Uses::OCCUPANCY).and(Uses::EXPIRY).and(Uses::AUTOCLEAN)
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        Ok(self.start(context).unwrap_or_else(|error| Report::status(FAILED, Some(error))))
    }
}

impl Run {
    fn start(self, context: Context) -> Result<Report> {
        let names = names(self.env, self.count)?;
        let mut request = LeaseRequest::default();
        request.preferred = port("port", self.port)?;
        let (min, max) = self.range.ports()?;
        request.label = self.label.map(label).transpose()?;
        request.contiguous = self.contiguous;
        request.hold = self.hold;
        self.occupancy.apply(&mut request.occupancy);

        // As settings of the highest priority, so that they can repair a range that others make invalid.
        let registry = context.registry_with(|options| {
            options.min = min;
            options.max = max;
        })?;
        let leases = registry.lease_many(self.count, &request)?;
        let first = leases.first().map(Lease::port);
        if let Some(preferred) = request.preferred.filter(|preferred| Some(*preferred) != first) {
            log::warn!(
                "preferred port {preferred} was not used: it is taken, excluded, outside the range, or forbidden to this user"
            );
        }
        let variables: Vec<_> = leases
            .iter()
            .enumerate()
            .map(|(index, lease)| {
                (names.get(index).cloned().unwrap_or_else(|| name(index)), lease.port().to_string())
            })
            .collect();
        for (name, port) in &variables {
            log::info!("{name}={port}");
        }
        let status = supervise(self.command, variables);
        // Ends all leases in one transaction; dropping each of them would need one each.
        registry.close();
        status
    }
}

/// Runs the command to its end, with these variables in its environment.
fn supervise(words: Vec<OsString>, variables: Vec<(String, String)>) -> Result<Report> {
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let failure = |action, source| Error::Io { action, path: program.clone().into(), source, argument: None };
    let forwarder = Forwarder::new().map_err(|source| failure("prepare to run", source))?;
    match Command::new(&program).args(words).envs(variables).spawn() {
        Ok(child) => {
            let ended = forwarder.wait(child).map_err(|source| failure("wait for", source))?;
            Ok(Report::status(child::status(ended), None))
        }
        Err(source) => {
            let status = if source.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
            Ok(Report::status(status, Some(failure("run", source))))
        }
    }
}

/// The names of variables that are given: one for each port, and different even where case does not count.
fn names(given: Vec<OsString>, count: u32) -> Result<Vec<String>> {
    let invalid = |reason: String| Err(Error::InvalidArgument { argument: "env", reason });
    if !given.is_empty() && u32::try_from(given.len()) != Ok(count) {
        return invalid(format!(
            "names: {}, ports: {count}; give one name for each port, or none",
            given.len()
        ));
    }
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for name in given {
        let Some(name) = name.into_string().ok().filter(|name| is_variable_name(name)) else {
            return invalid(
                "it is no name of an environment variable: 1 to 255 letters (A-Z, a-z), digits and \
                 underscores, not starting with a digit"
                    .to_owned(),
            );
        };
        if !seen.insert(name.to_ascii_uppercase()) {
            return invalid(format!("the name {name} is given twice"));
        }
        names.push(name);
    }
    Ok(names)
}

/// The name of the variable for a port if none is given: `PORT`, `PORT_2`, `PORT_3`, ...
fn name(index: usize) -> String {
    match index {
        0 => "PORT".to_owned(),
        _ => format!("PORT_{}", index + 1),
    }
}

fn label(text: OsString) -> Result<String> {
    text.into_string()
        .map_err(|_| Error::InvalidArgument { argument: "label", reason: "it is not valid UTF-8".to_owned() })
}
