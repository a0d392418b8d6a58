//! The table of all settings, from which files, environment variables, help texts and validation are derived.

use crate::model::PortRange;

/// Declares [`Setting`], the list of all settings and the table, from one row per setting.
macro_rules! settings {
    ($( $(#[$doc:meta])* $setting:ident { $($row:tt)* } )*) => {
        /// Something that can be configured. [`Setting::ALL`] has all of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Setting { $( $(#[$doc])* $setting, )* }

        impl Setting {
            /// Every setting.
            pub const ALL: [Setting; [$(stringify!($setting)),*].len()] = [$(Setting::$setting),*];

            const fn row(self) -> Row {
                match self {
                    $( Setting::$setting => Row { $($row)* }, )*
                }
            }
        }
    };
}

/// A row of the table.
struct Row {
    /// The name in messages, which is the key in files.
    name: &'static str,
    /// The long option of the command that sets the same, with `_` for `-`, if any.
    option: Option<&'static str>,
    /// The environment variables. The first one that is set wins.
    variables: &'static [&'static str],
    /// Which uses of a registry need it, any of them; none if no variable is read for the configuration.
    uses: Option<Uses>,
    /// In which files it may stand.
    files: Files,
    /// What values it takes.
    kind: Kind,
}

/// In which files a setting may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    None,
    /// In those of a project.
    Project,
    /// In those of a project and in the user's.
    All,
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Switch,
    /// Text that follows the identifier rule.
    Identifier,
    Port,
    Number {
        min: u64,
        max: u64,
    },
    /// Seconds up to [`MAX_LOCK_WAIT`].
    LockWait,
    /// Ports and ranges; the entries of all sources are combined.
    Ports,
    OutputFormat,
    /// Services, in files only.
    Group,
    /// Looked up by the code that needs it, not as part of the configuration.
    Elsewhere,
}

/// The longest lock wait: what fits into a signed 32-bit number of milliseconds, in whole seconds.
pub(super) const MAX_LOCK_WAIT: u64 = 2_147_483;

const DAYS: Kind = Kind::Number { min: 1, max: u32::MAX as u64 };
const OFFSET: Kind = Kind::Number { min: 1, max: 65534 };

// Variables and files are read in this order, except for the group, and messages list the keys in it.
settings! {
    /// The project of new reservations.
    Project {
        name: "project",
        option: Some("project"),
        variables: &["TROP_PROJECT"],
        uses: Some(Uses::METADATA),
        files: Files::Project,
        kind: Kind::Identifier,
    }

    /// The task of new reservations.
    Task {
        name: "task",
        option: Some("task"),
        variables: &["TROP_TASK"],
        uses: Some(Uses::METADATA),
        files: Files::None,
        kind: Kind::Identifier,
    }

    /// The lowest port of reservations.
    PortMin {
        name: "ports.min",
        option: Some("min"),
        variables: &["TROP_PORT_MIN"],
        uses: Some(Uses::PORTS),
        files: Files::All,
        kind: Kind::Port,
    }

    /// The highest port of reservations.
    PortMax {
        name: "ports.max",
        option: Some("max"),
        variables: &["TROP_PORT_MAX"],
        uses: Some(Uses::PORTS),
        files: Files::All,
        kind: Kind::Port,
    }

    /// The highest port of reservations, counted from the lowest.
    PortMaxOffset {
        name: "ports.max_offset",
        option: None,
        variables: &["TROP_PORT_MAX_OFFSET"],
        uses: Some(Uses::PORTS),
        files: Files::All,
        kind: OFFSET,
    }

    /// The lowest port of leases.
    LeasePortMin {
        name: "lease_ports.min",
        option: None,
        variables: &["TROP_LEASE_PORT_MIN"],
        uses: Some(Uses::LEASE_PORTS),
        files: Files::All,
        kind: Kind::Port,
    }

    /// The highest port of leases.
    LeasePortMax {
        name: "lease_ports.max",
        option: None,
        variables: &["TROP_LEASE_PORT_MAX"],
        uses: Some(Uses::LEASE_PORTS),
        files: Files::All,
        kind: Kind::Port,
    }

    /// The highest port of leases, counted from the lowest. It has no variable.
    LeasePortMaxOffset {
        name: "lease_ports.max_offset",
        option: None,
        variables: &[],
        uses: None,
        files: Files::All,
        kind: OFFSET,
    }

    /// Ports never to choose.
    ExcludedPorts {
        name: "excluded_ports",
        option: None,
        variables: &["TROP_EXCLUDED_PORTS"],
        uses: Some(Uses::PORTS.and(Uses::LEASE_PORTS)),
        files: Files::All,
        kind: Kind::Ports,
    }

    /// Whether no search chooses a port that web clients refuse to connect to; on by default.
    AvoidUnsafePorts {
        name: "avoid_unsafe_ports",
        option: None,
        variables: &["TROP_AVOID_UNSAFE_PORTS"],
        uses: Some(Uses::PORTS.and(Uses::LEASE_PORTS)),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// After how many days without use a reservation expires.
    ExpireAfterDays {
        name: "cleanup.expire_after_days",
        option: Some("days"),
        variables: &["TROP_EXPIRE_AFTER_DAYS"],
        uses: Some(Uses::EXPIRY),
        files: Files::All,
        kind: DAYS,
    }

    /// Whether no probe is made.
    SkipOccupancyCheck {
        name: "occupancy_check.skip",
        option: Some("skip_occupancy_check"),
        variables: &["TROP_SKIP_OCCUPANCY_CHECK"],
        uses: Some(Uses::OCCUPANCY),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether no IPv4 probe is made.
    SkipIpv4 {
        name: "occupancy_check.skip_ip4",
        option: Some("skip_ipv4"),
        variables: &["TROP_SKIP_IPV4"],
        uses: Some(Uses::OCCUPANCY),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether no IPv6 probe is made.
    SkipIpv6 {
        name: "occupancy_check.skip_ip6",
        option: Some("skip_ipv6"),
        variables: &["TROP_SKIP_IPV6"],
        uses: Some(Uses::OCCUPANCY),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether no TCP probe is made.
    SkipTcp {
        name: "occupancy_check.skip_tcp",
        option: Some("skip_tcp"),
        variables: &["TROP_SKIP_TCP"],
        uses: Some(Uses::OCCUPANCY),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether no UDP probe is made.
    SkipUdp {
        name: "occupancy_check.skip_udp",
        option: Some("skip_udp"),
        variables: &["TROP_SKIP_UDP"],
        uses: Some(Uses::OCCUPANCY),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether the wildcard addresses are probed too.
    CheckAllInterfaces {
        name: "occupancy_check.check_all_interfaces",
        option: Some("check_all_interfaces"),
        variables: &["TROP_CHECK_ALL_INTERFACES"],
        uses: Some(Uses::OCCUPANCY),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// The group of services. It has no variable.
    Reservations {
        name: "reservations",
        option: None,
        variables: &[],
        uses: None,
        files: Files::Project,
        kind: Kind::Group,
    }

    /// Whether a missing database is an error.
    DisableAutoinit {
        name: "disable_autoinit",
        option: Some("disable_autoinit"),
        variables: &["TROP_DISABLE_AUTOINIT"],
        uses: Some(Uses::OPENING),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether reservations are not pruned when the range is exhausted.
    DisableAutoprune {
        name: "disable_autoprune",
        option: Some("disable_autoprune"),
        variables: &["TROP_DISABLE_AUTOPRUNE"],
        uses: Some(Uses::AUTOCLEAN),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether old reservations are not expired when the range is exhausted.
    DisableAutoexpire {
        name: "disable_autoexpire",
        option: Some("disable_autoexpire"),
        variables: &["TROP_DISABLE_AUTOEXPIRE"],
        uses: Some(Uses::AUTOCLEAN),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether paths may be unrelated to the working directory.
    AllowUnrelatedPath {
        name: "allow_unrelated_path",
        option: Some("allow_unrelated_path"),
        variables: &["TROP_ALLOW_UNRELATED_PATH"],
        uses: Some(Uses::PATHS),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether the project may be changed.
    AllowChangeProject {
        name: "allow_change_project",
        option: Some("allow_project_change"),
        variables: &["TROP_ALLOW_PROJECT_CHANGE", "TROP_ALLOW_CHANGE_PROJECT"],
        uses: Some(Uses::METADATA),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether the task may be changed.
    AllowChangeTask {
        name: "allow_change_task",
        option: Some("allow_task_change"),
        variables: &["TROP_ALLOW_TASK_CHANGE", "TROP_ALLOW_CHANGE_TASK"],
        uses: Some(Uses::METADATA),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// Whether project and task may be changed.
    AllowChange {
        name: "allow_change",
        option: Some("allow_change"),
        variables: &["TROP_ALLOW_CHANGE"],
        uses: Some(Uses::METADATA),
        files: Files::All,
        kind: Kind::Switch,
    }

    /// How long to wait for a lock.
    BusyTimeout {
        name: "maximum_lock_wait_seconds",
        option: Some("busy_timeout"),
        variables: &["TROP_BUSY_TIMEOUT", "TROP_MAXIMUM_LOCK_WAIT_SECONDS"],
        uses: Some(Uses::OPENING),
        files: Files::All,
        kind: Kind::LockWait,
    }

    /// The format of lists.
    OutputFormat {
        name: "output_format",
        option: None,
        variables: &["TROP_OUTPUT_FORMAT"],
        uses: Some(Uses::LISTS),
        files: Files::All,
        kind: Kind::OutputFormat,
    }

    /// The data directory.
    DataDir {
        name: "data_dir",
        option: Some("data_dir"),
        variables: &["TROP_DATA_DIR"],
        uses: None,
        files: Files::None,
        kind: Kind::Elsewhere,
    }

    /// The path of a reservation.
    Path {
        name: "path",
        option: Some("path"),
        variables: &["TROP_PATH"],
        uses: None,
        files: Files::None,
        kind: Kind::Elsewhere,
    }

    /// How much a program reports besides its results.
    LogMode {
        name: "log_mode",
        option: None,
        variables: &["TROP_LOG_MODE"],
        uses: None,
        files: Files::None,
        kind: Kind::Elsewhere,
    }
}

impl Setting {
    /// The name in messages: the key in files where it has one, such as `occupancy_check.skip_ip4`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The environment variables that set it. The first one that is set wins.
    #[must_use]
    pub const fn variables(self) -> &'static [&'static str] {
        self.row().variables
    }

    /// The long option of the command that sets the same, with `_` for `-`, such as `busy_timeout`, if every
    /// subcommand that has it calls it so.
    #[must_use]
    pub const fn option(self) -> Option<&'static str> {
        self.row().option
    }

    pub(super) const fn kind(self) -> Kind {
        self.row().kind
    }

    pub(super) const fn files(self) -> Files {
        self.row().files
    }

    /// The top-level key in files, and the key inside that block, if any: `occupancy_check` and `skip_ip4`,
    /// or `project` and none.
    pub(super) fn keys(self) -> (&'static str, Option<&'static str>) {
        match self.name().split_once('.') {
            Some((block, key)) => (block, Some(key)),
            None => (self.name(), None),
        }
    }
}

/// What ports are chosen for. Each use has a range of its own, which is three settings, a block in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortUse {
    Reservations,
    Leases,
}

impl PortUse {
    pub(super) const ALL: [PortUse; 2] = [PortUse::Reservations, PortUse::Leases];

    /// The key of the block, which is the name of the range in messages.
    pub(super) const fn block(self) -> &'static str {
        match self {
            PortUse::Reservations => "ports",
            PortUse::Leases => "lease_ports",
        }
    }

    pub(super) const fn min(self) -> Setting {
        match self {
            PortUse::Reservations => Setting::PortMin,
            PortUse::Leases => Setting::LeasePortMin,
        }
    }

    pub(super) const fn max(self) -> Setting {
        match self {
            PortUse::Reservations => Setting::PortMax,
            PortUse::Leases => Setting::LeasePortMax,
        }
    }

    pub(super) const fn max_offset(self) -> Setting {
        match self {
            PortUse::Reservations => Setting::PortMaxOffset,
            PortUse::Leases => Setting::LeasePortMaxOffset,
        }
    }

    /// The range when nothing is configured.
    pub(super) const fn default_range(self) -> PortRange {
        match self {
            PortUse::Reservations => PortRange::RESERVATIONS,
            PortUse::Leases => PortRange::LEASES,
        }
    }

    /// The uses of a registry that need the range.
    pub(super) const fn uses(self) -> Uses {
        match self {
            PortUse::Reservations => Uses::PORTS,
            PortUse::Leases => Uses::LEASE_PORTS,
        }
    }
}

/// Which settings the caller is going to use. Environment variables of other settings are not read, so that
/// an invalid one fails only the calls that need it. The lock wait and automatic initialisation are always
/// used, and files are always validated completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses(u16);

impl Uses {
    /// Nothing but what opening a registry needs.
    pub const OPENING: Uses = Uses(0);
    /// The port range of reservations, and which ports are passed over.
    pub const PORTS: Uses = Uses(1);
    /// The occupancy probes.
    pub const OCCUPANCY: Uses = Uses(2);
    /// Project and task, and whether they may change.
    pub const METADATA: Uses = Uses(4);
    /// The permission for unrelated paths.
    pub const PATHS: Uses = Uses(8);
    /// The age at which reservations expire.
    pub const EXPIRY: Uses = Uses(16);
    /// Whether an exhausted range is cleaned up.
    pub const AUTOCLEAN: Uses = Uses(32);
    /// The format of lists.
    pub const LISTS: Uses = Uses(64);
    /// The port range of leases, and which ports are passed over.
    pub const LEASE_PORTS: Uses = Uses(128);
    /// All settings.
    pub const ALL: Uses = Uses(255);
    /// What reserving a port or a group needs.
    pub const RESERVING: Uses = Uses(63);

    /// The union of both.
    #[must_use]
    pub const fn and(self, other: Uses) -> Uses {
        Uses(self.0 | other.0)
    }

    /// Whether any of the others is among these. What opening a registry needs always is.
    pub(super) fn includes(self, any: Uses) -> bool {
        any == Uses::OPENING || self.0 & any.0 != 0
    }

    /// Whether the environment variables of a setting are to be read.
    pub(super) fn include(self, setting: Setting) -> bool {
        setting.row().uses.is_some_and(|uses| self.includes(uses))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_variables_are_unique() {
        let names: HashSet<_> = Setting::ALL.iter().map(|setting| setting.name()).collect();
        assert_eq!(names.len(), Setting::ALL.len());
        let variables: Vec<_> = Setting::ALL.iter().flat_map(|setting| setting.variables()).collect();
        assert_eq!(variables.iter().collect::<HashSet<_>>().len(), variables.len());
        assert_eq!(variables.len(), 31);
    }

    #[test]
    fn all_settings_with_a_variable_are_used_by_something() {
        for setting in Setting::ALL {
            let apart = matches!(
                setting,
                Setting::DataDir
                    | Setting::Path
                    | Setting::LogMode
                    | Setting::Reservations
                    | Setting::LeasePortMaxOffset
            );
            assert_eq!(Uses::ALL.include(setting), !apart, "{setting:?}");
        }
    }

    #[test]
    fn every_setting_of_a_file_is_in_the_template_of_init() {
        let template = include_str!("../operations/config_template.yaml");
        for setting in Setting::ALL.into_iter().filter(|setting| setting.files() == Files::All) {
            let (block, key) = setting.keys();
            for key in [block, key.unwrap_or(block)] {
                let is_there =
                    |line: &str| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key}:"));
                assert!(template.lines().any(is_there) || template.contains(&format!("'{key}'")), "{key}");
            }
        }
    }
}
