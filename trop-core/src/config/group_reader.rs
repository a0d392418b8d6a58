//! The key `reservations` of a project file: the group of services that it defines.

use std::collections::{HashMap, HashSet};

use super::document::{Node, Value};
use super::group::{Group, Service, derived_name, is_variable_name};
use super::reader::Reader;
use crate::model::{Port, Tag, trimmed};

const FIELD: &str = "reservations";
const SERVICES: &str = "reservations.services";

/// One service as far as it could be read. Invalid parts are reported and left out.
#[derive(Default)]
struct Draft {
    line: usize,
    tag: Option<Tag>,
    offset: Option<u16>,
    preferred: Option<Port>,
    variable: Option<String>,
}

/// Reads the value of the key `reservations` and reports its problems to the reader. `stated` is the port
/// range that the same file gives.
///
/// Messages never repeat a tag or a name, because neither can be trusted before it has been checked.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, stated: Stated) -> Option<Group> {
    let faults = reader.count();
    let fields = reader.fields(node, FIELD, &["base", "services"])?;
    let base = fields.get("base").and_then(|node| reader.port(node, "reservations.base"));
    if let (Some(base), Some(node)) = (base, fields.get("base"))
        && !stated.may_contain(base)
    {
        reader.report(node.line, "reservations.base", "it lies outside the port range of this file");
    }
    let Some(services) = fields.get("services") else {
        reader.report(node.line, SERVICES, "it is required: name the services of the group");
        return None;
    };
    let Value::Map(entries) = &services.value else {
        reader.report(services.line, SERVICES, "must be a mapping from tags to services");
        return None;
    };
    let drafts: Vec<Draft> = entries.iter().map(|(key, value)| service(reader, key, value)).collect();
    check_unique(reader, &drafts);
    if reader.count() > faults {
        return None;
    }
    let mut complete: Vec<Service> = drafts
        .into_iter()
        .filter_map(|draft| {
            let (tag, offset, variable) = (draft.tag?, draft.offset?, draft.variable?);
            Some(Service { tag, offset, preferred: draft.preferred, variable })
        })
        .collect();
    complete.sort_by(|a, b| a.tag.cmp(&b.tag));
    Some(Group { base, services: complete, file: reader.path().to_path_buf(), line: node.line })
}

fn service(reader: &mut Reader<'_>, key: &Node, value: &Node) -> Draft {
    let mut draft = Draft { line: key.line, ..Draft::default() };
    match &key.value {
        Value::Plain(text) | Value::Quoted(text) => match Tag::new(text) {
            Ok(tag) => draft.tag = Some(tag),
            Err(_) => reader.report(key.line, SERVICES, bad_tag(text)),
        },
        _ => reader.report(key.line, SERVICES, "a tag must be text"),
    }
    let Some(fields) = reader.fields(value, SERVICES, &["offset", "preferred", "env"]) else { return draft };
    draft.offset = match fields.get("offset") {
        None => Some(0),
        Some(node) => reader.number(node, "reservations.services.offset", 0, u16::MAX.into()),
    };
    draft.preferred =
        fields.get("preferred").and_then(|node| reader.port(node, "reservations.services.preferred"));
    draft.variable = if let Some(node) = fields.get("env") {
        let name = reader.text(node, "reservations.services.env");
        let valid = name.filter(|name| is_variable_name(name)).map(str::to_owned);
        if valid.is_none() && name.is_some() {
            let reason = "it is no name of an environment variable: 1 to 255 letters (A-Z, a-z), digits and \
                          underscores, not starting with a digit";
            reader.report(node.line, "reservations.services.env", reason);
        }
        valid
    } else {
        let name = draft.tag.as_ref().map(derived_name);
        if let Some(None) = name {
            let reason = "no environment variable can be named after the tag of this service: give it a name with \
                          `env`, or a tag of ASCII letters, digits, '-' and '_' that does not start with a digit";
            reader.report(key.line, SERVICES, reason);
        }
        name.flatten()
    };
    draft
}

fn bad_tag(text: &str) -> String {
    let reason = trimmed(text).err().unwrap_or_default();
    format!("a tag is not acceptable: {reason}")
}

fn check_unique(reader: &mut Reader<'_>, drafts: &[Draft]) {
    let mut tags = HashSet::new();
    let mut offsets = HashMap::new();
    let mut preferred = HashMap::new();
    let mut variables = HashMap::new();
    for Draft { line, tag, offset, preferred: port, variable } in drafts {
        let line = *line;
        if let Some(tag) = tag
            && !tags.insert(tag)
        {
            reader.report(line, SERVICES, "tags must be unique after trimming whitespace");
        }
        if let Some(first) = offset.and_then(|offset| offsets.insert(offset, line)) {
            let reason = format!("the service of line {first} has the same offset (0 if none is given)");
            reader.report(line, "reservations.services.offset", reason);
        }
        if let Some(first) = port.and_then(|port| preferred.insert(port, line)) {
            let reason = format!("the service of line {first} prefers the same port");
            reader.report(line, "reservations.services.preferred", reason);
        }
        let name = variable.as_ref().map(|name| name.to_ascii_uppercase());
        if let Some(first) = name.and_then(|name| variables.insert(name, line)) {
            let reason = format!(
                "the service of line {first} has the same environment variable (upper and lower case are not told \
                 apart)"
            );
            reader.report(line, "reservations.services.env", reason);
        }
    }
}

/// The ends of the port range, as far as one file gives them.
#[derive(Clone, Copy, Default)]
pub(super) struct Stated {
    pub(super) min: Option<Port>,
    pub(super) max: Option<Port>,
}

impl Stated {
    fn may_contain(self, port: Port) -> bool {
        self.min.is_none_or(|min| min <= port) && self.max.is_none_or(|max| port <= max)
    }
}
