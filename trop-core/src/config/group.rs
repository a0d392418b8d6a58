//! The group of services a project file may define, and the environment variables their ports are shown
//! under.

use std::path::PathBuf;

use crate::model::{Port, PortRange, Tag};

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
    /// The name of the environment variable for the port, unlike that of any other service even if case is
    /// ignored.
    pub variable: String,
}

/// Whether a text may stand where a shell expects the name of a variable: 1 to 255 of `A-Z`, `a-z`, `0-9` and
/// `_`, without a digit in front.
#[must_use]
pub fn is_variable_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The variable's name that follows from a tag: in capitals, with `_` for `-`. None if that is no name.
pub(super) fn derived_name(tag: &Tag) -> Option<String> {
    // Only ASCII is mapped: the capitals of other scripts may be ASCII letters, or several.
    let name = tag.as_str().to_ascii_uppercase().replace('-', "_");
    is_variable_name(&name).then_some(name)
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
