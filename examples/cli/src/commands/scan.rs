//! `trop scan`.

use std::ffi::OsString;

use clap::Args;
use trop_core::{ExclusionFile, Result, ScanRequest, add_exclusions};

use crate::args::{Global, port};
use crate::occupancy::{self, Probes};
use crate::output::{Format, Report};

/// Find the ports that something on this machine has bound
///
/// Answers for the moment it looks: a port that is free now may be bound before it is used.
#[derive(Args)]
#[command(after_help = "\
Example: what is in the way between 8000 and 8999
  trop scan --min 8000 --max 8999")]
pub(crate) struct Scan {
    /// The lowest port to look at
    #[arg(long, value_name = "PORT")]
    min: Option<OsString>,

    /// The highest port to look at
    #[arg(long, value_name = "PORT")]
    max: Option<OsString>,

    /// The table is for people, the other formats are for programs
    #[arg(long, value_enum, ignore_case = true, default_value_t = Format::Table)]
    format: Format,

    /// Exclude what is occupied and not reserved, in the nearest trop.local.yaml, else trop.yaml
    #[arg(long)]
    autoexclude: bool,

    /// After excluding, make the list of excluded ports as short as possible
    #[arg(long)]
    autocompact: bool,

    #[command(flatten)]
    probes: Probes,
}

impl Scan {
    pub(crate) fn run(self, global: Global) -> Result<Report> {
        let mut request = ScanRequest::default();
        request.min = port("min port", self.min)?;
        request.max = port("max port", self.max)?;
        let registry = global.registry_with(|options| self.probes.apply(&mut options.occupancy))?;

        // No file to write to is found out before the work is done.
        let file = if self.autoexclude {
            Some(ExclusionFile::Discovered.locate(registry.data_dir())?)
        } else {
            None
        };
        let scan = registry.scan(&request)?;
        let edit = match file {
            Some(file) => Some(add_exclusions(&file, &scan.unreserved(), self.autocompact)?),
            None => None,
        };

        let mut report = Report::result(occupancy::findings(&scan.findings, self.format)?);
        let unreserved = scan.unreserved().iter().count();
        if unreserved > 0 {
            let verb = if unreserved == 1 { "port is" } else { "ports are" };
            report.note(format!("{unreserved} {verb} occupied and not reserved"));
        }
        if let Some(edit) = edit {
            let what = if edit.changed { "Excluded them in" } else { "Nothing to exclude in" };
            report.note(format!("{what} {}", edit.path.display()));
        }
        if let Some(first) = scan.doubts.first() {
            report.note(format!(
                "{} probes could not tell, so their ports count as possibly occupied; the first: {first}",
                scan.doubts.len()
            ));
        }
        Ok(report)
    }
}
