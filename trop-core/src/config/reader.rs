//! Reads the values of a configuration file and collects their problems.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::document::{Node, Value};
use super::layer::{self, Origin, OutputFormat};
use super::setting::{Kind, MAX_LOCK_WAIT, Setting};
use crate::model::{Error, Port, PortRange, PortSet, trimmed};

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

/// The field of a problem with the file as a whole.
pub(super) const WHOLE: &str = "configuration";

/// Reads values and collects their problems.
pub(super) struct Reader<'a> {
    path: &'a Path,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path) -> Reader<'a> {
        Reader { path, problems: Vec::new() }
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// How many problems there are so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    /// All problems, sorted by line.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }

    pub(super) fn report(&mut self, line: usize, field: &'static str, reason: impl Into<String>) {
        self.problems.push(Problem { path: self.path.to_path_buf(), line, field, reason: reason.into() });
    }

    /// The origin of a value at a line of this file.
    pub(super) fn origin(&self, line: usize) -> Origin {
        Origin::File { path: self.path.to_path_buf(), line }
    }

    /// Reads the value of a setting. Returns `None` if it is invalid, which is reported, or if settings of
    /// its kind are not read here.
    pub(super) fn value(&mut self, setting: Setting, node: &Node) -> Option<layer::Value> {
        let name = setting.name();
        match setting.kind() {
            Kind::Switch => self.boolean(node, name).map(layer::Value::Switch),
            Kind::Identifier => self.identifier(node, name).map(layer::Value::Text),
            Kind::Port => self.port(node, name).map(layer::Value::Port),
            Kind::Number { min, max } => {
                self.number(node, name, min.into(), max.into()).map(layer::Value::Number)
            }
            Kind::LockWait => self.lock_wait(node, name).map(layer::Value::Number),
            Kind::Ports => Some(layer::Value::Ports(self.ports(node, name))),
            Kind::OutputFormat => self.output_format(node, name).map(layer::Value::OutputFormat),
            Kind::Group | Kind::Elsewhere => None,
        }
    }

    fn boolean(&mut self, node: &Node, field: &'static str) -> Option<bool> {
        let value = match &node.value {
            Value::Plain(text) => boolean(text),
            _ => None,
        };
        if value.is_none() {
            self.report(node.line, field, "must be true or false");
        }
        value
    }

    fn identifier(&mut self, node: &Node, field: &'static str) -> Option<String> {
        match trimmed(self.text(node, field)?) {
            Ok(text) => Some(text.to_owned()),
            Err(reason) => {
                self.report(node.line, field, reason);
                None
            }
        }
    }

    fn lock_wait(&mut self, node: &Node, field: &'static str) -> Option<u64> {
        if let Value::Plain(text) = &node.value
            && integer(text).is_some_and(|seconds| seconds > MAX_LOCK_WAIT.into())
        {
            self.report(node.line, field, format!("must not exceed {MAX_LOCK_WAIT}"));
            return None;
        }
        self.number(node, field, 0, MAX_LOCK_WAIT.into())
    }

    fn output_format(&mut self, node: &Node, field: &'static str) -> Option<OutputFormat> {
        let format = OutputFormat::parse(self.text(node, field)?);
        if format.is_none() {
            self.report(node.line, field, format!("must be {}", OutputFormat::NAMES));
        }
        format
    }

    fn ports(&mut self, node: &Node, field: &'static str) -> PortSet {
        let mut set = PortSet::default();
        let Value::List(entries) = &node.value else {
            self.report(node.line, field, "must be a list of ports and ranges");
            return set;
        };
        for (index, entry) in entries.iter().enumerate() {
            if let Err(reason) = self.entry(entry, field, &mut set) {
                self.report(entry.line, field, format!("entry {}: {reason}", index + 1));
            }
        }
        set
    }

    /// Adds one entry of the list to the set. An error is a reason that the caller has to report.
    fn entry(&mut self, entry: &Node, field: &'static str, set: &mut PortSet) -> Result<(), String> {
        match &entry.value {
            Value::Plain(text) | Value::Quoted(text) => {
                set.insert_range(PortRange::parse(field, text).map_err(plain_reason)?);
                Ok(())
            }
            Value::Map(_) => {
                let Some(ends) = self.fields(entry, field, &["start", "end"]) else { return Ok(()) };
                let (Some(start), Some(end)) = (ends.get("start"), ends.get("end")) else {
                    return Err("a range needs both `start` and `end`".to_owned());
                };
                let (Some(start), Some(end)) = (self.port(start, field), self.port(end, field)) else {
                    return Err("both ends of a range must be ports".to_owned());
                };
                let range = PortRange::new(field, start, end);
                set.insert_range(range.map_err(|_| format!("start {start} is above end {end}"))?);
                Ok(())
            }
            Value::Null | Value::List(_) => Err("must be a port or a range such as 5005..5009".to_owned()),
        }
    }

    /// Returns the values of a mapping that are not null, by their keys; `None` when the node is neither a
    /// mapping nor null.
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

/// A key as messages show it: empty unless it is a short plain word, because it may be hostile.
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

/// The reason of an error, without the name of the argument in front.
pub(super) fn plain_reason(error: Error) -> String {
    match error {
        Error::InvalidArgument { reason, .. } => reason,
        other => other.to_string(),
    }
}
