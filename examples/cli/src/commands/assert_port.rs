//! `trop assert-port`.

use clap::Args;
use trop_core::{Holder, Port, Result};

use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Assert that a port is reserved or leased
///
/// Answers from the registry: whether a program listens on the port is not looked at. Exits with 1 if it is
/// not.
#[derive(Args)]
#[command(after_help = "\
Example: whether nobody has port 8080
  trop assert-port 8080 --not")]
pub(crate) struct AssertPort {
    /// The port, 1 to 65535
    port: u16,

    /// Assert that nobody has it
    #[arg(long)]
    not: bool,
}

impl Subcommand for AssertPort {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let port = Port::new("port", self.port.into())?;
        let found = context.registry()?.holder(port)?;
        // A lease whose owner is gone counts as ended.
        let found = found.filter(|holder| !matches!(holder, Holder::Lease(lease) if !lease.alive));
        Ok(match (found, self.not) {
            (Some(_), false) | (None, true) => Report::default(),
            (None, false) => Report::failed_assertion(&format!("port {port} is not reserved")),
            (Some(Holder::Reservation(found)), true) => {
                Report::failed_assertion(&format!("port {port} is reserved for '{}'", found.key.path()))
            }
            (Some(Holder::Lease(found)), true) => {
                Report::failed_assertion(&format!("port {port} is leased by {}", found.holder()))
            }
            (Some(_), true) => Report::failed_assertion(&format!("port {port} is reserved")),
        })
    }
}
