//! The options of the calls, as `index.js` hands them over, and the core's requests they stand for.
//!
//! What is absent has the core's default.

#![allow(missing_docs, reason = "they are the core's options")]

use std::path::PathBuf;
use std::time::Duration;

use napi_derive::napi;
use trop_core::{
    Discovery, Field, Filter, GroupKey, GroupRequest, Key, LeaseRequest, MigrateRequest, OccupancyPolicy,
    Port, PortRange, RegistryOptions, ReleaseRequest, ReserveRequest, Result, ScanRequest, Tag, resolve_path,
};

#[napi(object, object_to_js = false)]
pub struct OpenOptions {
    pub data_dir: Option<String>,
    pub create: Option<bool>,
    /// Milliseconds.
    pub busy_timeout: Option<i64>,
    pub ports: Option<(i64, i64)>,
    /// A comma list of ports and ranges.
    pub excluded: Option<String>,
    pub discovery: Option<bool>,
    pub start_dir: Option<String>,
    pub config_file: Option<String>,
    pub variables: Option<bool>,
}

/// The switches of the occupancy check, which several calls have among their options.
#[napi(object, object_to_js = false)]
pub struct OccupancyOptions {
    pub skip_occupancy_check: Option<bool>,
    pub skip_tcp: Option<bool>,
    pub skip_udp: Option<bool>,
    pub skip_ipv4: Option<bool>,
    pub skip_ipv6: Option<bool>,
    pub check_all_interfaces: Option<bool>,
}

#[napi(object, object_to_js = false)]
pub struct ReserveOptions {
    pub path: Option<String>,
    pub tag: Option<String>,
    pub project: Option<String>,
    pub clear_project: Option<bool>,
    pub task: Option<String>,
    pub clear_task: Option<bool>,
    pub port: Option<i64>,
    pub min: Option<i64>,
    pub max: Option<i64>,
    pub overwrite: Option<bool>,
    pub ignore_occupied: Option<bool>,
    pub ignore_exclusions: Option<bool>,
    pub allow_unrelated_path: Option<bool>,
    pub allow_project_change: Option<bool>,
    pub allow_task_change: Option<bool>,
    pub force: Option<bool>,
    pub disable_autoprune: Option<bool>,
    pub disable_autoexpire: Option<bool>,
    pub dry_run: Option<bool>,
}

#[napi(object, object_to_js = false)]
pub struct GroupOptions {
    pub file: Option<String>,
    pub task: Option<String>,
    /// `tag` or `variable`.
    pub by: Option<String>,
    pub allow_unrelated_path: Option<bool>,
    pub allow_project_change: Option<bool>,
    pub allow_task_change: Option<bool>,
    pub force: Option<bool>,
    pub dry_run: Option<bool>,
}

#[napi(object, object_to_js = false)]
pub struct ReleaseOptions {
    pub path: Option<String>,
    pub tag: Option<String>,
    pub untagged_only: Option<bool>,
    pub recursive: Option<bool>,
    pub allow_unrelated_path: Option<bool>,
    pub dry_run: Option<bool>,
}

#[napi(object, object_to_js = false)]
pub struct ReleasePortOptions {
    pub force: Option<bool>,
    pub dry_run: Option<bool>,
}

#[napi(object, object_to_js = false)]
pub struct LeaseOptions {
    pub port: Option<i64>,
    pub min: Option<i64>,
    pub max: Option<i64>,
    pub label: Option<String>,
    pub contiguous: Option<bool>,
    pub hold: Option<bool>,
}

#[napi(object, object_to_js = false)]
pub struct FindOptions {
    pub path: Option<String>,
    pub tag: Option<String>,
}

#[napi(object, object_to_js = false)]
pub struct ListOptions {
    pub project: Option<String>,
    pub tag: Option<String>,
    pub path: Option<String>,
}

#[napi(object, object_to_js = false)]
pub struct CleanOptions {
    pub days: Option<u32>,
    pub dry_run: Option<bool>,
}

#[napi(object, object_to_js = false)]
pub struct MigrateOptions {
    pub from: String,
    pub to: String,
    pub recursive: Option<bool>,
    pub force: Option<bool>,
    pub dry_run: Option<bool>,
}

#[napi(object, object_to_js = false)]
pub struct ScanOptions {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

impl OpenOptions {
    pub(crate) fn registry(self, occupancy: &OccupancyOptions) -> Result<RegistryOptions> {
        let mut options = RegistryOptions::default();
        options.data_dir = self.data_dir.map(PathBuf::from);
        options.create = self.create.unwrap_or(options.create);
        if let Some(milliseconds) = self.busy_timeout {
            // `index.js` lets no negative number through.
            options.busy_timeout = Some(Duration::from_millis(milliseconds.unsigned_abs()));
        }
        if let Some((min, max)) = self.ports {
            let (min, max) = (Port::new("ports", min)?, Port::new("ports", max)?);
            options.ports = Some(PortRange::new("ports", min, max)?);
        }
        if let Some(list) = self.excluded {
            options.excluded.insert_list("excluded", &list)?;
        }
        let (start_dir, config_file) =
            (self.start_dir.map(PathBuf::from), self.config_file.map(PathBuf::from));
        options.discovery = Discovery::new(self.discovery.unwrap_or(true), start_dir, config_file)?;
        options.variables = self.variables.unwrap_or(options.variables);
        options.occupancy = occupancy.policy();
        Ok(options)
    }
}

impl OccupancyOptions {
    pub(crate) fn policy(&self) -> OccupancyPolicy {
        let mut policy = OccupancyPolicy::default();
        policy.skip = self.skip_occupancy_check.unwrap_or_default();
        policy.skip_tcp = self.skip_tcp.unwrap_or_default();
        policy.skip_udp = self.skip_udp.unwrap_or_default();
        policy.skip_ipv4 = self.skip_ipv4.unwrap_or_default();
        policy.skip_ipv6 = self.skip_ipv6.unwrap_or_default();
        policy.check_all_interfaces = self.check_all_interfaces.unwrap_or_default();
        policy
    }
}

impl ReserveOptions {
    pub(crate) fn request(self, occupancy: &OccupancyOptions) -> Result<ReserveRequest> {
        let mut request = ReserveRequest::default();
        request.path = self.path.map(PathBuf::from);
        request.tag = tag(self.tag)?;
        request.project = Field::new("clear_project", self.project, self.clear_project.unwrap_or_default())?;
        request.task = Field::new("clear_task", self.task, self.clear_task.unwrap_or_default())?;
        request.preferred = port("port", self.port)?;
        request.min = port("min", self.min)?;
        request.max = port("max", self.max)?;
        request.occupancy = occupancy.policy();
        request.overwrite = self.overwrite.unwrap_or_default();
        request.ignore_occupied = self.ignore_occupied.unwrap_or_default();
        request.ignore_exclusions = self.ignore_exclusions.unwrap_or_default();
        request.allow_unrelated_path = self.allow_unrelated_path.unwrap_or(request.allow_unrelated_path);
        request.allow_project_change = self.allow_project_change.unwrap_or_default();
        request.allow_task_change = self.allow_task_change.unwrap_or_default();
        request.force = self.force.unwrap_or_default();
        request.disable_autoprune = self.disable_autoprune.unwrap_or_default();
        request.disable_autoexpire = self.disable_autoexpire.unwrap_or_default();
        request.pin_path()?;
        Ok(request)
    }
}

impl GroupOptions {
    pub(crate) fn request(self, occupancy: &OccupancyOptions) -> Result<GroupRequest> {
        let mut request = GroupRequest::default();
        request.file = self.file.map(PathBuf::from);
        request.task = self.task;
        request.occupancy = occupancy.policy();
        request.allow_unrelated_path = self.allow_unrelated_path.unwrap_or(request.allow_unrelated_path);
        request.allow_project_change = self.allow_project_change.unwrap_or_default();
        request.allow_task_change = self.allow_task_change.unwrap_or_default();
        request.force = self.force.unwrap_or_default();
        request.pin_file()?;
        Ok(request)
    }

    pub(crate) fn key(&self) -> GroupKey {
        // `index.js` lets nothing else through.
        if self.by.as_deref() == Some("variable") { GroupKey::Variable } else { GroupKey::Tag }
    }
}

impl ReleaseOptions {
    pub(crate) fn request(self) -> Result<ReleaseRequest> {
        let mut request = ReleaseRequest::default();
        request.path = self.path.map(PathBuf::from);
        request.tag = tag(self.tag)?;
        request.untagged_only = self.untagged_only.unwrap_or_default();
        request.recursive = self.recursive.unwrap_or_default();
        request.allow_unrelated_path = self.allow_unrelated_path.unwrap_or(request.allow_unrelated_path);
        request.pin_path()?;
        Ok(request)
    }
}

impl LeaseOptions {
    pub(crate) fn request(self, occupancy: &OccupancyOptions) -> Result<LeaseRequest> {
        let mut request = LeaseRequest::default();
        request.preferred = port("port", self.port)?;
        request.min = port("min", self.min)?;
        request.max = port("max", self.max)?;
        request.occupancy = occupancy.policy();
        request.label = self.label;
        request.contiguous = self.contiguous.unwrap_or_default();
        request.hold = self.hold.unwrap_or_default();
        Ok(request)
    }
}

impl FindOptions {
    pub(crate) fn key(self) -> Result<Key> {
        Key::new(self.path.map(PathBuf::from).as_deref(), tag(self.tag)?)
    }
}

impl ListOptions {
    pub(crate) fn filter(self) -> Result<Filter> {
        let mut filter = Filter::default();
        filter.project = self.project;
        filter.tag = self.tag;
        filter.path = match self.path {
            Some(path) => Some(resolve_path(Some(path.as_ref()), false)?.into()),
            None => None,
        };
        Ok(filter)
    }
}

impl MigrateOptions {
    pub(crate) fn request(self) -> Result<MigrateRequest> {
        let mut request = MigrateRequest::new(self.from, self.to);
        request.recursive = self.recursive.unwrap_or_default();
        request.force = self.force.unwrap_or_default();
        request.pin_paths()?;
        Ok(request)
    }
}

impl ScanOptions {
    pub(crate) fn request(&self) -> Result<ScanRequest> {
        let mut request = ScanRequest::default();
        request.min = port("min", self.min)?;
        request.max = port("max", self.max)?;
        Ok(request)
    }
}

fn port(argument: &'static str, number: Option<i64>) -> Result<Option<Port>> {
    number.map(|number| Port::new(argument, number)).transpose()
}

fn tag(text: Option<String>) -> Result<Option<Tag>> {
    text.map(|text| Tag::new(&text)).transpose()
}
