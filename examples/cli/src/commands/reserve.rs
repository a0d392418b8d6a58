//! `trop reserve`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;
use std::path::Path;

use clap::Args;
use trop_core::{PortRange, Refusal, ReserveRequest, Reserved, Result};

use crate::args::{Global, Place, port, tag};
use crate::output::Report;

/// Reserve a port, or get the one that is reserved already
///
/// Prints the port. The same path and tag have the same port until it is released.
#[derive(Args)]
#[command(after_help = "\
Example: a port for this directory's web server, 8080 if it can be had
  PORT=$(trop reserve --tag web --port 8080 --min 8000 --max 8999)")]
pub(crate) struct Reserve {
    /// Tells several ports of one path apart
    #[arg(long)]
    tag: Option<OsString>,

    /// The port to prefer if the path and tag have none yet
    #[arg(long, allow_negative_numbers = true)]
    port: Option<OsString>,

    /// The lowest port to choose [default: 5000]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    min: Option<OsString>,

    /// The highest port to choose [default: 7000]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    max: Option<OsString>,

    #[command(flatten)]
    pub(crate) place: Place,
}

impl Reserve {
    pub(crate) fn run(self, global: Global) -> Result<Report> {
        let is_given = self.place.path.is_some();
        let mut request = ReserveRequest::default();
        request.path = self.place.path;
        request.tag = tag(self.tag)?;
        request.preferred = port("port", self.port)?;
        request.allow_unrelated_path = self.place.allow_unrelated_path;
        let (min, max) = (port("min", self.min)?, port("max", self.max)?);
        if let (Some(min), Some(max)) = (min, max) {
            // The core looks at the range too, but after the settings.
            PortRange::new("min", min, max)?;
        }

        let reserved = global
            .registry_with(|options| {
                options.min = min;
                options.max = max;
            })?
            .reserve(&request)?;

        let key = &reserved.reservation.key;
        let mut report = Report::result(format!("{}\n", reserved.reservation.port));
        if is_given && matches!(Path::new(key.path()).try_exists(), Ok(false)) {
            report.note(format!("Warning: the path '{}' does not exist", key.path()));
        }
        if let Some(preferred) = request.preferred
            && preferred != reserved.reservation.port
        {
            report.note(format!("Warning: preferred port {preferred} was not used: {}", reason(&reserved)));
        }
        Ok(report)
    }
}

/// Why a key has not got the port it prefers.
fn reason(reserved: &Reserved) -> &'static str {
    match reserved.refusal {
        None => "this path and tag have a port already",
        Some(Refusal::OutsideRange) => "it is outside the port range",
        Some(Refusal::Reserved) => "another path or tag has it",
        Some(Refusal::Excluded) => "it is excluded",
        Some(Refusal::Occupied) => "something on this machine is using it, or may be",
        Some(other) => other.name(),
    }
}
