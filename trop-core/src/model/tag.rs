//! Tags, and the rule every identifier follows.

use std::fmt;

/// The longest identifier, in bytes of UTF-8 after trimming.
const MAX_BYTES: usize = 255;

/// The optional second half of a reservation's key: trimmed, 1 to 255 bytes, without NUL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// A tag from text, which is trimmed. The error says how the text breaks the identifier rule.
    pub(crate) fn trimmed(text: &str) -> Result<Tag, String> {
        trimmed(text).map(|text| Tag(text.to_owned()))
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

/// Returns the trimmed text of an identifier. The error says how the text breaks the rule.
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
