//! `explain`: why a port is not available, and what to do about it.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::lease::{Holder, ProcessState};
use super::scan::PortOccupancy;
use crate::machine::Verdict;
use crate::model::{Port, PortRange, Result, is_unsafe};
use crate::registry::Registry;

/// Everything that is known about a port. Displayed as sentences for people, a line each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The port.
    pub port: Port,
    /// Who has it in the registry.
    pub holder: Option<Holder>,
    /// Who has it in the operating system, as far as the registry's occupancy policy looks.
    pub occupancy: PortOccupancy,
    /// The registry's range of reservations.
    pub range: PortRange,
    /// The registry's range of leases.
    pub lease_range: PortRange,
    /// Whether the configuration excludes it.
    pub excluded: bool,
    /// Whether no search chooses it because web clients refuse to connect to it.
    pub refused: bool,
}

impl Registry {
    /// Who has a port in the registry and in the operating system, since when, and what to do.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn explain(&self, port: Port) -> Result<Explanation> {
        let configuration = self.configuration();
        let (range, lease_range) = (configuration.ports, configuration.lease_ports);
        let is_avoided = |range| configuration.avoids_unsafe_ports(range);
        Ok(Explanation {
            port,
            holder: self.holder(port)?,
            occupancy: self.port_occupancy(port),
            range,
            lease_range,
            excluded: configuration.excluded.contains(port),
            refused: is_unsafe(port) && is_avoided(range) && is_avoided(lease_range),
        })
    }
}

impl Explanation {
    /// Whether something has the port bound.
    #[must_use]
    pub fn is_occupied(&self) -> bool {
        self.finds(|verdict| *verdict == Verdict::Occupied)
    }

    /// Whether nobody has the port, and connections of a former server are left, beside which a server that
    /// sets `SO_REUSEADDR` can listen.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        !self.is_occupied() && self.finds(|verdict| *verdict == Verdict::Closing)
    }

    /// Whether this user may not bind the port.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.finds(|verdict| matches!(verdict, Verdict::Forbidden(_)))
    }

    fn finds(&self, sought: impl Fn(&Verdict) -> bool) -> bool {
        self.occupancy.probes.iter().any(|(_, verdict)| sought(verdict))
    }

    /// The explanation as a JSON object: `port`, `reservation` and `lease` (null unless one of them has it),
    /// `occupied`, `process_id`, `process_name` and `user` of the process that has it bound (null if
    /// unknown), `in_range` (in that of reservations or in that of leases), `excluded`, `refused`, `closing`,
    /// `forbidden`, and `text`, the sentences.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (reservation, lease) = match &self.holder {
            Some(Holder::Reservation(reservation)) => (Some(reservation.to_json()), None),
            Some(Holder::Lease(lease)) => (None, Some(lease.to_json())),
            None => (None, None),
        };
        let owner = &self.occupancy.owner;
        json!({
            "port": self.port.get(),
            "reservation": reservation,
            "lease": lease,
            "occupied": self.is_occupied(),
            "process_id": owner.process_id,
            "process_name": owner.process_name,
            "user": owner.user,
            "in_range": self.is_in_range(),
            "excluded": self.excluded,
            "refused": self.refused,
            "closing": self.is_closing(),
            "forbidden": self.is_forbidden(),
            "text": self.to_string(),
        })
    }

    /// Whether it lies in the range of reservations or in that of leases.
    #[must_use]
    pub fn is_in_range(&self) -> bool {
        self.range.contains(self.port) || self.lease_range.contains(self.port)
    }

    fn range_line(&self) -> Option<String> {
        let (range, lease_range) = (self.range, self.lease_range);
        Some(match (range.contains(self.port), lease_range.contains(self.port)) {
            (true, true) => return None,
            (true, false) => {
                format!(
                    "It lies in the port range of reservations, {range}, not in that of leases, {lease_range}."
                )
            }
            (false, true) => {
                format!(
                    "It lies in the port range of leases, {lease_range}, not in that of reservations, {range}."
                )
            }
            (false, false) if range == lease_range => format!("It lies outside the port range {range}."),
            (false, false) => format!(
                "It lies outside the port ranges of reservations, {range}, and of leases, {lease_range}."
            ),
        })
    }

    fn registry_lines(&self) -> Vec<String> {
        let port = self.port;
        match &self.holder {
            None => vec![format!("Port {port} is not reserved and not leased.")],
            Some(Holder::Reservation(row)) => {
                let tag = row.key.tag().map(|tag| format!(" with the tag '{tag}'")).unwrap_or_default();
                vec![
                    format!(
                        "Port {port} is reserved for '{}'{tag}, since {}, last used {}.",
                        row.key.path(),
                        row.created_at,
                        row.last_used_at
                    ),
                    format!("To give it back: trop release --port {port}"),
                ]
            }
            Some(Holder::Lease(lease)) => {
                let label = lease.label.as_ref().map(|label| format!(" for '{label}'")).unwrap_or_default();
                let taken = format!(
                    "leased{label} by {}, taken {} s ago in '{}'",
                    lease.taker(),
                    lease.age().as_secs(),
                    lease.directory
                );
                if !lease.alive {
                    return vec![format!(
                        "Port {port} was {taken}; that lease has ended, so nothing is in the way."
                    )];
                }
                let (who, until) = match (lease.keeper(), lease.process_state) {
                    (Some(keeper), _) => {
                        (format!("that process has ended, and {keeper} keeps it"), "that one ends")
                    }
                    (None, ProcessState::Running) => {
                        ("that process is running".to_owned(), "the process ends")
                    }
                    (None, _) => {
                        ("that process is running, or one that it has forked".to_owned(), "they have ended")
                    }
                };
                vec![
                    format!("Port {port} is {taken}; {who}."),
                    format!("It comes back by itself when {until}."),
                ]
            }
        }
    }

    fn system_lines(&self) -> Vec<String> {
        let port = self.port;
        let Some((probe, _)) =
            self.occupancy.probes.iter().find(|(_, verdict)| *verdict == Verdict::Occupied)
        else {
            return vec![if self.occupancy.probes.is_empty() {
                "The occupancy policy asks for no probe, so whether a program uses it was not looked at."
                    .to_owned()
            } else if self.is_forbidden() {
                format!("This user may not bind port {port}, so it is never given out.")
            } else if self.is_closing() {
                format!(
                    "Port {port} is closing, for up to 60 s; a server that sets SO_REUSEADDR can use it now."
                )
            } else {
                format!("No program has port {port} bound at this moment.")
            }];
        };
        let owner = &self.occupancy.owner;
        let who = match (owner.process_id, &owner.process_name) {
            (Some(id), Some(name)) => format!("process {id} ({name})"),
            (Some(id), None) => format!("process {id}"),
            _ => "a process that cannot be named (another user's, or in another container)".to_owned(),
        };
        let user = owner.user.as_ref().map(|user| format!(" of user {user}")).unwrap_or_default();
        let mut lines = vec![format!("It is bound ({probe}) by {who}{user}.")];
        if self.holder.is_none() {
            lines.push("To get it: end that process, or ask for another port.".to_owned());
        }
        lines
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.registry_lines();
        lines.extend(self.system_lines());
        if self.excluded {
            lines.push("The configuration excludes it (excluded_ports).".to_owned());
        }
        if self.refused {
            lines.push(
                "Browsers and fetch refuse to connect to it, so it is given only to whoever asks for it by number \
                 (avoid_unsafe_ports)."
                    .to_owned(),
            );
        }
        lines.extend(self.range_line());
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            // Command lines and paths come from other programs, and this text is shown on terminals.
            for character in line.chars() {
                if character.is_control() {
                    write!(f, "{}", character.escape_debug())?;
                } else {
                    f.write_char(character)?;
                }
            }
        }
        Ok(())
    }
}
