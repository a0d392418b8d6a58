//! `trop show-data-dir`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::Args;
use trop_core::Result;

use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Print the data directory
///
/// As it is configured, whether it exists or not: --data-dir, else TROP_DATA_DIR, else ~/.trop, or what
/// stands in for that where there is no usable home directory.
#[derive(Args)]
#[command(after_help = "\
Example: what the registry's directory has in it
  ls \"$(trop show-data-dir)\"")]
pub(crate) struct ShowDataDir {}

impl Subcommand for ShowDataDir {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let directory = trop_core::data_dir(context.global.data_dir.as_deref())?;
        // The exact bytes, even if they are not UTF-8, because programs read them.
        let mut line = directory.into_os_string().into_encoded_bytes();
        line.push(b'\n');
        Ok(Report::result(line))
    }
}
