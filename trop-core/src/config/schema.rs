//! The keys of a configuration file: a document becomes a layer, and everything wrong with it a problem with its line.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::document::{self, Node, Value};
use super::group::{self, Stated};
use super::layer::{GroupChange, Layer, Origin, OutputFormat, Sourced, Upper};
use super::setting::{PROBES, SWITCHES, Setting};
use crate::model::{Error, Port, PortRange, PortSet, trimmed};

/// The longest lock wait: what fits into a signed 32-bit number of milliseconds, in whole seconds.
pub(crate) const MAX_LOCK_WAIT: u64 = 2_147_483;

/// Which rules a file has to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `config.yaml` in a data directory: no project, no group.
    User,
    /// `trop.yaml`, `trop.local.yaml` or a file of any other name.
    Project,
}

/// Something wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The key, such as `ports.min`; `configuration` for the file as a whole.
    pub field: &'static str,
    /// What is wrong, and what would be accepted.
    pub reason: String,
}

impl Problem {
    /// The problem as a JSON object with the names of the fields.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let Problem { path, line, field, reason } = self;
        serde_json::json!({ "path": path.to_string_lossy(), "line": line, "field": field, "reason": reason })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { path, line, field, reason } = self;
        write!(f, "validation error: {field}: '{}' line {line}: {reason}", path.display())
    }
}

/// What a text says and everything wrong with it; the layer is of use only when nothing is.
pub(super) fn read(path: &Path, kind: Kind, text: &str) -> (Layer, Vec<Problem>) {
    let mut reader = Reader { path, problems: Vec::new() };
    let layer = match document::parse(text) {
        Ok(None) => Layer::default(),
        Ok(Some(root)) => reader.layer(kind, &root),
        Err(fault) => {
            reader.report(fault.line.max(1), WHOLE, format!("Parse error: {}", fault.reason));
            Layer::default()
        }
    };
    reader.problems.sort_by_key(|problem| problem.line);
    (layer, reader.problems)
}

/// The field of a problem with the file as a whole.
pub(super) const WHOLE: &str = "configuration";

const KEYS: [&str; 14] = [
    "project",
    "ports",
    "excluded_ports",
    "cleanup",
    "occupancy_check",
    "reservations",
    "disable_autoinit",
    "disable_autoprune",
    "disable_autoexpire",
    "allow_unrelated_path",
    "allow_change_project",
    "allow_change_task",
    "allow_change",
    "maximum_lock_wait_seconds",
];

/// Reads values and collects what is wrong with them.
pub(super) struct Reader<'a> {
    path: &'a Path,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// How many problems there are so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    pub(super) fn report(&mut self, line: usize, field: &'static str, reason: impl Into<String>) {
        self.problems.push(Problem { path: self.path.to_path_buf(), line, field, reason: reason.into() });
    }

    fn sourced<T>(&self, value: T, line: usize) -> Sourced<T> {
        Sourced { value, origin: Origin::File { path: self.path.to_path_buf(), line } }
    }

    fn layer(&mut self, kind: Kind, root: &Node) -> Layer {
        let mut layer = Layer::default();
        let keys = [&KEYS[..], &["output_format"]].concat();
        let Some(fields) = self.fields(root, WHOLE, &keys) else { return layer };
        let given = |name: &str| fields.get(name).copied();

        for key in ["project", "reservations"] {
            if let (Kind::User, Some(node)) = (kind, given(key)) {
                let field = if key == "project" { "project" } else { "reservations" };
                self.report(
                    node.line,
                    field,
                    "it belongs in a project file (trop.yaml), not in the user's own",
                );
            }
        }
        if let Some(node) = given("project")
            && let Some(text) = self.text(node, "project")
        {
            match trimmed(text) {
                Ok(project) => layer.project = Some(self.sourced(project.to_owned(), node.line)),
                Err(reason) => self.report(node.line, "project", reason),
            }
        }
        let stated = given("ports").map_or(Stated::default(), |node| self.ports(node, &mut layer));
        if let Some(node) = given("excluded_ports") {
            layer.excluded = self.excluded(node);
        }
        if let Some(node) = given("cleanup")
            && let Some(fields) = self.fields(node, "cleanup", &["expire_after_days"])
            && let Some(node) = fields.get("expire_after_days")
        {
            let days = self.number(node, Setting::ExpireAfterDays.name(), 1, u32::MAX.into());
            layer.expire_after_days = days.map(|days| self.sourced(days, node.line));
        }
        if let Some(node) = given("occupancy_check") {
            let names = PROBES.map(|(name, _)| name);
            let fields = self.fields(node, "occupancy_check", &names).unwrap_or_default();
            for (name, setting) in PROBES {
                self.switch(fields.get(name).copied(), setting, &mut layer);
            }
        }
        for setting in SWITCHES {
            self.switch(given(setting.name()), setting, &mut layer);
        }
        if let Some(node) = given("maximum_lock_wait_seconds") {
            layer.busy_timeout = self.lock_wait(node).map(|seconds| self.sourced(seconds, node.line));
        }
        if let Some(node) = given("output_format")
            && let Some(name) = self.text(node, "output_format")
        {
            match OutputFormat::parse(name) {
                Some(format) => layer.output_format = Some(self.sourced(format, node.line)),
                None => self.report(node.line, "output_format", format!("must be {}", OutputFormat::NAMES)),
            }
        }
        layer.group = match fields.get("reservations") {
            Some(node) => group::read(self, node, stated).map_or(GroupChange::Inherit, GroupChange::Replace),
            None => match null(root, "reservations") {
                Some(node) if kind == Kind::Project => GroupChange::Clear(self.sourced((), node.line).origin),
                _ => GroupChange::Inherit,
            },
        };
        layer
    }

    /// The block `ports`. Returns the range as far as the file itself states it.
    fn ports(&mut self, node: &Node, layer: &mut Layer) -> Stated {
        let Some(fields) = self.fields(node, "ports", &["min", "max", "max_offset"]) else {
            return Stated::default();
        };
        let min = fields.get("min").and_then(|min| self.port(min, Setting::PortMin.name()));
        if !fields.contains_key("min") {
            self.report(node.line, Setting::PortMin.name(), "it is required in a `ports` block");
        }
        let max = fields.get("max").and_then(|max| self.port(max, Setting::PortMax.name()));
        let offset = fields
            .get("max_offset")
            .and_then(|offset| self.number::<u16>(offset, Setting::PortMaxOffset.name(), 1, 65534));
        if let (Some(_), Some(offset)) = (fields.get("max"), fields.get("max_offset")) {
            self.report(
                offset.line,
                Setting::PortMaxOffset.name(),
                "give either `max` or `max_offset`, not both",
            );
        }
        let mut stated = Stated { min, max };
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            self.report(fields["max"].line, Setting::PortMax.name(), format!("{max} is below min {min}"));
        }
        if let (Some(min), Some(offset)) = (min, offset) {
            stated.max = min.get().checked_add(offset).and_then(Port::from_number);
            if stated.max.is_none() {
                let reason = format!("min {min} plus {offset} is above 65535");
                self.report(fields["max_offset"].line, Setting::PortMaxOffset.name(), reason);
            }
        }
        layer.min = min.zip(fields.get("min")).map(|(min, node)| self.sourced(min, node.line));
        layer.upper = if let (Some(max), Some(node)) = (max, fields.get("max")) {
            Some(self.sourced(Upper::Max(max), node.line))
        } else {
            offset.zip(fields.get("max_offset")).map(|(by, node)| self.sourced(Upper::Offset(by), node.line))
        };
        stated
    }

    fn excluded(&mut self, node: &Node) -> PortSet {
        const FIELD: &str = Setting::ExcludedPorts.name();
        let mut set = PortSet::default();
        let Value::List(entries) = &node.value else {
            self.report(node.line, FIELD, "must be a list of ports and ranges");
            return set;
        };
        for (index, entry) in entries.iter().enumerate() {
            if let Err(reason) = self.exclusion(entry, &mut set) {
                self.report(entry.line, FIELD, format!("entry {}: {reason}", index + 1));
            }
        }
        set
    }

    /// Adds one entry of the list; the reason is one the reader has not reported.
    fn exclusion(&mut self, entry: &Node, set: &mut PortSet) -> Result<(), String> {
        const FIELD: &str = Setting::ExcludedPorts.name();
        match &entry.value {
            Value::Plain(text) | Value::Quoted(text) => {
                set.insert_range(PortRange::parse(FIELD, text).map_err(plain_reason)?);
                Ok(())
            }
            Value::Map(_) => {
                let Some(ends) = self.fields(entry, FIELD, &["start", "end"]) else { return Ok(()) };
                let (Some(start), Some(end)) = (ends.get("start"), ends.get("end")) else {
                    return Err("a range needs both `start` and `end`".to_owned());
                };
                let (Some(start), Some(end)) = (self.port(start, FIELD), self.port(end, FIELD)) else {
                    return Err("both ends of a range must be ports".to_owned());
                };
                let range = PortRange::new(FIELD, start, end);
                set.insert_range(range.map_err(|_| format!("start {start} is above end {end}"))?);
                Ok(())
            }
            Value::Null | Value::List(_) => Err("must be a port or a range such as 5005..5009".to_owned()),
        }
    }

    fn lock_wait(&mut self, node: &Node) -> Option<u64> {
        let field = Setting::BusyTimeout.name();
        match node.value {
            Value::Plain(ref text) => match integer(text) {
                Some(seconds) if seconds > i128::from(MAX_LOCK_WAIT) => {
                    self.report(node.line, field, format!("must not exceed {MAX_LOCK_WAIT}"));
                    None
                }
                _ => self.number(node, field, 0, MAX_LOCK_WAIT.into()),
            },
            _ => self.number(node, field, 0, MAX_LOCK_WAIT.into()),
        }
    }

    fn switch(&mut self, node: Option<&Node>, setting: Setting, layer: &mut Layer) {
        let Some(node) = node else { return };
        let value = match &node.value {
            Value::Plain(text) => boolean(text),
            _ => None,
        };
        match value {
            Some(value) => {
                layer.switches.insert(setting, self.sourced(value, node.line));
            }
            None => self.report(node.line, setting.name(), "must be true or false"),
        }
    }

    /// The values of a mapping that are not null, by their keys; none when it is no mapping.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        field: &'static str,
        known: &[&str],
    ) -> Option<HashMap<String, &'n Node>> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => return Some(HashMap::new()),
            _ => {
                self.report(node.line, field, "must be a mapping (key: value)");
                return None;
            }
        };
        let mut seen = HashSet::new();
        let mut fields = HashMap::new();
        for (key, value) in entries {
            let (Value::Plain(name) | Value::Quoted(name)) = &key.value else {
                self.report(key.line, field, "a key must be text");
                continue;
            };
            if !seen.insert(name.as_str()) {
                self.report(key.line, field, format!("the key{} is there twice", shown(name)));
                continue;
            }
            if !known.contains(&name.as_str()) {
                let known = known.join(", ");
                self.report(key.line, field, format!("unknown key{}; known keys are {known}", shown(name)));
            } else if !matches!(value.value, Value::Null) {
                fields.insert(name.clone(), value);
            }
        }
        Some(fields)
    }

    /// A whole number from `min` to `max`.
    pub(super) fn number<T: TryFrom<i128>>(
        &mut self,
        node: &Node,
        field: &'static str,
        min: i128,
        max: i128,
    ) -> Option<T> {
        let number = match &node.value {
            Value::Plain(text) => integer(text),
            _ => None,
        };
        let number = number.filter(|number| (min..=max).contains(number)).and_then(|n| T::try_from(n).ok());
        if number.is_none() {
            self.report(node.line, field, format!("must be a whole number from {min} to {max}"));
        }
        number
    }

    pub(super) fn port(&mut self, node: &Node, field: &'static str) -> Option<Port> {
        let number: u16 = self.number(node, field, 1, u16::MAX.into())?;
        Port::from_number(number)
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node, field: &'static str) -> Option<&'n str> {
        match &node.value {
            Value::Quoted(text) => Some(text),
            Value::Plain(text) if is_text(text) => Some(text),
            Value::Plain(_) => {
                self.report(node.line, field, "must be text: put it in quotes");
                None
            }
            _ => {
                self.report(node.line, field, "must be text");
                None
            }
        }
    }
}

/// The key of the top level if it has the value null.
fn null<'n>(root: &'n Node, name: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &root.value else { return None };
    let found = entries.iter().find(|(key, value)| {
        matches!((&key.value, &value.value), (Value::Plain(key) | Value::Quoted(key), Value::Null) if key == name)
    });
    found.map(|(key, _)| key)
}

/// A key in a message, unless it is anything but a word.
fn shown(key: &str) -> String {
    let word =
        key.len() <= 40 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if word { format!(" '{key}'") } else { String::new() }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<i128> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i128::from_str_radix(digits, 16)
            .ok()
            .filter(|number| *number >= 0 && !digits.starts_with('+'));
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i128::from_str_radix(digits, 8)
            .ok()
            .filter(|number| *number >= 0 && !digits.starts_with('+'));
    }
    text.parse().ok()
}

/// Whether a plain scalar is text rather than a boolean or a number.
fn is_text(text: &str) -> bool {
    let numeric = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    let number = integer(text).is_some()
        || numeric && text.parse::<f64>().is_ok()
        || matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    boolean(text).is_none() && !number
}

/// What is wrong, without the name the error would put in front.
pub(super) fn plain_reason(error: Error) -> String {
    match error {
        Error::InvalidArgument { reason, .. } => reason,
        other => other.to_string(),
    }
}
