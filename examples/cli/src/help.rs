//! The help texts name the environment variable of each option that has one, and the ends of the range that
//! a subcommand chooses from.

use clap::{Arg, Command};
use trop_core::{PortRange, Setting};

/// The command, with the variable of each option in the option's help text.
pub(crate) fn with_variables(command: Command) -> Command {
    command.mut_args(|option| document("", option)).mut_subcommands(|subcommand| {
        let name = subcommand.get_name().to_owned();
        subcommand.mut_args(|option| document(&name, option))
    })
}

fn document(subcommand: &str, option: Arg) -> Arg {
    let Some(long) = option.get_long() else { return option };
    let variable = match (subcommand, long) {
        ("list", "format") => name(Setting::OutputFormat).to_owned(),
        ("run", "min") => name(Setting::LeasePortMin).to_owned(),
        ("run", "max") => name(Setting::LeasePortMax).to_owned(),
        (_, "quiet" | "verbose") => format!("{}={long}", name(Setting::LogMode)),
        _ => match Setting::ALL.into_iter().find(|setting| is_option(*setting, long)) {
            Some(setting) => name(setting).to_owned(),
            None => return option,
        },
    };
    let range = if subcommand == "run" { PortRange::LEASES } else { PortRange::RESERVATIONS };
    let default = match long {
        "min" => format!(" [default: {}]", range.min()),
        "max" => format!(" [default: {}]", range.max()),
        _ => String::new(),
    };
    let [short, full] = [option.get_help(), option.get_long_help()]
        .map(|help| help.map(|help| format!("{help}{default} [env: {variable}]")));
    let option = if let Some(help) = short { option.help(help) } else { option };
    if let Some(help) = full { option.long_help(help) } else { option }
}

/// Whether a long option of the command says the same as a setting.
fn is_option(setting: Setting, long: &str) -> bool {
    setting.option().is_some_and(|option| option.replace('_', "-") == long)
}

fn name(setting: Setting) -> &'static str {
    setting.variables().first().copied().unwrap_or_default()
}
