//! What one source says, and how a higher source is put over a lower one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::group::Group;
use super::setting::Setting;
use crate::model::{Port, PortSet};

/// Where the value of a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Built in.
    Default,
    /// A file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(&'static str),
    /// An explicit value of the caller, in the caller's words: `argument` or `command line`.
    Argument(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("built-in default"),
            Origin::File { path, line } => write!(f, "'{}' line {line}", path.display()),
            Origin::Variable(name) => write!(f, "variable {name}"),
            Origin::Argument(name) => f.write_str(name),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// The upper end of a port range, in one of its two forms.
#[derive(Clone, Copy, Debug)]
pub(super) enum Upper {
    Max(Port),
    Offset(u16),
}

/// How lists are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputFormat {
    /// Columns for people.
    #[default]
    Table,
    /// A JSON array.
    Json,
    /// Comma-separated values.
    Csv,
    /// Tab-separated values.
    Tsv,
}

impl OutputFormat {
    pub(super) const NAMES: &str = "table, json, csv or tsv";

    pub(super) fn parse(name: &str) -> Option<OutputFormat> {
        Some(match name {
            "table" => OutputFormat::Table,
            "json" => OutputFormat::Json,
            "csv" => OutputFormat::Csv,
            "tsv" => OutputFormat::Tsv,
            _ => return None,
        })
    }
}

/// What a source says about the group: the three states of a key that can be omitted, given or null.
#[derive(Clone, Debug, Default)]
pub(super) enum GroupChange {
    #[default]
    Inherit,
    Replace(Group),
    /// The origin is the null.
    Clear(Origin),
}

/// What one source says; what it does not say is inherited.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) project: Option<Sourced<String>>,
    pub(super) task: Option<Sourced<String>>,
    pub(super) min: Option<Sourced<Port>>,
    pub(super) upper: Option<Sourced<Upper>>,
    pub(super) excluded: PortSet,
    pub(super) expire_after_days: Option<Sourced<u32>>,
    pub(super) busy_timeout: Option<Sourced<u64>>,
    pub(super) output_format: Option<Sourced<OutputFormat>>,
    pub(super) switches: BTreeMap<Setting, Sourced<bool>>,
    pub(super) group: GroupChange,
}

impl Layer {
    /// Puts a higher source over this one.
    pub(super) fn merge(&mut self, higher: Layer) {
        fn replace<T>(lower: &mut Option<T>, higher: Option<T>) {
            if higher.is_some() {
                *lower = higher;
            }
        }
        replace(&mut self.project, higher.project);
        replace(&mut self.task, higher.task);
        replace(&mut self.min, higher.min);
        // Either form replaces both: they are one value.
        replace(&mut self.upper, higher.upper);
        self.excluded.insert_set(&higher.excluded);
        replace(&mut self.expire_after_days, higher.expire_after_days);
        replace(&mut self.busy_timeout, higher.busy_timeout);
        replace(&mut self.output_format, higher.output_format);
        self.switches.extend(higher.switches);
        match higher.group {
            GroupChange::Inherit => {}
            other => self.group = other,
        }
    }

    pub(super) fn is_on(&self, setting: Setting) -> bool {
        self.switches.get(&setting).is_some_and(|switch| switch.value)
    }
}
