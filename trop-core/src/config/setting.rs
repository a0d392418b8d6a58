//! What can be set: the one table of names that help texts, messages and parsers share.

/// Something that can be configured. [`Setting::ALL`] has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Setting {
    /// The data directory.
    DataDir,
    /// The path of a reservation.
    Path,
    /// The project of new reservations.
    Project,
    /// The task of new reservations.
    Task,
    /// The lowest port.
    PortMin,
    /// The highest port.
    PortMax,
    /// The highest port, counted from the lowest.
    PortMaxOffset,
    /// Ports never to choose.
    ExcludedPorts,
    /// Unused for how many days is too long.
    ExpireAfterDays,
    /// How long to wait for a lock.
    BusyTimeout,
    /// Whether a missing database is an error.
    DisableAutoinit,
    /// Whether an exhausted range is not pruned.
    DisableAutoprune,
    /// Whether in an exhausted range nothing expires.
    DisableAutoexpire,
    /// The format of lists.
    OutputFormat,
    /// Whether paths may be unrelated to the working directory.
    AllowUnrelatedPath,
    /// Whether project and task may be changed.
    AllowChange,
    /// Whether the project may be changed.
    AllowChangeProject,
    /// Whether the task may be changed.
    AllowChangeTask,
    /// Whether no probe is made.
    SkipOccupancyCheck,
    /// Whether no TCP probe is made.
    SkipTcp,
    /// Whether no UDP probe is made.
    SkipUdp,
    /// Whether no IPv4 probe is made.
    SkipIpv4,
    /// Whether no IPv6 probe is made.
    SkipIpv6,
    /// Whether the wildcard addresses are probed too.
    CheckAllInterfaces,
    /// How much is said.
    LogMode,
    /// The group of services. It has no variable.
    Reservations,
}

impl Setting {
    /// Every setting.
    pub const ALL: [Setting; 26] = [
        Setting::DataDir,
        Setting::Path,
        Setting::Project,
        Setting::Task,
        Setting::PortMin,
        Setting::PortMax,
        Setting::PortMaxOffset,
        Setting::ExcludedPorts,
        Setting::ExpireAfterDays,
        Setting::BusyTimeout,
        Setting::DisableAutoinit,
        Setting::DisableAutoprune,
        Setting::DisableAutoexpire,
        Setting::OutputFormat,
        Setting::AllowUnrelatedPath,
        Setting::AllowChange,
        Setting::AllowChangeProject,
        Setting::AllowChangeTask,
        Setting::SkipOccupancyCheck,
        Setting::SkipTcp,
        Setting::SkipUdp,
        Setting::SkipIpv4,
        Setting::SkipIpv6,
        Setting::CheckAllInterfaces,
        Setting::LogMode,
        Setting::Reservations,
    ];

    /// The name in messages: the key in files where it has one, such as `occupancy_check.skip_ip4`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Setting::DataDir => "data_dir",
            Setting::Path => "path",
            Setting::Project => "project",
            Setting::Task => "task",
            Setting::PortMin => "ports.min",
            Setting::PortMax => "ports.max",
            Setting::PortMaxOffset => "ports.max_offset",
            Setting::ExcludedPorts => "excluded_ports",
            Setting::ExpireAfterDays => "cleanup.expire_after_days",
            Setting::BusyTimeout => "maximum_lock_wait_seconds",
            Setting::DisableAutoinit => "disable_autoinit",
            Setting::DisableAutoprune => "disable_autoprune",
            Setting::DisableAutoexpire => "disable_autoexpire",
            Setting::OutputFormat => "output_format",
            Setting::AllowUnrelatedPath => "allow_unrelated_path",
            Setting::AllowChange => "allow_change",
            Setting::AllowChangeProject => "allow_change_project",
            Setting::AllowChangeTask => "allow_change_task",
            Setting::SkipOccupancyCheck => "occupancy_check.skip",
            Setting::SkipTcp => "occupancy_check.skip_tcp",
            Setting::SkipUdp => "occupancy_check.skip_udp",
            Setting::SkipIpv4 => "occupancy_check.skip_ip4",
            Setting::SkipIpv6 => "occupancy_check.skip_ip6",
            Setting::CheckAllInterfaces => "occupancy_check.check_all_interfaces",
            Setting::LogMode => "log_mode",
            Setting::Reservations => "reservations",
        }
    }

    /// The environment variables that set it, the one that wins first.
    #[must_use]
    pub const fn variables(self) -> &'static [&'static str] {
        match self {
            Setting::DataDir => &["TROP_DATA_DIR"],
            Setting::Path => &["TROP_PATH"],
            Setting::Project => &["TROP_PROJECT"],
            Setting::Task => &["TROP_TASK"],
            Setting::PortMin => &["TROP_PORT_MIN"],
            Setting::PortMax => &["TROP_PORT_MAX"],
            Setting::PortMaxOffset => &["TROP_PORT_MAX_OFFSET"],
            Setting::ExcludedPorts => &["TROP_EXCLUDED_PORTS"],
            Setting::ExpireAfterDays => &["TROP_EXPIRE_AFTER_DAYS"],
            Setting::BusyTimeout => &["TROP_BUSY_TIMEOUT", "TROP_MAXIMUM_LOCK_WAIT_SECONDS"],
            Setting::DisableAutoinit => &["TROP_DISABLE_AUTOINIT"],
            Setting::DisableAutoprune => &["TROP_DISABLE_AUTOPRUNE"],
            Setting::DisableAutoexpire => &["TROP_DISABLE_AUTOEXPIRE"],
            Setting::OutputFormat => &["TROP_OUTPUT_FORMAT"],
            Setting::AllowUnrelatedPath => &["TROP_ALLOW_UNRELATED_PATH"],
            Setting::AllowChange => &["TROP_ALLOW_CHANGE"],
            Setting::AllowChangeProject => &["TROP_ALLOW_PROJECT_CHANGE", "TROP_ALLOW_CHANGE_PROJECT"],
            Setting::AllowChangeTask => &["TROP_ALLOW_TASK_CHANGE", "TROP_ALLOW_CHANGE_TASK"],
            Setting::SkipOccupancyCheck => &["TROP_SKIP_OCCUPANCY_CHECK"],
            Setting::SkipTcp => &["TROP_SKIP_TCP"],
            Setting::SkipUdp => &["TROP_SKIP_UDP"],
            Setting::SkipIpv4 => &["TROP_SKIP_IPV4"],
            Setting::SkipIpv6 => &["TROP_SKIP_IPV6"],
            Setting::CheckAllInterfaces => &["TROP_CHECK_ALL_INTERFACES"],
            Setting::LogMode => &["TROP_LOG_MODE"],
            Setting::Reservations => &[],
        }
    }
}

/// The settings that work on or off, with the top-level ones among the keys of a file first.
pub(super) const SWITCHES: [Setting; 7] = [
    Setting::DisableAutoinit,
    Setting::DisableAutoprune,
    Setting::DisableAutoexpire,
    Setting::AllowUnrelatedPath,
    Setting::AllowChange,
    Setting::AllowChangeProject,
    Setting::AllowChangeTask,
];

/// The leaves of `occupancy_check`.
pub(super) const PROBES: [(&str, Setting); 6] = [
    ("skip", Setting::SkipOccupancyCheck),
    ("skip_ip4", Setting::SkipIpv4),
    ("skip_ip6", Setting::SkipIpv6),
    ("skip_tcp", Setting::SkipTcp),
    ("skip_udp", Setting::SkipUdp),
    ("check_all_interfaces", Setting::CheckAllInterfaces),
];

/// Which settings the caller is going to use: variables of others are not judged, so that an unfit one breaks only
/// what it is for. The lock wait and automatic initialisation are always used, and files are always judged whole.
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

    /// Both.
    #[must_use]
    pub const fn and(self, other: Uses) -> Uses {
        Uses(self.0 | other.0)
    }

    pub(super) const fn includes(self, other: Uses) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a variable of the setting is to be judged.
    pub(super) fn include(self, setting: Setting) -> bool {
        self.includes(match setting {
            Setting::DataDir | Setting::Path | Setting::LogMode | Setting::Reservations => return false,
            Setting::BusyTimeout | Setting::DisableAutoinit => Uses::OPENING,
            Setting::PortMin | Setting::PortMax | Setting::PortMaxOffset | Setting::ExcludedPorts => {
                Uses::PORTS
            }
            Setting::Project
            | Setting::Task
            | Setting::AllowChange
            | Setting::AllowChangeProject
            | Setting::AllowChangeTask => Uses::METADATA,
            Setting::ExpireAfterDays => Uses::EXPIRY,
            Setting::DisableAutoprune | Setting::DisableAutoexpire => Uses::AUTOCLEAN,
            Setting::OutputFormat => Uses::LISTS,
            Setting::AllowUnrelatedPath => Uses::PATHS,
            Setting::SkipOccupancyCheck
            | Setting::SkipTcp
            | Setting::SkipUdp
            | Setting::SkipIpv4
            | Setting::SkipIpv6
            | Setting::CheckAllInterfaces => Uses::OCCUPANCY,
        })
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
}
