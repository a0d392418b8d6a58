//! `reserve_group`: the ports of all services of a group, together or not at all.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::allocation::{Allocation, AutoCleanup, ObstacleChecks, with_cleanup_retry};
use super::cleanup::Cleanup;
use super::metadata::{Field, MayChange, Metadata};
use crate::config::{Group, is_variable_name};
use crate::machine::{OccupancyPolicy, ProbeCache};
use crate::model::{Error, Key, Port, PortRange, Refusal, Reservation, Result, Tag, Timestamp, paths};
use crate::registry::Registry;
use crate::store::{self, Selection};

/// Which group to reserve. All fields have defaults.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "each is an independent switch of the contract")]
pub struct GroupRequest {
    /// The file that defines the group; none means the project files of the registry's configuration. With a
    /// file named here, the configuration is resolved again with this file, except for the lock wait and what
    /// may be created.
    pub file: Option<PathBuf>,
    /// The task to store; none means the registry's, else the stored one, else the name that git gives.
    pub task: Option<String>,
    /// Probes to leave out or to add, in addition to the policy of the configuration.
    pub occupancy: OccupancyPolicy,
    /// Whether the path may be unrelated to the working directory; true by default.
    pub allow_unrelated_path: bool,
    /// Whether the stored project may be changed.
    pub allow_project_change: bool,
    /// Whether the stored task may be changed.
    pub allow_task_change: bool,
    /// All three permissions, and the replacement of stored reservations that do not match the group.
    pub force: bool,
}

impl Default for GroupRequest {
    fn default() -> GroupRequest {
        GroupRequest {
            file: None,
            task: None,
            occupancy: OccupancyPolicy::default(),
            allow_unrelated_path: true,
            allow_project_change: false,
            allow_task_change: false,
            force: false,
        }
    }
}

impl GroupRequest {
    /// Replaces the file by the absolute path that it means now, for requests that are executed later or on
    /// another thread.
    ///
    /// # Errors
    /// [`Error::Io`] without a working directory.
    pub fn pin_file(&mut self) -> Result<()> {
        if let Some(file) = self.file.as_mut().filter(|file| file.is_relative()) {
            *file = paths::current_dir()?.join(&file);
        }
        Ok(())
    }
}

/// What [`Registry::reserve_group`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReservedGroup {
    /// The file that defines the group.
    pub file: PathBuf,
    /// The path of its reservations: the physical directory of the file.
    pub path: String,
    /// The services, ordered by tag.
    pub members: Vec<Member>,
    /// What became of the reservations that were stored before.
    pub outcome: GroupOutcome,
    /// What had to be removed because the range was exhausted.
    pub cleanup: Option<Cleanup>,
}

/// A service of a group and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The reservation, which has a tag.
    pub reservation: Reservation,
    /// The name of the environment variable for the port.
    pub variable: String,
    /// Why a service that was given a new port did not get its preferred one.
    pub refusal: Option<Refusal>,
}

impl Member {
    /// The tag of the service.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.reservation.key.tag_text()
    }

    /// The port of the service.
    #[must_use]
    pub fn port(&self) -> Port {
        self.reservation.port
    }
}

/// What became of the reservations a group had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupOutcome {
    /// There were none.
    Created,
    /// They match the group and keep their ports.
    Kept,
    /// They did not match the group and were replaced, because the request was forced.
    Replaced,
}

/// By what the ports of a group are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupKey {
    /// By the tags of the services.
    #[default]
    Tag,
    /// By the names of their environment variables.
    Variable,
}

impl ReservedGroup {
    /// The ports by name, in the order of the tags.
    ///
    /// # Errors
    /// [`Error::Config`] when the name of a variable is not valid for a shell, or not unique. The
    /// configuration was checked for this; the check is repeated where it matters.
    pub fn ports_by(&self, key: GroupKey) -> Result<Vec<(&str, Port)>> {
        let mut seen = HashSet::new();
        self.members
            .iter()
            .map(|member| {
                if key == GroupKey::Tag {
                    return Ok((member.tag(), member.port()));
                }
                let name = member.variable.as_str();
                let taken = !seen.insert(name.to_ascii_uppercase());
                if taken || !is_variable_name(name) {
                    let reason = "the name of a variable is not fit for a shell, or not unique".to_owned();
                    return Err(Error::Config { setting: "reservations.services.env", reason });
                }
                Ok((name, member.port()))
            })
            .collect()
    }
}

/// A request with everything decided that does not depend on the database.
struct Plan<'r> {
    request: &'r GroupRequest,
    group: &'r Group,
    path: String,
    metadata: Metadata,
    occupancy: OccupancyPolicy,
}

/// A port for each service, in their order.
type Ports = Vec<(Port, Option<Refusal>)>;

impl Registry {
    /// Reserves the ports of a group: those it has, else the preferred ones that are available, and for the
    /// other services the lowest ones that lie at their offsets from a common base.
    ///
    /// An exhausted range is cleaned up, as far as that is not switched off, and tried once more.
    ///
    /// # Errors
    /// [`Error::NoProjectFile`], [`Error::NoGroup`], [`Error::GroupConflict`] when the tagged reservations of
    /// the path do not match the group, [`Error::Exhausted`], [`Error::Busy`], [`Error::UnrelatedPath`],
    /// [`Error::StickyField`], [`Error::InvalidArgument`] for a missing file or a bad task, [`Error::Config`]
    /// for a bad file, and every error of the database. Nothing is changed then.
    pub fn reserve_group(&self, request: &GroupRequest) -> Result<ReservedGroup> {
        Ok(self.reserve_group_with(request, |_| Ok(()))?.0)
    }

    /// Like [`Registry::reserve_group`], but calls `format` before anything is committed. When that fails,
    /// nothing is changed. It may run more than once.
    ///
    /// # Errors
    /// As [`Registry::reserve_group`], and those of `format`.
    pub fn reserve_group_with<T>(
        &self,
        request: &GroupRequest,
        mut format: impl FnMut(&ReservedGroup) -> Result<T>,
    ) -> Result<(ReservedGroup, T)> {
        if let Some(file) = &request.file {
            let registry = self.configured_by(file)?;
            return registry.reserve_group_with(&GroupRequest { file: None, ..request.clone() }, format);
        }
        let settings = self.configuration();
        let group = self.group()?;
        let task = request.task.clone().map_or(Field::Omitted, Field::Set);
        let may_change = MayChange {
            project: request.allow_project_change || request.force,
            task: request.allow_task_change || request.force,
        };
        let mut plan = Plan {
            request,
            group,
            path: path(group)?,
            metadata: Metadata::new(settings, &Field::Omitted, &task, may_change)?,
            occupancy: settings.occupancy.with(request.occupancy),
        };
        // As for a single reservation, this is determined before the lock is taken and reported afterwards.
        let related = request.allow_unrelated_path || request.force || self.is_related(&plan.path)?;
        let read_rows = || self.read(|snapshot| tagged(snapshot, &plan.path));
        if related && plan.metadata.needs_git() && read_rows()?.is_empty() {
            plan.metadata.ask_git(self.checkouts(), &plan.path);
        }
        self.write(|transaction| {
            if !related {
                return Err(self.unrelated(&plan.path));
            }
            let reserved = self.reconcile(transaction, &plan)?;
            let formatted = format(&reserved)?;
            Ok((reserved, formatted))
        })
    }

    /// The group that the configuration defines, checked so that it can be reserved.
    ///
    /// # Errors
    /// As [`Configuration::group`](crate::Configuration::group), [`Error::Io`] when the working directory, in
    /// which the search would begin, is gone, and [`Error::UnresolvablePath`] when the directory of the file
    /// cannot be stored.
    pub fn group(&self) -> Result<&Group> {
        let group = self.configuration().group();
        if let (Err(Error::NoProjectFile { .. }), Some(start)) = (&group, self.discovery_start()) {
            let start = start?.display();
            let reason = format!("there is no trop.yaml or trop.local.yaml in '{start}' or above it");
            return Err(Error::NoProjectFile { reason });
        }
        let group = group?;
        path(group)?;
        Ok(group)
    }

    /// Creates, keeps or replaces the stored reservations, or refuses to.
    fn reconcile(&self, connection: &Connection, plan: &Plan<'_>) -> Result<ReservedGroup> {
        let rows = tagged(connection, &plan.path)?;
        if rows.is_empty() {
            return self.place(connection, plan, plan.metadata.initial(), GroupOutcome::Created);
        }
        match difference(plan.group, &rows, self.configuration().ports) {
            None => plan.keep(connection, rows),
            Some(_) if plan.request.force => {
                let project =
                    common("project", &plan.path, &plan.metadata.project, &rows, |row| &row.project)?;
                let task = common("task", &plan.path, &plan.metadata.task, &rows, |row| &row.task)?;
                for row in &rows {
                    store::remove(connection, &row.key)?;
                }
                self.place(connection, plan, (project, task), GroupOutcome::Replaced)
            }
            Some(reason) => Err(Error::GroupConflict { path: plan.path.clone(), reason, is_forced: false }),
        }
    }

    /// Gives every service a new port.
    fn place(
        &self,
        connection: &Connection,
        plan: &Plan<'_>,
        (project, task): (Option<String>, Option<String>),
        outcome: GroupOutcome,
    ) -> Result<ReservedGroup> {
        let attempt = |probes: &mut ProbeCache| self.allocate_group(connection, plan, probes);
        let (ports, cleanup) =
            with_cleanup_retry(self, connection, plan.occupancy, AutoCleanup::ALL, attempt)?;
        let now = Timestamp::now();
        let mut members = Vec::with_capacity(ports.len());
        for ((port, refusal), service) in ports.into_iter().zip(&plan.group.services) {
            let reservation = Reservation {
                port,
                key: Key::stored(plan.path.clone(), Some(service.tag.clone())),
                project: project.clone(),
                task: task.clone(),
                created_at: now,
                last_used_at: now,
            };
            store::insert(connection, &reservation)?;
            members.push(Member { reservation, variable: service.variable.clone(), refusal });
        }
        Ok(plan.reserved(members, outcome, cleanup))
    }

    fn allocate_group(
        &self,
        connection: &Connection,
        plan: &Plan<'_>,
        probes: &mut ProbeCache,
    ) -> Result<Ports> {
        let services = &plan.group.services;
        let range = self.configuration().ports;
        let mut allocation = Allocation::new(self, connection, range, probes);
        allocation.read_reserved(services.iter().filter_map(|service| service.preferred))?;
        // A preferred port may lie outside the range.
        let checks = ObstacleChecks { range: false, ..ObstacleChecks::PREFERRED };
        let mut ports: Vec<(Option<Port>, Option<Refusal>)> = Vec::with_capacity(services.len());
        for service in services {
            let refusal = match service.preferred {
                Some(port) => allocation.obstacle(port, checks)?,
                None => None,
            };
            let pinned = service.preferred.filter(|_| refusal.is_none());
            ports.push((pinned, refusal));
        }
        // A port that one service was given must not be used at the offset of another.
        ports.iter().filter_map(|(port, _)| *port).for_each(|port| allocation.note_given(port));
        let offsets: Vec<u16> = services
            .iter()
            .zip(&ports)
            .filter_map(|(service, (port, _))| port.is_none().then_some(service.offset))
            .collect();
        let start = plan.group.base.unwrap_or(range.min());
        let base = lowest_base(&mut allocation, &offsets, start, range)?;
        services
            .iter()
            .zip(ports)
            .map(|(service, (port, refusal))| {
                let port = port.or_else(|| base.plus(service.offset));
                let port =
                    port.ok_or_else(|| Error::invalid("reservations", "an offset leads above 65535"))?;
                Ok((port, refusal))
            })
            .collect()
    }
}

impl Plan<'_> {
    /// Uses the stored reservations.
    fn keep(&self, connection: &Connection, rows: Vec<Reservation>) -> Result<ReservedGroup> {
        let now = Timestamp::now();
        let mut members = Vec::with_capacity(rows.len());
        for (row, service) in rows.into_iter().zip(&self.group.services) {
            let reservation = self.metadata.used(&row, now)?;
            if reservation != row {
                store::refresh(connection, &reservation)?;
            }
            members.push(Member { reservation, variable: service.variable.clone(), refusal: None });
        }
        Ok(self.reserved(members, GroupOutcome::Kept, None))
    }

    fn reserved(
        &self,
        members: Vec<Member>,
        outcome: GroupOutcome,
        cleanup: Option<Cleanup>,
    ) -> ReservedGroup {
        ReservedGroup { file: self.group.file.clone(), path: self.path.clone(), members, outcome, cleanup }
    }
}

/// The path of a group's reservations.
fn path(group: &Group) -> Result<String> {
    paths::normalise("file", group.file.parent().unwrap_or(Path::new("/")))
}

/// The rows a group may consist of, in the order of their tags.
fn tagged(connection: &Connection, path: &str) -> Result<Vec<Reservation>> {
    let mut rows = store::select(connection, path, Selection::All, false)?;
    rows.retain(|row| row.key.tag().is_some());
    Ok(rows)
}

/// Describes why the stored rows do not match the group; `None` if they do. It repeats no stored text. Both
/// are ordered by tag.
fn difference(group: &Group, rows: &[Reservation], range: PortRange) -> Option<String> {
    let services = &group.services;
    let defined: BTreeSet<&Tag> = services.iter().map(|service| &service.tag).collect();
    let stored: BTreeSet<&Tag> = rows.iter().filter_map(|row| row.key.tag()).collect();
    let (missing, extra) = (defined.difference(&stored).count(), stored.difference(&defined).count());
    let mut parts = Vec::new();
    if missing > 0 {
        parts.push(format!("{missing} of {} services without a reservation", services.len()));
    }
    if extra > 0 {
        let reserved = "a tag of its own, as `reserve --tag` gives, counts";
        parts.push(format!(
            "{extra} of {} tagged reservations that are no service of it ({reserved})",
            rows.len()
        ));
    }
    if !parts.is_empty() {
        return Some(format!("what is stored is not this group: {}", parts.join(", and ")));
    }
    let mut common = None;
    for (service, row) in services.iter().zip(rows) {
        if service.preferred == Some(row.port) {
            continue;
        }
        let base = row.port.get().checked_sub(service.offset).and_then(Port::from_number);
        match base {
            Some(base) if *common.get_or_insert(base) == base => {}
            _ => {
                return Some(
                    "the stored ports do not have the shape of the group: they are neither the preferred ones nor \
                     at their offsets from one base"
                        .to_owned(),
                );
            }
        }
        if !range.contains(row.port) || common.is_some_and(|base| !range.contains(base)) {
            return Some(format!("the stored ports, or their base, lie outside the port range {range}"));
        }
    }
    None
}

/// The project or the task that a replacement stores: the requested one, else the one that all old rows have.
fn common<'r>(
    field: &'static str,
    path: &str,
    asked: &Field,
    rows: &'r [Reservation],
    of: impl Fn(&'r Reservation) -> &'r Option<String>,
) -> Result<Option<String>> {
    if let Field::Set(text) = asked {
        return Ok(Some(text.clone()));
    }
    let mut values = rows.iter().map(of);
    let first = values.next().cloned().flatten();
    if values.any(|value| *value != first) {
        let reason = format!(
            "the stored reservations to be replaced do not have the same {field}; give the {field} the new ones are \
             to have"
        );
        return Err(Error::GroupConflict { path: path.to_owned(), reason, is_forced: true });
    }
    Ok(first)
}

/// The lowest base from `start` on at whose offsets every port is usable. Closing ports are used if there is
/// none without them.
fn lowest_base(
    allocation: &mut Allocation<'_>,
    offsets: &[u16],
    start: Port,
    range: PortRange,
) -> Result<Port> {
    let highest = offsets.iter().copied().max().unwrap_or(0);
    for checks in [ObstacleChecks::FOUND, ObstacleChecks::MAY_BE_CLOSING] {
        'bases: for base in range.ports().skip_while(|port| *port < start) {
            if base.plus(highest).is_none_or(|port| port > range.max()) {
                break;
            }
            for port in offsets.iter().map(|offset| base.plus(*offset)) {
                let Some(port) = port else { continue 'bases };
                if allocation.obstacle(port, checks)?.is_some() {
                    continue 'bases;
                }
            }
            return Ok(base);
        }
    }
    Err(allocation.exhausted())
}
