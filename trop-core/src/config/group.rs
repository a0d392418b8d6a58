//! The group of services a project file may define, and the environment variables their ports are shown under.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::document::{Node, Value};
use super::schema::Reader;
use crate::model::{Port, PortRange, Tag};

const FIELD: &str = "reservations";
const SERVICES: &str = "reservations.services";

/// The longest name of an environment variable, in bytes.
const MAX_NAME: usize = 255;

/// Services that get their ports together, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Where the search for ports starts; none means the lowest port of the range.
    pub base: Option<Port>,
    /// The services, ordered by tag. There may be none: such a group is valid but cannot be reserved.
    pub services: Vec<Service>,
    /// The file that defines the group; its directory is the path of the group's reservations.
    pub file: PathBuf,
    /// The line of the definition, counted from 1.
    pub line: usize,
}

/// A member of a [`Group`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// The tag, unlike that of any other service.
    pub tag: Tag,
    /// The distance from the base, unlike that of any other service.
    pub offset: u16,
    /// The port to use if it can be had, unlike that of any other service; it may lie outside the range.
    pub preferred: Option<Port>,
    /// The name of the environment variable for the port, unlike that of any other service even if case is ignored.
    pub variable: String,
}

/// Whether a text may stand where a shell expects the name of a variable: 1 to 255 of `A-Z`, `a-z`, `0-9` and `_`,
/// without a digit in front.
#[must_use]
pub fn is_variable_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The variable's name that follows from a tag: in capitals, with `_` for `-`. None if that is no name.
fn derived_name(tag: &Tag) -> Option<String> {
    // Only ASCII is mapped: the capitals of other scripts may be ASCII letters, or several.
    let name = tag.as_str().to_ascii_uppercase().replace('-', "_");
    is_variable_name(&name).then_some(name)
}

/// What was read of one service; parts that are wrong are missing, and reported.
#[derive(Default)]
struct Draft {
    line: usize,
    tag: Option<Tag>,
    offset: Option<u16>,
    preferred: Option<Port>,
    variable: Option<String>,
}

/// The group of the key `reservations`; what is wrong with it goes to the reader. `stated` is the file's own range.
///
/// No message repeats a tag or a name: they are hostile until they have been checked.
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
    let reason = crate::model::trimmed(text).err().unwrap_or_default();
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

/// What a file itself says about the range.
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

impl Group {
    /// Whether the base, if there is one, lies in the effective range.
    pub(super) fn fits(&self, range: PortRange) -> bool {
        self.base.is_none_or(|base| range.contains(base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trap 5.
    #[test]
    fn names_follow_from_tags_by_ascii_rules_only() {
        let name = |tag: &str| derived_name(&Tag::new(tag).unwrap());
        assert_eq!(name("web").as_deref(), Some("WEB"));
        assert_eq!(name("api-v2").as_deref(), Some("API_V2"));
        assert_eq!(name("_x9").as_deref(), Some("_X9"));
        for bad in ["9web", "web port", "a.b", "wéb", "straße", "\u{17f}sh", "a\nb", "$(id)", "a=b", "ﬁ"]
        {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_variable_name_has_1_to_255_bytes() {
        assert!(is_variable_name(&"A".repeat(255)));
        for bad in ["", &"A".repeat(256), "1A", "A B", "A-B", "é"] {
            assert!(!is_variable_name(bad), "{bad}");
        }
    }
}
