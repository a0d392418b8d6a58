//! The table of all settings, from which files, environment variables, help texts and validation are derived.

/// Declares [`Setting`], the list of all settings and the table, from one row per setting.
macro_rules! settings {
    ($( $(#[$doc:meta])* $setting:ident: $name:literal, $variables:expr, $uses:expr, $files:ident, $kind:expr; )*) => {
        /// Something that can be configured. [`Setting::ALL`] has all of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Setting { $( $(#[$doc])* $setting, )* }

        impl Setting {
            /// Every setting.
            pub const ALL: [Setting; [$(stringify!($setting)),*].len()] = [$(Setting::$setting),*];

            const fn row(self) -> Row {
                match self {
                    $( Setting::$setting =>
                        Row { name: $name, variables: $variables, uses: $uses, files: Files::$files, kind: $kind }, )*
                }
            }
        }
    };
}

/// A row of the table.
struct Row {
    name: &'static str,
    variables: &'static [&'static str],
    /// Which uses of a registry need it; none if it is not part of the configuration.
    uses: Option<Uses>,
    files: Files,
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

// The columns are: the name in messages, which is also the key in files; the environment variables, of which
// the first that is set wins; which uses need it; in which files it may stand; its kind of value. The keys of
// files are read and listed in this order.
settings! {
    /// The project of new reservations.
    Project: "project", &["TROP_PROJECT"], Some(Uses::METADATA), Project, Kind::Identifier;
    /// The lowest port.
    PortMin: "ports.min", &["TROP_PORT_MIN"], Some(Uses::PORTS), All, Kind::Port;
    /// The highest port.
    PortMax: "ports.max", &["TROP_PORT_MAX"], Some(Uses::PORTS), All, Kind::Port;
    /// The highest port, counted from the lowest.
    PortMaxOffset: "ports.max_offset", &["TROP_PORT_MAX_OFFSET"], Some(Uses::PORTS), All, OFFSET;
    /// Ports never to choose.
    ExcludedPorts: "excluded_ports", &["TROP_EXCLUDED_PORTS"], Some(Uses::PORTS), All, Kind::Ports;
    /// After how many days without use a reservation expires.
    ExpireAfterDays: "cleanup.expire_after_days", &["TROP_EXPIRE_AFTER_DAYS"], Some(Uses::EXPIRY), All, DAYS;
    /// Whether no probe is made.
    SkipOccupancyCheck:
        "occupancy_check.skip", &["TROP_SKIP_OCCUPANCY_CHECK"], Some(Uses::OCCUPANCY), All, Kind::Switch;
    /// Whether no IPv4 probe is made.
    SkipIpv4: "occupancy_check.skip_ip4", &["TROP_SKIP_IPV4"], Some(Uses::OCCUPANCY), All, Kind::Switch;
    /// Whether no IPv6 probe is made.
    SkipIpv6: "occupancy_check.skip_ip6", &["TROP_SKIP_IPV6"], Some(Uses::OCCUPANCY), All, Kind::Switch;
    /// Whether no TCP probe is made.
    SkipTcp: "occupancy_check.skip_tcp", &["TROP_SKIP_TCP"], Some(Uses::OCCUPANCY), All, Kind::Switch;
    /// Whether no UDP probe is made.
    SkipUdp: "occupancy_check.skip_udp", &["TROP_SKIP_UDP"], Some(Uses::OCCUPANCY), All, Kind::Switch;
    /// Whether the wildcard addresses are probed too.
    CheckAllInterfaces:
        "occupancy_check.check_all_interfaces", &["TROP_CHECK_ALL_INTERFACES"], Some(Uses::OCCUPANCY), All, Kind::Switch;
    /// The group of services. It has no variable.
    Reservations: "reservations", &[], None, Project, Kind::Group;
    /// Whether a missing database is an error.
    DisableAutoinit: "disable_autoinit", &["TROP_DISABLE_AUTOINIT"], Some(Uses::OPENING), All, Kind::Switch;
    /// Whether reservations are not pruned when the range is exhausted.
    DisableAutoprune: "disable_autoprune", &["TROP_DISABLE_AUTOPRUNE"], Some(Uses::AUTOCLEAN), All, Kind::Switch;
    /// Whether old reservations are not expired when the range is exhausted.
    DisableAutoexpire: "disable_autoexpire", &["TROP_DISABLE_AUTOEXPIRE"], Some(Uses::AUTOCLEAN), All, Kind::Switch;
    /// Whether paths may be unrelated to the working directory.
    AllowUnrelatedPath: "allow_unrelated_path", &["TROP_ALLOW_UNRELATED_PATH"], Some(Uses::PATHS), All, Kind::Switch;
    /// Whether the project may be changed.
    AllowChangeProject:
        "allow_change_project", &["TROP_ALLOW_PROJECT_CHANGE", "TROP_ALLOW_CHANGE_PROJECT"], Some(Uses::METADATA), All,
        Kind::Switch;
    /// Whether the task may be changed.
    AllowChangeTask:
        "allow_change_task", &["TROP_ALLOW_TASK_CHANGE", "TROP_ALLOW_CHANGE_TASK"], Some(Uses::METADATA), All,
        Kind::Switch;
    /// Whether project and task may be changed.
    AllowChange: "allow_change", &["TROP_ALLOW_CHANGE"], Some(Uses::METADATA), All, Kind::Switch;
    /// How long to wait for a lock.
    BusyTimeout:
        "maximum_lock_wait_seconds", &["TROP_BUSY_TIMEOUT", "TROP_MAXIMUM_LOCK_WAIT_SECONDS"], Some(Uses::OPENING), All,
        Kind::LockWait;
    /// The format of lists.
    OutputFormat: "output_format", &["TROP_OUTPUT_FORMAT"], Some(Uses::LISTS), All, Kind::OutputFormat;
    /// The task of new reservations.
    Task: "task", &["TROP_TASK"], Some(Uses::METADATA), None, Kind::Identifier;
    /// The data directory.
    DataDir: "data_dir", &["TROP_DATA_DIR"], None, None, Kind::Elsewhere;
    /// The path of a reservation.
    Path: "path", &["TROP_PATH"], None, None, Kind::Elsewhere;
    /// How much a program reports besides its results.
    LogMode: "log_mode", &["TROP_LOG_MODE"], None, None, Kind::Elsewhere;
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

/// Which settings the caller is going to use. Environment variables of other settings are not read, so that
/// an invalid one fails only the calls that need it. The lock wait and automatic initialisation are always
/// used, and files are always validated completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses(u16);

impl Uses {
    /// Nothing but what opening a registry needs.
    pub const OPENING: Uses = Uses(0);
    /// The port range and the exclusions.
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
    /// All settings.
    pub const ALL: Uses = Uses(127);
    /// What reserving a port or a group needs.
    pub const RESERVING: Uses = Uses(63);

    /// The union of both.
    #[must_use]
    pub const fn and(self, other: Uses) -> Uses {
        Uses(self.0 | other.0)
    }

    pub(super) const fn includes(self, other: Uses) -> bool {
        self.0 & other.0 == other.0
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
        assert_eq!(variables.len(), 28);
    }

    #[test]
    fn all_settings_with_a_variable_are_used_by_something() {
        for setting in Setting::ALL {
            let apart = matches!(
                setting,
                Setting::DataDir | Setting::Path | Setting::LogMode | Setting::Reservations
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
