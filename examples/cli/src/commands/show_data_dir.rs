//! `trop show-data-dir`.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::Args;
use trop_core::Result;

use crate::args::Global;
use crate::output::Report;

/// Print the data directory
///
/// As it is configured, whether it exists or not: --data-dir, else TROP_DATA_DIR, else ~/.trop.
#[derive(Args)]
#[command(after_help = "\
Example: what the registry's directory has in it
  ls \"$(trop show-data-dir)\"")]
pub(crate) struct ShowDataDir {}

impl ShowDataDir {
    #[allow(clippy::unused_self, reason = "as every subcommand")]
    pub(crate) fn run(self, global: &Global) -> Result<Report> {
        let directory = trop_core::data_dir(global.data_dir.as_deref())?;
        // Exactly, even if it is no valid text: programs read it.
        let mut line = directory.into_os_string().into_encoded_bytes();
        line.push(b'\n');
        Ok(Report::result(line))
    }
}
