//! `trop completions`.

use clap::Args;
use clap_complete::Shell;
use trop_core::{Error, Result};

use crate::output::Report;
use crate::subcommand::{Context, Subcommand};

/// Print a completion script for a shell
///
/// One of bash, zsh, fish, powershell, elvish. The script is printed; nothing is installed.
#[derive(Args)]
#[command(after_help = "\
Example: complete in every new bash
  trop completions bash > ~/.local/share/bash-completion/completions/trop")]
pub(crate) struct Completions {
    /// The shell: bash, zsh, fish, powershell or elvish
    #[arg(value_name = "SHELL", value_parser = clap::builder::PossibleValuesParser::new(SHELLS))]
    shell: String,
}

const SHELLS: [&str; 5] = ["bash", "zsh", "fish", "powershell", "elvish"];

impl Subcommand for Completions {
    fn run(self: Box<Self>, context: Context) -> Result<Report> {
        let shell: Shell =
            self.shell.parse().map_err(|reason| Error::InvalidArgument { argument: "shell", reason })?;
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut (context.model)(), "trop", &mut script);
        let mut report = Report::result(script);
        report.note(
            match shell {
                Shell::Bash => {
                    "To install: trop completions bash > ~/.local/share/bash-completion/completions/trop"
                }
                Shell::Zsh => "To install: write this to a file named _trop in a directory of $fpath",
                Shell::Fish => "To install: trop completions fish > ~/.config/fish/completions/trop.fish",
                _ => "To install: load this script from your shell's profile",
            }
            .to_owned(),
        );
        Ok(report)
    }
}
