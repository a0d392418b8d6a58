//! The help texts name the environment variable of each option that has one.

use clap::{Arg, Command};
use trop_core::Setting;

/// The options that have a variable, by their long names. Only that of `--format` depends on the subcommand.
const OPTIONS: [(&str, Setting); 21] = [
    ("data-dir", Setting::DataDir),
    ("path", Setting::Path),
    ("project", Setting::Project),
    ("task", Setting::Task),
    ("min", Setting::PortMin),
    ("max", Setting::PortMax),
    ("days", Setting::ExpireAfterDays),
    ("busy-timeout", Setting::BusyTimeout),
    ("disable-autoinit", Setting::DisableAutoinit),
    ("disable-autoprune", Setting::DisableAutoprune),
    ("disable-autoexpire", Setting::DisableAutoexpire),
    ("allow-unrelated-path", Setting::AllowUnrelatedPath),
    ("allow-change", Setting::AllowChange),
    ("allow-project-change", Setting::AllowChangeProject),
    ("allow-task-change", Setting::AllowChangeTask),
    ("skip-occupancy-check", Setting::SkipOccupancyCheck),
    ("skip-tcp", Setting::SkipTcp),
    ("skip-udp", Setting::SkipUdp),
    ("skip-ipv4", Setting::SkipIpv4),
    ("skip-ipv6", Setting::SkipIpv6),
    ("check-all-interfaces", Setting::CheckAllInterfaces),
];

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
        (_, "quiet" | "verbose") => format!("{}={long}", name(Setting::LogMode)),
        _ => match OPTIONS.iter().find(|(option, _)| *option == long) {
            Some((_, setting)) => name(*setting).to_owned(),
            None => return option,
        },
    };
    let [short, full] = [option.get_help(), option.get_long_help()]
        .map(|help| help.map(|help| format!("{help} [env: {variable}]")));
    let option = if let Some(help) = short { option.help(help) } else { option };
    if let Some(help) = full { option.long_help(help) } else { option }
}

fn name(setting: Setting) -> &'static str {
    setting.variables().first().copied().unwrap_or_default()
}
