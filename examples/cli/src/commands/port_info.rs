//! `trop port-info`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::error::ErrorKind;
use clap::{Args, CommandFactory};
use trop_core::{Holder, Port, Result};

use crate::args::{Cli, Global};
use crate::occupancy::{self, Occupancy};
use crate::output::{self, Report};

/// Tell who has a port: a directory that reserved it, or a process that leases it
///
/// Answers from the registry; whether a program has the port is looked at with --include-occupancy only.
#[derive(Args)]
#[command(after_help = "\
Example: who has port 5000, and does anything listen on it
  trop port-info 5000 --include-occupancy")]
pub(crate) struct PortInfo {
    /// The port, 1 to 65535
    port: u16,

    /// Tell too whether something on this machine has the port at this moment
    #[arg(long)]
    pub(crate) include_occupancy: bool,

    #[command(flatten)]
    occupancy: Occupancy,
}

impl PortInfo {
    /// What clap cannot say of flags that are shared with other subcommands.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        if self.occupancy.any() && !self.include_occupancy {
            let message = "the occupancy options require --include-occupancy";
            return Err(Cli::command().error(ErrorKind::MissingRequiredArgument, message));
        }
        Ok(())
    }

    pub(crate) fn run(self, global: Global) -> Result<Report> {
        let port = Port::new("port", self.port.into())?;
        let registry = global.registry_with(|options| {
            self.occupancy.apply(&mut options.occupancy);
        })?;
        let free = || format!("Port {port} is not reserved\n");
        let mut answer = match registry.holder(port)? {
            Some(Holder::Reservation(reservation)) => output::describe(&reservation),
            Some(Holder::Lease(lease)) if lease.alive => output::describe_lease(&lease),
            // An ended lease is in nobody's way.
            Some(Holder::Lease(lease)) => free() + &output::describe_lease(&lease),
            _ => free(),
        };
        if self.include_occupancy {
            answer += &occupancy::describe(&registry.port_occupancy(port));
        }
        Ok(Report::result(answer))
    }
}
