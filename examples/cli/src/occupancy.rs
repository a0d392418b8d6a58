//! Whether a program has bound a port: the options for the probes, and how their results are printed.

#![allow(clippy::doc_markdown, reason = "the documentation is the help text")]

use clap::Args;
use trop_core::{Finding, OccupancyPolicy, PortOccupancy, Result, Verdict};

use crate::output::{Format, Listing, escape};

/// Options that each switch one kind of probe off or on.
#[derive(Args)]
#[command(next_help_heading = "Occupancy options")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct ProbeOptions {
    /// Do not look for TCP sockets
    #[arg(long)]
    skip_tcp: bool,

    /// Do not look for UDP sockets
    #[arg(long)]
    skip_udp: bool,

    /// Do not look for IPv4 sockets
    #[arg(long)]
    skip_ipv4: bool,

    /// Do not look for IPv6 sockets
    #[arg(long)]
    skip_ipv6: bool,

    /// Look at all addresses of this machine, not only at loopback; =false says no, also for leases
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    check_all_interfaces: Option<bool>,
}

impl ProbeOptions {
    /// Adds these options to what the settings say; only the last can take anything back.
    pub(crate) fn apply(&self, policy: &mut OccupancyPolicy) {
        policy.skip_tcp |= self.skip_tcp;
        policy.skip_udp |= self.skip_udp;
        policy.skip_ipv4 |= self.skip_ipv4;
        policy.skip_ipv6 |= self.skip_ipv6;
        policy.check_all_interfaces = self.check_all_interfaces.or(policy.check_all_interfaces);
    }

    fn any(&self) -> bool {
        self.skip_tcp
            || self.skip_udp
            || self.skip_ipv4
            || self.skip_ipv6
            || self.check_all_interfaces.is_some()
    }
}

/// As [`ProbeOptions`], and an option that switches all probes off.
#[derive(Args)]
#[command(next_help_heading = "Occupancy options")]
pub(crate) struct OccupancyOptions {
    /// Make no probe at all
    #[arg(long)]
    skip_occupancy_check: bool,

    #[command(flatten)]
    probes: ProbeOptions,
}

impl OccupancyOptions {
    /// As [`ProbeOptions::apply`].
    pub(crate) fn apply(&self, policy: &mut OccupancyPolicy) {
        policy.skip |= self.skip_occupancy_check;
        self.probes.apply(policy);
    }

    /// Whether any of them is given.
    pub(crate) fn any(&self) -> bool {
        self.skip_occupancy_check || self.probes.any()
    }
}

const COLUMNS: [&str; 11] = [
    "port",
    "status",
    "reserved",
    "protocol",
    "address_family",
    "scope",
    "address",
    "process_id",
    "process_name",
    "user",
    "owner_status",
];

const HEADINGS: [&str; 11] = [
    "Port", "Status", "Reserved", "Protocol", "Family", "Scope", "Address", "PID", "Process", "User", "Owner",
];

/// The result of a scan in one format.
pub(crate) fn findings(findings: &[Finding], format: Format) -> Result<Vec<u8>> {
    let listing = Listing {
        columns: &COLUMNS,
        headings: &HEADINGS,
        absent: ["unavailable", "unavailable"],
        records: findings.iter().map(Finding::to_json).collect(),
        shortened: None,
    };
    listing.print(format)
}

/// The result of the probes of one port, in lines.
pub(crate) fn describe(found: &PortOccupancy) -> String {
    let mut text = String::from("\nOccupancy:\n");
    if found.probes.is_empty() {
        text += "Not checked: the occupancy settings switch every probe off\n";
        return text;
    }
    let occupied: Vec<_> = found.probes.iter().filter(|(_, verdict)| *verdict == Verdict::Occupied).collect();
    if occupied.is_empty() {
        let doubts: Vec<_> = found
            .probes
            .iter()
            .filter_map(|(probe, verdict)| match verdict {
                Verdict::Unknown(reason) => Some(format!("{probe}: {reason}\n")),
                _ => None,
            })
            .collect();
        let finds = |sought: fn(&Verdict) -> bool| found.probes.iter().any(|(_, verdict)| sought(verdict));
        if finds(|verdict| matches!(verdict, Verdict::Forbidden(_))) {
            text += "Port may not be bound by this user\n";
        } else if finds(|verdict| *verdict == Verdict::Closing) {
            text += "Port is closing, for up to 60 s; a server that sets SO_REUSEADDR can use it now\n";
        } else if doubts.is_empty() {
            text += "Port is free (nothing has it at this moment)\n";
        } else {
            text += "Port is possibly in use: it cannot be told\n";
            text.extend(doubts);
        }
        return text;
    }
    text += "Port is currently in use\n";
    for (probe, _) in occupied {
        text.extend([probe.to_string().as_str(), "\n"]);
    }
    let owner = &found.owner;
    let known =
        |value: Option<&str>| value.map_or("unavailable".to_owned(), |text| escape(text).into_owned());
    let process_id = owner.process_id.map(|number| number.to_string());
    text.extend(["Process ID: ", &known(process_id.as_deref()), "\n"]);
    text.extend(["Process: ", &known(owner.process_name.as_deref()), "\n"]);
    text.extend(["User: ", &known(owner.user.as_deref()), "\n"]);
    text.extend(["Owner metadata: ", owner.status(), "\n"]);
    text
}
