//! Reservations and their keys.

use serde_json::{Value, json};

use super::port::Port;
use super::tag::Tag;
use super::timestamp::Timestamp;

/// What identifies a reservation: an absolute, normal path and an optional tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    path: String,
    tag: Option<Tag>,
}

impl Key {
    pub(crate) fn stored(path: String, tag: Option<Tag>) -> Key {
        Key { path, tag }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if there is one.
    #[must_use]
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// Returns the path and the text of the tag without copying them.
    #[must_use]
    pub fn into_parts(self) -> (String, Option<String>) {
        (self.path, self.tag.map(Tag::into_text))
    }

    /// The tag as it is stored: empty for none.
    pub(crate) fn tag_text(&self) -> &str {
        self.tag.as_ref().map_or("", Tag::as_str)
    }
}

/// One port that belongs to one key until it is released.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reservation {
    /// The port.
    pub port: Port,
    /// The key it belongs to.
    pub key: Key,
    /// The project, for people reading lists.
    pub project: Option<String>,
    /// The task, for people reading lists.
    pub task: Option<String>,
    /// When the key got its first port.
    pub created_at: Timestamp,
    /// When the key was last asked for.
    pub last_used_at: Timestamp,
}

impl Reservation {
    /// The reservation as a JSON object; times as text in UTC.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "port": self.port.get(),
            "path": self.key.path(),
            "tag": self.key.tag().map(Tag::as_str),
            "project": self.project,
            "task": self.task,
            "created_at": self.created_at.to_string(),
            "last_used_at": self.last_used_at.to_string(),
        })
    }
}
