//! What the subcommands do: from arguments to a request, from its result to a report.
//!
//! Each judges its arguments first, then the settings; the core resolves the path and touches the registry last.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use trop_core::{
    Error, Port, PortRange, Refusal, Registry, RegistryOptions, ReleaseRequest, ReserveRequest, Reserved,
    Result, Tag,
};

use crate::args::{Cli, Command, Global, ListArgs, PortInfoArgs, ReleaseArgs, ReserveArgs};
use crate::output::{self, Report};

pub(crate) fn run(cli: Cli) -> Result<Report> {
    match cli.command {
        Command::Reserve(args) => reserve(cli.global, args),
        Command::Release(args) => release(cli.global, args),
        Command::List(args) => list(cli.global, &args),
        Command::PortInfo(args) => port_info(cli.global, &args),
    }
}

fn reserve(global: Global, args: ReserveArgs) -> Result<Report> {
    let is_given = args.place.path.is_some();
    let mut request = ReserveRequest::default();
    request.path = args.place.path;
    request.tag = tag(args.tag)?;
    request.preferred = port("port", args.port)?;
    request.allow_unrelated_path = args.place.allow_unrelated_path;
    request.min = port("min", args.min)?;
    request.max = port("max", args.max)?;
    if let (Some(min), Some(max)) = (request.min, request.max) {
        // The core looks at the range too, but after the settings.
        PortRange::new("min", min, max)?;
    }

    let reserved = registry(global)?.reserve(&request)?;

    let key = &reserved.reservation.key;
    let mut report = Report::result(format!("{}\n", reserved.reservation.port));
    if is_given && matches!(Path::new(key.path()).try_exists(), Ok(false)) {
        report.note(format!("Warning: the path '{}' does not exist", key.path()));
    }
    if let Some(preferred) = request.preferred
        && preferred != reserved.reservation.port
    {
        report.note(format!("Warning: preferred port {preferred} was not used: {}", reason(&reserved)));
    }
    Ok(report)
}

/// Why a key has not got the port it prefers.
fn reason(reserved: &Reserved) -> &'static str {
    match reserved.refusal {
        None => "this path and tag have a port already",
        Some(Refusal::OutsideRange) => "it is outside the port range",
        Some(Refusal::Reserved) => "another path or tag has it",
        Some(Refusal::Excluded) => "it is excluded",
        Some(Refusal::Occupied) => "something on this machine is using it, or may be",
        Some(other) => other.name(),
    }
}

fn release(global: Global, args: ReleaseArgs) -> Result<Report> {
    if args.tag.is_some() && args.untagged_only {
        let reason = "Cannot specify both --tag and --untagged-only".to_owned();
        return Err(Error::InvalidArgument { argument: "tag", reason });
    }
    let mut request = ReleaseRequest::default();
    request.path = args.place.path;
    request.tag = tag(args.tag)?;
    request.untagged_only = args.untagged_only;
    request.allow_unrelated_path = args.place.allow_unrelated_path;

    let count = registry(global)?.release(&request)?;

    let mut report = Report::default();
    report.note(match count {
        0 => "No reservation found: never reserved, or already released".to_owned(),
        1 => "Released 1 port".to_owned(),
        _ => format!("Released {count} ports"),
    });
    Ok(report)
}

fn list(global: Global, args: &ListArgs) -> Result<Report> {
    let reservations = registry(global)?.list()?;
    let home = std::env::home_dir().filter(|_| !args.show_full_paths);
    Ok(Report::result(output::list(&reservations, args.format, home.as_deref())?))
}

fn port_info(global: Global, args: &PortInfoArgs) -> Result<Report> {
    let port = Port::new("port", args.port.into())?;
    let answer = match registry(global)?.find_port(port)? {
        Some(reservation) => output::describe(&reservation),
        None => format!("Port {port} is not reserved\n"),
    };
    Ok(Report::result(answer))
}

fn tag(text: Option<OsString>) -> Result<Option<Tag>> {
    let Some(text) = text else { return Ok(None) };
    match text.to_str() {
        Some(text) => Tag::new(text).map(Some),
        None => Err(Error::InvalidArgument { argument: "tag", reason: "it is not valid UTF-8".to_owned() }),
    }
}

fn port(argument: &'static str, text: Option<OsString>) -> Result<Option<Port>> {
    text.map(|text| Port::parse(argument, &text.to_string_lossy())).transpose()
}

/// The registry, not yet opened: a bad path is reported before a missing or damaged database.
fn registry(global: Global) -> Result<Registry> {
    let mut options = RegistryOptions::default();
    options.data_dir = global.data_dir;
    options.create = !global.disable_autoinit;
    if let Some(seconds) = global.busy_timeout {
        options.busy_timeout = Duration::from_secs(seconds);
    }
    Registry::open_lazily(options).map_err(|error| match error {
        // What is an argument to the core is a setting here.
        Error::InvalidArgument { argument: setting @ "busy_timeout", reason } => {
            Error::Config { setting, reason: format!("--busy-timeout {reason}") }
        }
        error => error,
    })
}
