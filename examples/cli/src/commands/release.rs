//! `trop release`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use trop_core::{Error, Holder, Port, Registry, ReleaseRequest, Result, Uses};

use super::clean;
use crate::args::{PathOptions, port, tag};
use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Release the ports of a directory, or one port
///
/// Without --tag, --untagged-only and --port: all ports of exactly this path. Having none is not a failure.
#[derive(Args)]
#[command(after_help = "\
Examples: give back the port of this directory's web server only; end somebody's lease
  trop release --tag web
  trop release --port 5000 --force")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Release {
    /// This port, whatever its path, reserved or leased
    #[arg(long, allow_negative_numbers = true,
        conflicts_with_all = ["tag", "untagged_only", "path", "allow_unrelated_path", "recursive"])]
    port: Option<OsString>,

    /// Only the port with this tag
    #[arg(long)]
    tag: Option<OsString>,

    /// Only the port without a tag
    #[arg(long)]
    untagged_only: bool,

    #[command(flatten)]
    directory: PathOptions,

    /// The same of every path below it
    #[arg(long)]
    recursive: bool,

    /// Accept any path, as --allow-unrelated-path does; with --port, end a lease whose process is running
    #[arg(long)]
    force: bool,

    /// Show what would be released, and release nothing
    #[arg(long)]
    dry_run: bool,
}

impl Subcommand for Release {
    fn uses(&self) -> Uses {
        Uses::PATHS
    }

    fn path(&mut self) -> Option<&mut Option<PathBuf>> {
        // With --port one port is released, whatever its path.
        if self.port.is_none() { Some(&mut self.directory.path) } else { None }
    }

    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        if self.tag.is_some() && self.untagged_only {
            let reason = "Cannot specify both --tag and --untagged-only".to_owned();
            return Err(Error::InvalidArgument { argument: "tag", reason });
        }
        let mut request = ReleaseRequest::default();
        let port = port("port", self.port)?;
        request.path = self.directory.path;
        request.tag = tag(self.tag)?;
        request.untagged_only = self.untagged_only;
        request.allow_unrelated_path = self.directory.allow_unrelated_path || self.force;
        request.recursive = self.recursive;

        let verbose = context.global.verbose;
        let registry = context.registry()?;
        let registry = if self.dry_run { registry.dry_run()? } else { registry };
        let released = match port {
            Some(port) => release_port(&registry, port, self.force)?,
            None => registry
                .release_listed(&request)?
                .iter()
                .map(|row| format!("port {} of {}", row.port, clean::key(&row.key)))
                .collect(),
        };

        let mut report = Report::default();
        for what in &released {
            if self.dry_run {
                report.note(format!("Dry run: would release {what}"));
            } else if verbose {
                report.note(format!("Released: {what}"));
            }
        }
        let prefix = if self.dry_run { "Dry run: would release" } else { "Released" };
        report.note(match released.len() {
            0 if self.dry_run => "Dry run: No reservation found, nothing would be released".to_owned(),
            0 => "No reservation found: never reserved, or already released".to_owned(),
            1 => format!("{prefix} 1 port"),
            count => format!("{prefix} {count} ports"),
        });
        Ok(report)
    }
}

/// Releases one port, and describes what had it.
fn release_port(registry: &Registry, port: Port, force: bool) -> Result<Vec<String>> {
    let released = registry.release_port(port, force)?;
    Ok(Vec::from_iter(released.map(|holder| match holder {
        Holder::Reservation(row) => format!("port {port} of {}", clean::key(&row.key)),
        Holder::Lease(lease) => format!("port {port} leased by {}, {}", lease.holder(), lease.state()),
        _ => format!("port {port}"),
    })))
}
