//! The settings of one source, and how a source of higher precedence overrides a lower one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::group::Group;
use super::setting::{PortUse, Setting};
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
    /// An explicit value of the caller, with the caller's word for it: `argument` or `command line`.
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

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// The upper end of a port range, in one of its two forms.
#[derive(Clone, Copy, Debug)]
pub(super) enum Upper {
    Max(Port),
    Offset(u64),
}

/// The ends of a port range, as far as they are given.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    pub(super) min: Option<Sourced<Port>>,
    pub(super) upper: Option<Sourced<Upper>>,
}

/// The value of a setting, in the form that its [`Kind`](super::setting::Kind) asks for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Switch(bool),
    Text(String),
    Port(Port),
    Number(u64),
    Ports(PortSet),
    OutputFormat(OutputFormat),
}

impl Value {
    pub(super) fn port(&self) -> Option<Port> {
        match self {
            Value::Port(port) => Some(*port),
            _ => None,
        }
    }
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

/// What a source does to the group. The key can be omitted, given or null.
#[derive(Clone, Debug, Default)]
pub(super) enum GroupChange {
    #[default]
    Inherit,
    Replace(Group),
    /// The key is null; the origin says where.
    Clear(Origin),
}

/// The settings of one source. Settings that it leaves out are inherited.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    values: BTreeMap<Setting, Sourced<Value>>,
    pub(super) excluded: PortSet,
    pub(super) group: GroupChange,
}

impl Layer {
    /// Sets a value, replacing an earlier one. Ports are added to the earlier ones instead.
    pub(super) fn set(&mut self, setting: Setting, value: Value, origin: Origin) {
        if let Value::Ports(ports) = value {
            self.excluded.insert_set(&ports);
            return;
        }
        for range in PortUse::ALL {
            let forms = [range.max(), range.max_offset()];
            if forms.contains(&setting) {
                // Both settings stand for the same value, so either one replaces both.
                self.values.retain(|other, _| !forms.contains(other));
            }
        }
        self.values.insert(setting, Sourced { value, origin });
    }

    /// Overrides this source with one of higher precedence.
    pub(super) fn merge(&mut self, higher: Layer) {
        for (setting, Sourced { value, origin }) in higher.values {
            self.set(setting, value, origin);
        }
        self.excluded.insert_set(&higher.excluded);
        match higher.group {
            GroupChange::Inherit => {}
            other => self.group = other,
        }
    }

    pub(super) fn switch(&self, setting: Setting) -> Option<bool> {
        match self.value(setting) {
            Some(Value::Switch(is_on)) => Some(*is_on),
            _ => None,
        }
    }

    pub(super) fn text(&self, setting: Setting) -> Option<String> {
        match self.value(setting) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn number(&self, setting: Setting) -> Option<u64> {
        match self.value(setting) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn output_format(&self) -> Option<OutputFormat> {
        match self.value(Setting::OutputFormat) {
            Some(Value::OutputFormat(format)) => Some(*format),
            _ => None,
        }
    }

    /// The ends of a port range, as far as they are given.
    pub(super) fn ends(&self, range: PortUse) -> Ends {
        Ends { min: self.min(range.min()), upper: self.upper(range) }
    }

    fn min(&self, setting: Setting) -> Option<Sourced<Port>> {
        match self.values.get(&setting)? {
            Sourced { value: Value::Port(port), origin } => {
                Some(Sourced { value: *port, origin: origin.clone() })
            }
            _ => None,
        }
    }

    fn upper(&self, range: PortUse) -> Option<Sourced<Upper>> {
        let set = self.values.get(&range.max()).or_else(|| self.values.get(&range.max_offset()))?;
        let value = match set.value {
            Value::Port(port) => Upper::Max(port),
            Value::Number(offset) => Upper::Offset(offset),
            _ => return None,
        };
        Some(Sourced { value, origin: set.origin.clone() })
    }

    /// Where each value came from. The upper end of a port range is [`Setting::PortMax`] or
    /// [`Setting::LeasePortMax`] in either form.
    pub(super) fn origins(&self) -> BTreeMap<Setting, Origin> {
        let name = |setting| {
            let range = PortUse::ALL.into_iter().find(|range| range.max_offset() == setting);
            range.map_or(setting, PortUse::max)
        };
        self.values.iter().map(|(setting, set)| (name(*setting), set.origin.clone())).collect()
    }

    fn value(&self, setting: Setting) -> Option<&Value> {
        self.values.get(&setting).map(|set| &set.value)
    }
}
