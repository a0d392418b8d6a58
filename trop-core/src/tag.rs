//! Tags, and the rule every identifier follows.

use std::fmt;

use crate::error::{Error, Result};

/// The longest identifier, in bytes of UTF-8 after trimming.
const MAX_BYTES: usize = 255;

/// The optional second half of a reservation's key: trimmed, 1 to 255 bytes, without NUL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// A tag from text; leading and trailing white space is dropped.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) when nothing is left, when more than 255 bytes
    /// are left, or when there is a NUL.
    pub fn new(text: &str) -> Result<Tag> {
        Ok(Tag(identifier("tag", text)?.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identifier rule: the text without leading and trailing white space, 1 to 255 bytes of UTF-8, no NUL.
///
/// Tags, projects and tasks follow it; `argument` is named in the error, which never repeats the text.
///
/// # Errors
/// [`Code::InvalidArgument`](crate::Code::InvalidArgument) when the text breaks the rule.
pub fn identifier<'t>(argument: &'static str, text: &'t str) -> Result<&'t str> {
    trimmed(text).map_err(|reason| Error::invalid(argument, reason))
}

/// The trimmed text of an identifier, or why it is none.
pub(crate) fn trimmed(text: &str) -> Result<&str, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("Cannot be empty".to_owned());
    }
    if text.len() > MAX_BYTES {
        return Err(format!("{} bytes are more than {MAX_BYTES}", text.len()));
    }
    if text.contains('\0') {
        return Err("Cannot contain a NUL character".to_owned());
    }
    Ok(text)
}

/// Whether stored text follows the identifier rule.
pub(crate) fn is_identifier(text: &str) -> bool {
    trimmed(text).is_ok_and(|trimmed| trimmed.len() == text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_trimmed_and_bounded() {
        assert_eq!(Tag::new(" \u{2003}web \n").unwrap().as_str(), "web");
        assert!(Tag::new(&"é".repeat(127)).is_ok());
        for bad in ["", "  ", "\u{3000}", "a\0b", &"é".repeat(128), &"x".repeat(300)] {
            assert!(Tag::new(bad).is_err(), "{bad:?}");
        }
    }
}
