//! The options of the calls, as `index.js` hands them over, and the core's requests they stand for.
//!
//! What is absent has the core's default. Those of the calls that are made often come one by one and the switches as one
//! number, because reading the properties of an object takes longer than all else that the addon does for a call.

#![allow(missing_docs, reason = "they are the core's options")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use napi_derive::napi;
use trop_core::{
    Discovery, Field, Filter, GroupKey, GroupRequest, Key, LeaseRequest, MigrateRequest, Port, PortRange,
    RegistryOptions, ReleaseRequest, ReserveRequest, Result, ScanRequest, Tag, resolve_path,
};

use crate::switches::{
    ALLOW_PROJECT_CHANGE, ALLOW_TASK_CHANGE, CLEAR_PROJECT, CLEAR_TASK, CONTIGUOUS, DISABLE_AUTOEXPIRE,
    DISABLE_AUTOPRUNE, FORCE, HOLD, IGNORE_EXCLUSIONS, IGNORE_OCCUPIED, OVERWRITE, RECURSIVE,
    REFUSE_UNRELATED_PATH, UNTAGGED_ONLY, occupancy,
};

pub(crate) fn reserve(
    [path, tag, project, task]: [Option<String>; 4],
    [preferred, min, max]: [Option<i64>; 3],
    switches: u32,
) -> Result<ReserveRequest> {
    let has = |switch| switches & switch != 0;
    let mut request = ReserveRequest::default();
    request.path = path.map(PathBuf::from);
    request.tag = self::tag(tag)?;
    request.project = Field::new("clear_project", project, has(CLEAR_PROJECT))?;
    request.task = Field::new("clear_task", task, has(CLEAR_TASK))?;
    request.preferred = port("port", preferred)?;
    request.min = port("min", min)?;
    request.max = port("max", max)?;
    request.occupancy = occupancy(switches);
    request.overwrite = has(OVERWRITE);
    request.ignore_occupied = has(IGNORE_OCCUPIED);
    request.ignore_exclusions = has(IGNORE_EXCLUSIONS);
    request.allow_unrelated_path = !has(REFUSE_UNRELATED_PATH);
    request.allow_project_change = has(ALLOW_PROJECT_CHANGE);
    request.allow_task_change = has(ALLOW_TASK_CHANGE);
    request.force = has(FORCE);
    request.disable_autoprune = has(DISABLE_AUTOPRUNE);
    request.disable_autoexpire = has(DISABLE_AUTOEXPIRE);
    Ok(request)
}

pub(crate) fn release(path: Option<String>, tag: Option<String>, switches: u32) -> Result<ReleaseRequest> {
    let has = |switch| switches & switch != 0;
    let mut request = ReleaseRequest::default();
    request.path = path.map(PathBuf::from);
    request.tag = self::tag(tag)?;
    request.untagged_only = has(UNTAGGED_ONLY);
    request.recursive = has(RECURSIVE);
    request.allow_unrelated_path = !has(REFUSE_UNRELATED_PATH);
    Ok(request)
}

pub(crate) fn key(path: Option<String>, tag: Option<String>) -> Result<Key> {
    Key::new(path.as_deref().map(Path::new), self::tag(tag)?)
}

pub(crate) fn lease(
    [preferred, min, max]: [Option<i64>; 3],
    label: Option<String>,
    switches: u32,
) -> Result<LeaseRequest> {
    let has = |switch| switches & switch != 0;
    let mut request = LeaseRequest::default();
    request.preferred = port("port", preferred)?;
    request.min = port("min", min)?;
    request.max = port("max", max)?;
    request.occupancy = occupancy(switches);
    request.label = label;
    request.contiguous = has(CONTIGUOUS);
    request.hold = has(HOLD);
    Ok(request)
}

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
pub struct ReleasePortOptions {
    pub force: Option<bool>,
    pub dry_run: Option<bool>,
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
    pub(crate) fn registry(self, switches: u32) -> Result<RegistryOptions> {
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
        options.occupancy = occupancy(switches);
        Ok(options)
    }
}

impl GroupOptions {
    pub(crate) fn request(self, switches: u32) -> Result<GroupRequest> {
        let mut request = GroupRequest::default();
        request.file = self.file.map(PathBuf::from);
        request.task = self.task;
        request.occupancy = occupancy(switches);
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
