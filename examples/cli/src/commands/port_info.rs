//! `trop port-info`.

use clap::Args;
use trop_core::{Port, Result};

use crate::args::Global;
use crate::output::{self, Report};

/// Tell who has a port
///
/// Answers from the registry: whether a program listens on the port is not looked at.
#[derive(Args)]
#[command(after_help = "\
Example: who has port 5000
  trop port-info 5000")]
pub(crate) struct PortInfo {
    /// The port, 1 to 65535
    port: u16,
}

impl PortInfo {
    pub(crate) fn run(self, global: Global) -> Result<Report> {
        let port = Port::new("port", self.port.into())?;
        let answer = match global.registry()?.find_port(port)? {
            Some(reservation) => output::describe(&reservation),
            None => format!("Port {port} is not reserved\n"),
        };
        Ok(Report::result(answer))
    }
}
