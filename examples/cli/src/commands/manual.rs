//! `trop manual`, hidden: the manual page, for whoever packages the command.

use std::io;

use clap::{Args, Command};
use trop_core::{Error, Result};

use crate::args::Global;
use crate::help;
use crate::output::Report;

/// Print the manual page trop.1
#[derive(Args)]
pub(crate) struct Manual {}

impl Manual {
    #[allow(clippy::unused_self, reason = "as every other command")]
    pub(crate) fn run(self, _global: Global) -> Result<Report> {
        page().map(Report::result).map_err(|source| Error::Io {
            action: "write",
            path: "trop.1".into(),
            argument: None,
            source,
        })
    }
}

/// One page with a part for every subcommand, from the model the parser uses.
fn page() -> io::Result<Vec<u8>> {
    let mut command = help::command();
    command.build();
    let mut page = Vec::new();
    let root = clap_mangen::Man::new(command.clone()).date("");
    root.render_title(&mut page)?;
    root.render_name_section(&mut page)?;
    root.render_synopsis_section(&mut page)?;
    root.render_description_section(&mut page)?;
    root.render_options_section(&mut page)?;
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        part(subcommand, &mut page)?;
    }
    root.render_extra_section(&mut page)?;
    // What clap calls extra are examples everywhere here.
    let page = String::from_utf8_lossy(&page).replace(" EXTRA\n", " EXAMPLES\n");
    Ok(page.into_bytes())
}

fn part(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    use io::Write;
    // Options that every subcommand has are in the first part.
    let own: Vec<_> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .map(|a| a.get_id().clone())
        .collect();
    let mut command = command.clone().disable_help_flag(true);
    for id in own {
        command = command.mut_arg(id, |argument| argument.hide(true));
    }
    writeln!(page, ".SH \"{}\"", command.get_bin_name().unwrap_or(command.get_name()).to_uppercase())?;
    let mut text = Vec::new();
    let man = clap_mangen::Man::new(command);
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    man.render_extra_section(&mut text)?;
    // Sections of a part are subsections of the page.
    page.extend(
        String::from_utf8_lossy(&text).replace("\n.SH ", "\n.SS ").replacen(".SH ", ".SS ", 1).bytes(),
    );
    Ok(())
}
