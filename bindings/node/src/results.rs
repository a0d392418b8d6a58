//! What the calls answer, as plain data from which `index.js` makes values of its own realm.

#![allow(missing_docs, reason = "they are the core's results")]

use napi_derive::napi;
use trop_core::{
    Cleanup, Error, Explanation, Finding, Holder, LeaseInfo, Migration, Problem, Reservation, Reserved,
};

/// Port, path, tag, project, task, and the seconds of creation and of last use.
pub type Row = (u16, String, Option<String>, Option<String>, Option<String>, i64, i64);

/// The values of a row, whether it is new, why the preferred port was not used, and what was cleaned up.
pub type ReservedRow = (
    u16,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    i64,
    i64,
    bool,
    Option<String>,
    Option<CleanupRows>,
);

/// The rows that were pruned and that expired, path and cause of what was preserved, and the days.
pub type CleanupRows = (Vec<Row>, Vec<Row>, Vec<(String, String)>, u32);

/// The two paths, each row that moves with its new path, and the rows in the way.
pub type MigrationRows = (String, String, Vec<(Row, String)>, Vec<Row>);

/// What a failed call answers.
#[napi(object, object_from_js = false)]
pub struct Failure {
    /// The name of the code.
    pub code: &'static str,
    /// The number of the code.
    pub number: i32,
    /// The argument to blame, if one is.
    pub argument: Option<&'static str>,
    /// The operating system's error number.
    pub errno: Option<i32>,
    /// The text for people.
    pub message: String,
}

#[napi(object, object_from_js = false, use_nullable = true)]
pub struct FindingFields {
    pub port: u16,
    pub status: &'static str,
    pub reserved: bool,
    pub protocol: &'static str,
    pub address_family: &'static str,
    pub scope: &'static str,
    pub address: String,
    pub process_id: Option<u32>,
    pub process_name: Option<String>,
    pub user: Option<String>,
    pub owner_status: &'static str,
}

#[napi(object, object_from_js = false, use_nullable = true)]
pub struct LeaseFields {
    pub port: u16,
    pub label: Option<String>,
    pub state: &'static str,
    pub pid: Option<u32>,
    pub command: Option<String>,
    pub directory: String,
    /// Seconds.
    pub since: i64,
    pub process_state: &'static str,
    pub kept_by: Option<u32>,
}

#[allow(clippy::struct_excessive_bools, reason = "JavaScript's fields")]
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct ExplanationFields {
    pub port: u16,
    pub reservation: Option<Row>,
    pub lease: Option<LeaseFields>,
    pub occupied: bool,
    pub process_id: Option<u32>,
    pub process_name: Option<String>,
    pub user: Option<String>,
    pub in_range: bool,
    pub excluded: bool,
    pub refused: bool,
    pub closing: bool,
    pub forbidden: bool,
    pub text: String,
}

#[napi(object, object_from_js = false)]
pub struct ProblemFields {
    pub path: String,
    pub line: u32,
    pub field: &'static str,
    pub reason: String,
}

pub fn row(reservation: Reservation) -> Row {
    let (path, tag) = reservation.key.into_parts();
    (
        reservation.port.get(),
        path,
        tag,
        reservation.project,
        reservation.task,
        reservation.created_at.seconds(),
        reservation.last_used_at.seconds(),
    )
}

pub fn rows(reservations: Vec<Reservation>) -> Vec<Row> {
    reservations.into_iter().map(row).collect()
}

pub fn reserved(reserved: Reserved) -> ReservedRow {
    let refusal = reserved.refusal.map(|refusal| refusal.name().to_owned());
    let (port, path, tag, project, task, created_at, last_used_at) = row(reserved.reservation);
    let (created, cleanup) = (reserved.created, reserved.cleanup.map(cleanup));
    (port, path, tag, project, task, created_at, last_used_at, created, refusal, cleanup)
}

pub fn leases(leases: Vec<LeaseInfo>) -> Vec<LeaseFields> {
    leases.into_iter().map(LeaseFields::from).collect()
}

pub fn cleanup(cleanup: Cleanup) -> CleanupRows {
    let preserved = cleanup.preserved.into_iter().map(|kept| (kept.path, kept.cause)).collect();
    (rows(cleanup.pruned), rows(cleanup.expired), preserved, cleanup.days)
}

pub fn migration(migration: Migration) -> MigrationRows {
    let moves = migration.moves.into_iter().map(|moved| {
        let to = moved.key.path().to_owned();
        (row(moved.before), to)
    });
    (migration.from, migration.to, moves.collect(), rows(migration.conflicts))
}

impl From<Finding> for FindingFields {
    fn from(finding: Finding) -> FindingFields {
        FindingFields {
            port: finding.port.get(),
            status: finding.status(),
            reserved: finding.reserved,
            protocol: finding.probe.protocol.name(),
            address_family: finding.probe.family.name(),
            scope: finding.probe.scope.name(),
            address: finding.probe.address().to_string(),
            owner_status: finding.owner.status(),
            process_id: finding.owner.process_id,
            process_name: finding.owner.process_name,
            user: finding.owner.user,
        }
    }
}

impl From<LeaseInfo> for LeaseFields {
    fn from(lease: LeaseInfo) -> LeaseFields {
        LeaseFields {
            port: lease.port.get(),
            state: lease.state(),
            label: lease.label,
            pid: lease.pid,
            command: lease.command,
            directory: lease.directory,
            since: lease.since.seconds(),
            process_state: lease.process_state.name(),
            kept_by: lease.kept_by,
        }
    }
}

impl From<Explanation> for ExplanationFields {
    fn from(explanation: Explanation) -> ExplanationFields {
        let text = explanation.to_string();
        let occupied = explanation.is_occupied();
        let (closing, forbidden) = (explanation.is_closing(), explanation.is_forbidden());
        let (reservation, lease) = match explanation.holder {
            Some(Holder::Reservation(reservation)) => (Some(row(reservation)), None),
            Some(Holder::Lease(lease)) => (None, Some(lease.into())),
            _ => (None, None),
        };
        let owner = explanation.occupancy.owner;
        ExplanationFields {
            port: explanation.port.get(),
            reservation,
            lease,
            occupied,
            process_id: owner.process_id,
            process_name: owner.process_name,
            user: owner.user,
            in_range: explanation.range.contains(explanation.port),
            excluded: explanation.excluded,
            refused: explanation.refused,
            closing,
            forbidden,
            text,
        }
    }
}

impl From<Problem> for ProblemFields {
    fn from(problem: Problem) -> ProblemFields {
        ProblemFields {
            path: problem.path.to_string_lossy().into_owned(),
            // Files are not that long.
            line: u32::try_from(problem.line).unwrap_or(u32::MAX),
            field: problem.field,
            reason: problem.reason,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            code: error.code().name(),
            number: error.code().number(),
            argument: error.argument(),
            errno: error.errno(),
            message: error.to_string(),
        }
    }
}
