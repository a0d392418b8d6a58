//! The one error type and its stable codes.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::migration::Migration;
use super::port::{Port, PortRange};

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A stable error code, the same number and name in every language.
///
/// Numbers are frozen: a new code takes a new number and a retired one stays reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum Code {
    /// An argument is not acceptable.
    InvalidArgument = -1,
    /// No port of the range is usable.
    Exhausted = -2,
    /// The wait for the database lock ran out.
    Busy = -3,
    /// What was asked for does not exist.
    NotFound = -4,
    /// The request conflicts with what exists: a group, the destination of a migration, a live lease, a
    /// database, or another program's rule.
    Conflict = -5,
    /// The stored project or task differs and may not be changed.
    StickyField = -6,
    /// The path is neither above nor below the working directory.
    UnrelatedPath = -7,
    /// The effective configuration is invalid.
    Config = -8,
    /// The file is damaged, or is not a database.
    Corrupt = -9,
    /// The database has a schema this version does not serve.
    Schema = -10,
    /// There is no database, and none may be created.
    NoDataDir = -11,
    /// The operating system refused an input or output operation.
    Io = -12,
    /// Not supported on this platform or file system.
    Unsupported = -13,
    /// The handle was closed.
    Closed = -14,
    /// Nothing listened in time.
    NotListening = -15,
    /// Another copy of SQLite in this process has the database open.
    SecondCopy = -16,
    /// A defect of trop itself.
    Panic = -99,
}

impl Code {
    /// Every code, in the order of their numbers.
    pub const ALL: [Code; 17] = [
        Code::InvalidArgument,
        Code::Exhausted,
        Code::Busy,
        Code::NotFound,
        Code::Conflict,
        Code::StickyField,
        Code::UnrelatedPath,
        Code::Config,
        Code::Corrupt,
        Code::Schema,
        Code::NoDataDir,
        Code::Io,
        Code::Unsupported,
        Code::Closed,
        Code::NotListening,
        Code::SecondCopy,
        Code::Panic,
    ];

    /// The number, always negative; 0 stands for success.
    #[must_use]
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The name, such as `TROP_EXHAUSTED`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Code::InvalidArgument => "TROP_INVALID_ARGUMENT",
            Code::Exhausted => "TROP_EXHAUSTED",
            Code::Busy => "TROP_BUSY",
            Code::NotFound => "TROP_NOT_FOUND",
            Code::Conflict => "TROP_CONFLICT",
            Code::StickyField => "TROP_STICKY_FIELD",
            Code::UnrelatedPath => "TROP_UNRELATED_PATH",
            Code::Config => "TROP_CONFIG",
            Code::Corrupt => "TROP_CORRUPT",
            Code::Schema => "TROP_SCHEMA",
            Code::NoDataDir => "TROP_NO_DATA_DIR",
            Code::Io => "TROP_IO",
            Code::Unsupported => "TROP_UNSUPPORTED",
            Code::Closed => "TROP_CLOSED",
            Code::NotListening => "TROP_NOT_LISTENING",
            Code::SecondCopy => "TROP_SECOND_COPY",
            Code::Panic => "TROP_PANIC",
        }
    }
}

/// Why the ports of an exhausted range could not be given out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blockers {
    /// Ports that another key holds.
    pub reserved: u32,
    /// Ports on the exclusion list.
    pub excluded: u32,
    /// Ports that something else on this machine has bound, or may have, and those that this user may not
    /// bind.
    pub occupied: u32,
    /// Ports that web clients refuse to connect to, which are given out only by number.
    pub refused: u32,
    /// Ports that nobody has, with connections of a former server. They are given out where there are no
    /// others, so they are counted only if several ports together were asked for.
    pub closing: u32,
    /// How many adjacent ports were asked for; 0 if they need not be adjacent.
    pub neighbours: u32,
    /// The first probe that failed for another reason than "address in use".
    pub probe_failure: Option<String>,
}

/// Which parts of the automatic clean-up ran because a range was exhausted. What they removed was put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AutomaticCleanup {
    /// Whether reservations of missing directories were removed.
    pub prunes: bool,
    /// Whether reservations that were not used for long were removed.
    pub expires: bool,
    /// Whether none was tried because no port of the range is reserved.
    pub is_pointless: bool,
}

/// Everything that can go wrong. Match on [`Error::code`] rather than on text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument breaks its rule; nothing was changed.
    #[error("Invalid {argument}: {reason}")]
    InvalidArgument {
        /// The argument's name as callers write it.
        argument: &'static str,
        /// What is wrong and what would be accepted.
        reason: String,
    },

    /// A path cannot be made absolute, or cannot be stored.
    #[error("Invalid {argument}: cannot resolve '{}': {reason}", path.display())]
    UnresolvablePath {
        /// The argument's name as callers write it.
        argument: &'static str,
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// No port of the range is usable; nothing was changed.
    #[error("{}", exhausted(*range, blockers, *cleanup))]
    Exhausted {
        /// The range that was searched.
        range: PortRange,
        /// Why each port was passed over, in the last search.
        blockers: Blockers,
        /// Which clean-up ran before the last search.
        cleanup: AutomaticCleanup,
    },

    /// The wait for the database lock ran out; nothing was changed.
    #[error(
        "database lock timeout: waited {} for another process to finish writing; try again, or allow a longer wait",
        in_seconds(*waited)
    )]
    Busy {
        /// The wait that was configured.
        waited: Duration,
    },

    /// Another program's rule in the database (a trigger) refused the change.
    #[error("conflict: the database refused the change: {reason}")]
    Conflict {
        /// The message of the rule.
        reason: String,
    },

    /// What was asked for does not exist; nothing was changed.
    #[error("not found: {what}")]
    NotFound {
        /// What was looked for.
        what: String,
    },

    /// There is a database already, and it is not to be replaced.
    #[error("a database already exists: '{}'; it was left as it is", path.display())]
    AlreadyExists {
        /// The database file.
        path: PathBuf,
    },

    /// Keys at the destination of a migration are taken; nothing was changed.
    #[error(
        "conflict: {} of {} destination keys are taken by other reservations, the first by port {}; \
         forcing the migration removes those",
        plan.conflicts.len(),
        plan.moves.len(),
        plan.conflicts.first().map_or(0, |row| row.port.get())
    )]
    MigrationConflict {
        /// What would be moved, and what is in the way.
        plan: Box<Migration>,
    },

    /// The path is neither the working directory nor above or below it; nothing was changed.
    #[error(
        "path relationship violation: '{path}' is unrelated to the working directory '{}'; \
         allow an unrelated path explicitly if this is meant",
        base.display()
    )]
    UnrelatedPath {
        /// The path that was asked for.
        path: String,
        /// The directory it has to be related to.
        base: PathBuf,
    },

    /// The key is stored with another project or task and may not change it; nothing was changed.
    #[error(
        "sticky field '{field}': the reservation has {} and the request {}; \
         allow this change explicitly if it is meant",
        stored.as_deref().map_or("none".to_owned(), |stored| format!("'{stored}'")),
        requested.as_deref().map_or("clears it".to_owned(), |requested| format!("asks for '{requested}'"))
    )]
    StickyField {
        /// `project` or `task`.
        field: &'static str,
        /// What is stored.
        stored: Option<String>,
        /// What was asked for; none to clear it.
        requested: Option<String>,
    },

    /// The settings do not fit together.
    #[error("validation error: {setting}: {reason}")]
    Config {
        /// The setting's name.
        setting: &'static str,
        /// What is wrong and what would be accepted.
        reason: String,
    },

    /// A running program leases the port; nothing was changed.
    #[error("conflict: port {port} is leased by {holder}; forcing the release ends that lease")]
    Leased {
        /// The port.
        port: Port,
        /// The process that took the lease, with its command line, and who keeps it if that one has ended.
        holder: String,
    },

    /// No process of the lease's owner accepted connections in time, or another process listens on the port.
    #[error("not listening: {reason}")]
    NotListening {
        /// Who listens there instead, or that nobody does.
        reason: String,
    },

    /// The lease was closed before, or its registry was.
    #[error("the lease of port {port} has ended")]
    LeaseClosed {
        /// The port it had.
        port: Port,
    },

    /// The stored reservations of a group's path do not match the group; nothing was changed.
    #[error(
        "reservation conflict: {reason}{}",
        if *is_forced { String::new() } else {
            format!("; forcing the request replaces all tagged reservations of '{path}'")
        }
    )]
    GroupConflict {
        /// The path of the group.
        path: String,
        /// What differs.
        reason: String,
        /// Whether the request was forced and failed all the same.
        is_forced: bool,
    },

    /// There is no project file that could define a group.
    #[error("No trop configuration file found: {reason}")]
    NoProjectFile {
        /// Where it was looked for.
        reason: String,
    },

    /// The name of a shell is unknown.
    #[error(
        "validation error: shell: it is unknown; accepted are bash (sh), zsh, fish and powershell (pwsh, ps)"
    )]
    UnknownShell,

    /// No group of services can be reserved, because none is defined.
    #[error("no group to reserve: {reason}")]
    NoGroup {
        /// What is missing, and where.
        reason: String,
    },

    /// The file is damaged, or is not a database. It was not changed.
    #[error(
        "database corruption detected in '{}': {reason}; trop did not modify it: \
         copy the file first, then restore it from a backup or delete it",
        path.display()
    )]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },

    /// The database has a schema this version does not serve. It was not changed.
    #[error("unsupported database schema in '{}': {reason}", path.display())]
    Schema {
        /// The database file.
        path: PathBuf,
        /// Which schema was found and what to do.
        reason: String,
    },

    /// There is no database and none may be created, or no directory was named and there is no place for one.
    #[error("Data directory not found: {reason}")]
    NoDataDir {
        /// The data directory, or the one that would be the default.
        path: PathBuf,
        /// Why there is none.
        reason: String,
    },

    /// The operating system refused an operation.
    #[error("cannot {action} '{}': {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The argument that led there, if one did.
        argument: Option<&'static str>,
        /// The operating system's answer.
        source: io::Error,
    },

    /// The operating system refused a socket on a leased port.
    #[error("cannot {action} port {port} of '{host}': {source}")]
    Socket {
        /// What was being done.
        action: &'static str,
        /// The address or name of this host.
        host: String,
        /// The port.
        port: Port,
        /// The operating system's answer.
        source: io::Error,
    },

    /// Not supported on this platform or file system.
    #[error("unsupported: {reason}")]
    Unsupported {
        /// What is not supported, and what to do instead.
        reason: String,
    },

    /// The handle was closed before.
    #[error("the registry is closed")]
    Closed,

    /// Another copy of SQLite in this process has the database open.
    #[error(
        "'{}' is already open in this process through another copy of SQLite or trop; \
         closing either copy would drop the other's locks, so only one may use the file",
        path.display()
    )]
    SecondCopy {
        /// The database file.
        path: PathBuf,
    },

    /// A panic was caught: a defect of trop itself. The handle in which it happened cannot be used any more.
    #[error("a defect of trop, please report it: {message}")]
    Panic {
        /// The text of the panic.
        message: String,
    },
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Error::InvalidArgument { .. } | Error::UnresolvablePath { .. } | Error::UnknownShell => {
                Code::InvalidArgument
            }
            Error::Exhausted { .. } => Code::Exhausted,
            Error::Busy { .. } => Code::Busy,
            Error::NotFound { .. } | Error::NoGroup { .. } | Error::NoProjectFile { .. } => Code::NotFound,
            Error::Conflict { .. }
            | Error::MigrationConflict { .. }
            | Error::GroupConflict { .. }
            | Error::Leased { .. }
            | Error::AlreadyExists { .. } => Code::Conflict,
            Error::UnrelatedPath { .. } => Code::UnrelatedPath,
            Error::StickyField { .. } => Code::StickyField,
            Error::Config { .. } => Code::Config,
            Error::Corrupt { .. } => Code::Corrupt,
            Error::Schema { .. } => Code::Schema,
            Error::NoDataDir { .. } => Code::NoDataDir,
            Error::Io { .. } | Error::Socket { .. } => Code::Io,
            Error::Unsupported { .. } => Code::Unsupported,
            Error::Closed | Error::LeaseClosed { .. } => Code::Closed,
            Error::NotListening { .. } => Code::NotListening,
            Error::SecondCopy { .. } => Code::SecondCopy,
            Error::Panic { .. } => Code::Panic,
        }
    }

    /// The name of the argument or setting that caused the error, if any.
    #[must_use]
    pub fn argument(&self) -> Option<&'static str> {
        match self {
            Error::InvalidArgument { argument, .. } | Error::UnresolvablePath { argument, .. } => {
                Some(argument)
            }
            Error::Config { setting, .. } => Some(setting),
            Error::UnrelatedPath { .. } => Some("path"),
            Error::StickyField { field, .. } => Some(field),
            Error::UnknownShell => Some("shell"),
            Error::Leased { .. } => Some("port"),
            Error::Corrupt { .. }
            | Error::Schema { .. }
            | Error::NoDataDir { .. }
            | Error::AlreadyExists { .. }
            | Error::SecondCopy { .. } => Some("data_dir"),
            Error::Io { argument, .. } => *argument,
            _ => None,
        }
    }

    /// The operating system's error number, for [`Code::Io`] only.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Io { source, .. } | Error::Socket { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the database could not be opened, whatever the operating system's reason was.
    #[must_use]
    pub fn is_unopened_database(&self) -> bool {
        matches!(self, Error::Io { action: OPEN, .. })
    }

    pub(crate) fn invalid(argument: &'static str, reason: impl Into<String>) -> Error {
        Error::InvalidArgument { argument, reason: reason.into() }
    }

    pub(crate) fn corrupt(reason: impl Into<String>) -> Error {
        Error::Corrupt { path: PathBuf::new(), reason: reason.into() }
    }

    pub(crate) fn schema(reason: impl Into<String>) -> Error {
        Error::Schema { path: PathBuf::new(), reason: reason.into() }
    }

    /// There is no database in the directory, and none may be created.
    pub(crate) fn no_database(directory: &Path) -> Error {
        let shown = directory.display();
        let reason = format!("no database in '{shown}' and creating one is switched off");
        Error::NoDataDir { path: directory.to_path_buf(), reason }
    }

    /// An input or output error in the data directory.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        Error::io_of(Some("data_dir"), action, path, source)
    }

    /// An input or output error elsewhere. `argument` led there, if it is given.
    pub(crate) fn io_of(
        argument: Option<&'static str>,
        action: &'static str,
        path: &Path,
        source: io::Error,
    ) -> Error {
        Error::Io { action, path: path.to_path_buf(), argument, source }
    }
}

/// The action of an error for which SQLite gives no reason.
pub(crate) const OPEN: &str = "open the database";

/// Runs a function and turns a panic into [`Error::Panic`], for code that is called from other languages.
///
/// # Errors
/// Those of `run`, and [`Error::Panic`].
pub fn contain<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Err(Error::Panic { message: text.unwrap_or("a panic without text").to_owned() })
    })
}

/// The message for an exhausted range: what blocks it, and what can be done about it.
fn exhausted(range: PortRange, blockers: &Blockers, cleanup: AutomaticCleanup) -> String {
    let Blockers { reserved, excluded, occupied, refused, closing, neighbours, probe_failure } = blockers;
    let present = [
        (reserved, "reserved"),
        (excluded, "excluded"),
        (occupied, "occupied"),
        (refused, "refused by web clients"),
        (closing, "closing"),
    ];
    let present = || present.iter().filter(|(count, _)| **count > 0);
    let counts: Vec<_> = present().map(|(count, reason)| format!("{count} {reason}")).collect();
    let reasons: Vec<_> = present().map(|(_, reason)| *reason).collect();
    let mut text = format!("port range {range} exhausted: {}", counts.join(", "));
    // Only a request for several ports together can fail while the range has usable ports left.
    if reserved + excluded + occupied + refused < range.count() {
        text += if counts.is_empty() { "" } else { "; " };
        if *neighbours > 0 {
            text.extend(["there are no ", &neighbours.to_string(), " neighbours"]);
        } else {
            text += "there is no room for all services at their offsets from one base";
        }
    }
    if let Some(failure) = probe_failure {
        text.extend([" (", failure, ")"]);
    }
    if cleanup.prunes || cleanup.expires {
        text += " after cleanup";
        if !reasons.is_empty() {
            text.extend(["; remaining blockers after the single retry: ", &reasons.join(", ")]);
        }
    }
    text += match (cleanup.prunes, cleanup.expires) {
        _ if cleanup.is_pointless => "",
        (true, true) => "",
        (false, true) => "; automatic pruning disabled",
        (true, false) => "; automatic expiration disabled",
        (false, false) => "; automatic pruning and expiration disabled",
    };
    text += "; widen the range, release, prune or expire what is no longer needed, or look at the exclusions";
    text + if *refused > 0 { " and at avoid_unsafe_ports" } else { "" }
}

/// `1s`, `0s`, `0.25s`.
fn in_seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}
