//! The group of services that a project file may define, and the environment variables that name their ports.

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
    /// The tag, unique in the group.
    pub tag: Tag,
    /// The distance from the base, unique in the group.
    pub offset: u16,
    /// The port to use if it is available, unique in the group. It may lie outside the range.
    pub preferred: Option<Port>,
    /// The name of the environment variable for the port, unique in the group even if case is ignored.
    pub variable: String,
}

/// Whether a text is a valid name for a shell variable: 1 to 255 characters of `A-Z`, `a-z`, `0-9` and `_`,
/// not starting with a digit.
#[must_use]
pub fn is_variable_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Derives a variable name from a tag: upper case, with `_` for `-`. Returns `None` if the result is not a
/// valid name.
pub(super) fn derived_name(tag: &Tag) -> Option<String> {
    // Only ASCII letters are converted: upper-casing other letters can produce ASCII letters, or several
    // letters.
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

    /// Trap 5 (upper case of Unicode).
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
