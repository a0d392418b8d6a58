//! `trop port-info`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::Args;
use trop_core::{Holder, Port, Result, Uses};

use crate::occupancy::{self, OccupancyOptions};
use crate::output::{self, Report};
use crate::subcommand::{Context, Subcommand};

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
    include_occupancy: bool,

    #[command(flatten)]
    occupancy: OccupancyOptions,
}

impl Subcommand for PortInfo {
    fn uses(&self) -> Uses {
        if self.include_occupancy { Uses::OCCUPANCY } else { Uses::OPENING }
    }

    fn check(&self) -> Result<(), &'static str> {
        // Clap cannot say this of options that are shared with other subcommands.
        if self.occupancy.any() && !self.include_occupancy {
            return Err("the occupancy options require --include-occupancy");
        }
        Ok(())
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let port = Port::new("port", self.port.into())?;
        let registry = context.registry_with(|options| {
            self.occupancy.apply(&mut options.occupancy);
        })?;
        let free = || format!("Port {port} is not reserved\n");
        let mut answer = match registry.holder(port)? {
            Some(Holder::Reservation(reservation)) => output::describe(&reservation),
            Some(Holder::Lease(lease)) if lease.alive => output::describe_lease(&lease),
            // An ended lease does not keep the port from anybody.
            Some(Holder::Lease(lease)) => free() + &output::describe_lease(&lease),
            _ => free(),
        };
        if self.include_occupancy {
            answer += &occupancy::describe(&registry.port_occupancy(port));
        }
        Ok(Report::result(answer))
    }
}
