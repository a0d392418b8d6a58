//! `trop scan`.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::Args;
use trop_core::{ExclusionFile, Result, ScanRequest, Uses, add_exclusions};

use crate::args::port;
use crate::occupancy::{self, ProbeOptions};
use crate::output::{Format, Report};
use crate::subcommand::{Context, Subcommand};

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
    probes: ProbeOptions,
}

impl Subcommand for Scan {
    fn uses(&self) -> Uses {
        Uses::PORTS.and(Uses::OCCUPANCY)
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let (min, max) = (port("min port", self.min)?, port("max port", self.max)?);
        let verbose = context.global.verbose;
        // As settings of the highest priority, so that they can repair a range that others make invalid.
        let registry = context.registry_with(|options| {
            options.min = min;
            options.max = max;
            self.probes.apply(&mut options.occupancy);
        })?;

        // Before the scan: that there is no file to write to need not wait for its end.
        let file = self.autoexclude.then(|| registry.exclusion_file(ExclusionFile::Project)).transpose()?;
        let scan = registry.scan(&ScanRequest::default())?;
        let edit =
            file.map(|file| add_exclusions(&file, &scan.unreserved(), self.autocompact)).transpose()?;

        let mut report = Report::result(occupancy::findings(&scan.findings, self.format)?);
        let unreserved = scan.unreserved().iter().count();
        if unreserved > 0 {
            let verb = if unreserved == 1 { "port is" } else { "ports are" };
            report.note(format!("{unreserved} {verb} occupied and not reserved"));
        }
        let closing: BTreeSet<_> =
            scan.findings.iter().filter(|finding| finding.closing).map(|finding| finding.port).collect();
        for (ports, what) in [
            (closing, "closing, for up to 60 s: servers that set SO_REUSEADDR can listen there now"),
            (scan.forbidden.iter().collect(), "not to be bound by this user"),
            (scan.refused.iter().collect(), "refused by web clients and passed over by searches"),
        ] {
            if let Some(first) = ports.first() {
                let count = ports.len();
                let are = if count == 1 { "port is" } else { "ports are" };
                report.note(format!("{count} {are} {what}; the first: {first}"));
            }
        }
        if let Some(edit) = edit {
            let what = if edit.changed { "Excluded them in" } else { "Nothing to exclude in" };
            report.note(format!("{what} {}", edit.path.display()));
        }
        if let Some(first) = scan.doubts.first() {
            let count = scan.doubts.len();
            let text = "could not tell, so their ports count as possibly occupied";
            if verbose {
                scan.doubts.iter().for_each(|doubt| report.note(format!("Possibly occupied: {doubt}")));
                report.note(format!("{count} probes {text}"));
            } else {
                report.note(format!("{count} probes {text}; the first: {first}"));
            }
        }
        Ok(report)
    }
}
