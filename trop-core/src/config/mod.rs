//! The effective configuration, resolved once when a registry is opened. Its sources, from the lowest
//! precedence to the highest, are built-in defaults, the user's file, the project's files, environment
//! variables and the caller's explicit values.

mod document;
mod exclusions;
mod files;
mod group;
mod group_reader;
mod layer;
mod options;
mod reader;
mod schema;
mod setting;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use exclusions::{ExclusionEdit, add_exclusions, compact_exclusions};
pub(crate) use files::USER_FILE;
pub use files::{Discovery, validate};
pub use group::{Group, Service, is_variable_name};
pub use layer::{Origin, OutputFormat};
pub use options::RegistryOptions;
pub use reader::Problem;
pub use setting::{Setting, Uses};
pub use variables::LogMode;

use crate::machine::OccupancyPolicy;
use crate::model::{Error, Port, PortRange, PortSet, Result, are_all_unsafe, unsafe_ports};
use layer::{Ends, GroupChange, Layer, Sourced, Upper, Value};
use schema::FileKind;
use setting::MAX_LOCK_WAIT;
pub(crate) use setting::PortUse;

/// The settings a registry works with, the same for every operation on it.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "each is an independent switch of the contract")]
pub struct Configuration {
    /// The ports to choose from for reservations.
    pub ports: PortRange,
    /// The ports to choose from for leases.
    pub lease_ports: PortRange,
    /// Ports never to choose: the exclusions of all sources together.
    pub excluded: PortSet,
    /// Whether no search chooses a port that web clients refuse to connect to (the "bad ports" of the Fetch
    /// standard).
    pub avoid_unsafe_ports: bool,
    /// How to find out whether another program has a port bound.
    pub occupancy: OccupancyPolicy,
    /// The project of new reservations.
    pub project: Option<String>,
    /// The task of new reservations.
    pub task: Option<String>,
    /// For how many days a reservation may be unused before it expires.
    pub expire_after_days: u32,
    /// Whether reservations are not pruned when the range is exhausted.
    pub disable_autoprune: bool,
    /// Whether old reservations are not expired when the range is exhausted.
    pub disable_autoexpire: bool,
    /// Whether paths may be unrelated to the working directory.
    pub allow_unrelated_path: bool,
    /// Whether the project of a reservation may be changed.
    pub allow_change_project: bool,
    /// Whether the task of a reservation may be changed.
    pub allow_change_task: bool,
    /// How long to wait for other processes and threads that use the database.
    pub busy_timeout: Duration,
    /// Whether a missing data directory or database is created.
    pub create: bool,
    /// The format of lists.
    pub output_format: OutputFormat,
    /// The project files that were read, the lowest precedence first.
    pub project_files: Vec<PathBuf>,
    /// The excluded ports, and those that web clients refuse if they are avoided.
    passed_over: PortSet,
    group: GroupChange,
    origins: BTreeMap<Setting, Origin>,
    /// The ends of both ranges.
    ends: Ends,
    lease_ends: Ends,
    /// The word for the caller's own values in messages.
    argument: &'static str,
}

impl Configuration {
    /// Resolves all sources. `data_dir` is where the user's file is looked for.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a named configuration file that is missing or is not a regular file and
    /// for a lock wait above 2147483 s, [`Error::Config`] for an invalid file or variable and for values that
    /// do not fit together, [`Error::UnresolvablePath`] for a start directory that cannot be resolved.
    pub fn resolve(options: RegistryOptions, data_dir: &Path) -> Result<Configuration> {
        Configuration::resolve_for(options, data_dir, None)
    }

    /// Like `resolve`, with a named project file in place of those that the options select.
    pub(crate) fn resolve_for(
        options: RegistryOptions,
        data_dir: &Path,
        named: Option<&Path>,
    ) -> Result<Configuration> {
        let project_files = match named {
            Some(file) => files::named("file", file)?,
            None => files::discover(&options.discovery)?,
        };
        if options.busy_timeout.is_some_and(|wait| wait > Duration::from_secs(MAX_LOCK_WAIT)) {
            return Err(Error::invalid("busy_timeout", format!("must not exceed {MAX_LOCK_WAIT} seconds")));
        }
        let mut layer = Layer::default();
        if options.discovery != Discovery::Off
            && let Some(file) = files::of_user(data_dir)
        {
            layer.merge(files::load(&file, FileKind::User)?);
        }
        for file in &project_files {
            layer.merge(files::load(file, FileKind::Project)?);
        }
        if options.variables {
            layer.merge(variables::read(options.uses)?);
        }
        let (wait, uses, argument) = (options.busy_timeout, options.uses, options.origin);
        // One end for both ranges may well not fit that of leases; only who leases needs to know.
        let is_half = options.ports.is_none() && options.min.is_some() != options.max.is_some();
        layer.merge(explicit(options));
        let range_of = |used: PortUse, is_lenient| {
            let ends = layer.ends(used);
            match range(used, ends.min.as_ref(), ends.upper.as_ref()) {
                Err(_) if is_lenient || !uses.includes(used.uses()) => Ok(used.default_range()),
                range => range,
            }
        };
        let ranges = (range_of(PortUse::Reservations, false)?, range_of(PortUse::Leases, is_half)?);
        let resolved = settle(layer, ranges, wait, project_files, argument);
        log::trace!(
            "trop: ports {} ({} to {}), of leases {} ({} to {}), lock wait {} s, project files: {}",
            resolved.ports,
            resolved.origin(Setting::PortMin),
            resolved.origin(Setting::PortMax),
            resolved.lease_ports,
            resolved.origin(Setting::LeasePortMin),
            resolved.origin(Setting::LeasePortMax),
            resolved.busy_timeout.as_secs_f64(),
            resolved.project_files.len(),
        );
        Ok(resolved)
    }

    /// Where the value of a setting came from. The upper end of a port range is [`Setting::PortMax`] or
    /// [`Setting::LeasePortMax`] in either form.
    #[must_use]
    pub fn origin(&self, setting: Setting) -> Origin {
        self.origins.get(&setting).cloned().unwrap_or(Origin::Default)
    }

    /// The range for a use of ports, with one of its ends, or both, replaced by a request.
    ///
    /// # Errors
    /// [`Error::Config`] when `min` is above `max`; the message says where each of them comes from.
    pub(crate) fn range(&self, used: PortUse, min: Option<Port>, max: Option<Port>) -> Result<PortRange> {
        let ends = self.ends_of(used);
        let origin = Origin::Argument(self.argument);
        let min = min.map(|value| Sourced { value, origin: origin.clone() });
        let max = max.map(|value| Sourced { value: Upper::Max(value), origin });
        range(used, min.as_ref().or(ends.min.as_ref()), max.as_ref().or(ends.upper.as_ref()))
    }

    /// Whether somebody has said which range it is.
    pub(crate) fn is_range_set(&self, used: PortUse) -> bool {
        let ends = self.ends_of(used);
        ends.min.is_some() || ends.upper.is_some()
    }

    fn ends_of(&self, used: PortUse) -> &Ends {
        match used {
            PortUse::Reservations => &self.ends,
            PortUse::Leases => &self.lease_ends,
        }
    }

    /// The ports that no search in a range chooses: the excluded ones and, unless they are the whole range,
    /// those that web clients refuse.
    pub(crate) fn passed_over(&self, range: PortRange) -> &PortSet {
        if self.avoids_unsafe_ports(range) { &self.passed_over } else { &self.excluded }
    }

    /// Whether a search in a range passes over the ports that web clients refuse.
    pub(crate) fn avoids_unsafe_ports(&self, range: PortRange) -> bool {
        self.avoid_unsafe_ports && !are_all_unsafe(range)
    }

    /// The group that the project's files define, checked so that it can be reserved.
    ///
    /// # Errors
    /// [`Error::NoProjectFile`] when no project file was read; [`Error::NoGroup`] when no group is defined or
    /// it has no services; [`Error::Config`] when its base lies outside the effective port range.
    pub fn group(&self) -> Result<&Group> {
        let group = match &self.group {
            GroupChange::Replace(group) => group,
            GroupChange::Clear(origin) => {
                let reason = format!("`reservations: null` in {origin} removes the group");
                return Err(Error::NoGroup { reason });
            }
            GroupChange::Inherit if self.project_files.is_empty() => {
                let reason = "none was given, and none was found or looked for".to_owned();
                return Err(Error::NoProjectFile { reason });
            }
            GroupChange::Inherit => {
                let files: Vec<_> =
                    self.project_files.iter().map(|file| format!("'{}'", file.display())).collect();
                let reason = format!("there are no `reservations` in {}", files.join(" and "));
                return Err(Error::NoGroup { reason });
            }
        };
        if group.services.is_empty() {
            let reason = format!(
                "`reservations.services` is empty in '{}' line {}: at least one is required",
                group.file.display(),
                group.line
            );
            return Err(Error::NoGroup { reason });
        }
        if !group.fits(self.ports) {
            let reason = format!(
                "invalid in '{}' line {}: it lies outside the port range {} (min: {}, max: {})",
                group.file.display(),
                group.line,
                self.ports,
                self.origin(Setting::PortMin),
                self.origin(Setting::PortMax)
            );
            return Err(Error::Config { setting: "reservations.base", reason });
        }
        Ok(group)
    }
}

/// The caller's own values, the source of the highest precedence. Most switches they can turn on, but not
/// off.
fn explicit(options: RegistryOptions) -> Layer {
    let mut layer = Layer::default();
    layer.excluded = options.excluded;
    let mut set = |setting, value| layer.set(setting, value, Origin::Argument(options.origin));
    for range in PortUse::ALL {
        if let Some(min) = options.min.or(options.ports.map(PortRange::min)) {
            set(range.min(), Value::Port(min));
        }
        if let Some(max) = options.max.or(options.ports.map(PortRange::max)) {
            set(range.max(), Value::Port(max));
        }
    }
    if let Some(avoid) = options.avoid_unsafe_ports {
        set(Setting::AvoidUnsafePorts, Value::Switch(avoid));
    }
    let occupancy = options.occupancy;
    for (setting, is_on) in [
        (Setting::DisableAutoinit, !options.create),
        (Setting::SkipOccupancyCheck, occupancy.skip),
        (Setting::SkipTcp, occupancy.skip_tcp),
        (Setting::SkipUdp, occupancy.skip_udp),
        (Setting::SkipIpv4, occupancy.skip_ipv4),
        (Setting::SkipIpv6, occupancy.skip_ipv6),
    ] {
        if is_on {
            set(setting, Value::Switch(true));
        }
    }
    if let Some(all) = occupancy.check_all_interfaces {
        set(Setting::CheckAllInterfaces, Value::Switch(all));
    }
    layer
}

/// The effective range. It is checked after all sources are merged, because a source of higher precedence may
/// correct a conflict between lower ones.
fn range(used: PortUse, min: Option<&Sourced<Port>>, upper: Option<&Sourced<Upper>>) -> Result<PortRange> {
    let (setting, default) = (used.block(), used.default_range());
    let (min, min_origin) = min.map_or((default.min(), &Origin::Default), |min| (min.value, &min.origin));
    let (max, max_origin) = match upper {
        Some(Sourced { value: Upper::Max(max), origin }) => (*max, origin),
        Some(Sourced { value: Upper::Offset(offset), origin }) => {
            let max = min.above(*offset).ok_or_else(|| {
                let reason =
                    format!("min {min} ({min_origin}) plus max_offset {offset} ({origin}) is above 65535");
                Error::Config { setting, reason }
            })?;
            (max, origin)
        }
        None => (default.max(), &Origin::Default),
    };
    PortRange::between(min, max).ok_or_else(|| Error::Config {
        setting,
        reason: format!(
            "min {min} ({min_origin}) is above max {max} ({max_origin}); give both ends of the range"
        ),
    })
}

/// Builds the configuration from the merged layers. `explicit_wait` is the caller's lock wait, which need not
/// be a whole number of seconds.
fn settle(
    layer: Layer,
    (ports, lease_ports): (PortRange, PortRange),
    explicit_wait: Option<Duration>,
    project_files: Vec<PathBuf>,
    argument: &'static str,
) -> Configuration {
    /// How long to wait when nothing is configured.
    const DEFAULT_LOCK_WAIT: Duration = Duration::from_secs(5);
    const DEFAULT_EXPIRY_DAYS: u32 = 30;

    let mut origins = layer.origins();
    if explicit_wait.is_some() {
        origins.insert(Setting::BusyTimeout, Origin::Argument(argument));
    }
    let configured_wait = layer.number(Setting::BusyTimeout).map(Duration::from_secs);
    let days = layer.number(Setting::ExpireAfterDays).and_then(|days| u32::try_from(days).ok());
    let is_on = |setting| layer.switch(setting).unwrap_or(false);
    let change = is_on(Setting::AllowChange);
    let avoid_unsafe_ports = layer.switch(Setting::AvoidUnsafePorts).unwrap_or(true);
    let mut passed_over = if avoid_unsafe_ports { unsafe_ports() } else { PortSet::default() };
    passed_over.insert_set(&layer.excluded);
    Configuration {
        ports,
        lease_ports,
        occupancy: OccupancyPolicy {
            skip: is_on(Setting::SkipOccupancyCheck),
            skip_tcp: is_on(Setting::SkipTcp),
            skip_udp: is_on(Setting::SkipUdp),
            skip_ipv4: is_on(Setting::SkipIpv4),
            skip_ipv6: is_on(Setting::SkipIpv6),
            check_all_interfaces: layer.switch(Setting::CheckAllInterfaces),
        },
        expire_after_days: days.unwrap_or(DEFAULT_EXPIRY_DAYS),
        disable_autoprune: is_on(Setting::DisableAutoprune),
        disable_autoexpire: is_on(Setting::DisableAutoexpire),
        allow_unrelated_path: is_on(Setting::AllowUnrelatedPath),
        allow_change_project: change || is_on(Setting::AllowChangeProject),
        allow_change_task: change || is_on(Setting::AllowChangeTask),
        busy_timeout: explicit_wait.or(configured_wait).unwrap_or(DEFAULT_LOCK_WAIT),
        create: !is_on(Setting::DisableAutoinit),
        output_format: layer.output_format().unwrap_or_default(),
        project: layer.text(Setting::Project),
        task: layer.text(Setting::Task),
        ends: layer.ends(PortUse::Reservations),
        lease_ends: layer.ends(PortUse::Leases),
        avoid_unsafe_ports,
        passed_over,
        excluded: layer.excluded,
        group: layer.group,
        project_files,
        origins,
        argument,
    }
}
