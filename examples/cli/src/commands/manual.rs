//! `trop manual`, which the help does not list: the manual page, for whoever packages the command.

use std::io;

use clap::{Args, Command};
use trop_core::{Error, Result};

use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Print the manual page trop.1
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Manual {}

impl Subcommand for Manual {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        page((context.model)()).map(Report::result).map_err(|source| Error::Io {
            action: "write",
            path: "trop.1".into(),
            argument: None,
            source,
        })
    }
}

/// One page with a part for every subcommand.
fn page(mut command: Command) -> io::Result<Vec<u8>> {
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
    // What clap calls extra is an example everywhere here.
    let page = String::from_utf8_lossy(&page).replace(" EXTRA\n", " EXAMPLES\n");
    Ok(page.into_bytes())
}

/// The part of one subcommand.
fn part(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    use io::Write;
    // The global options are in the first part only.
    let global: Vec<_> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .map(|argument| argument.get_id().clone())
        .collect();
    let mut command = command.clone().disable_help_flag(true);
    for id in global {
        command = command.mut_arg(id, |argument| argument.hide(true));
    }
    writeln!(page, ".SH \"{}\"", command.get_bin_name().unwrap_or(command.get_name()).to_uppercase())?;
    let mut text = Vec::new();
    let man = clap_mangen::Man::new(command);
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    man.render_extra_section(&mut text)?;
    // The sections of a part are subsections of the page.
    page.extend(
        String::from_utf8_lossy(&text).replace("\n.SH ", "\n.SS ").replacen(".SH ", ".SS ", 1).bytes(),
    );
    Ok(())
}
