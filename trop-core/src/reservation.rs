//! What a reservation is.

use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::error::Result;
use crate::paths;
use crate::port::Port;
use crate::tag::Tag;

/// What a reservation is asked for by: an absolute, normal path and an optional tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    path: String,
    tag: Option<Tag>,
}

impl Key {
    /// The key of a path, or of the physical working directory when none is given.
    ///
    /// A given path is made absolute and normal as text: links are not followed and it need not exist.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) for a path that cannot be resolved or stored,
    /// [`Code::Io`](crate::Code::Io) when the working directory is gone.
    pub fn new(path: Option<&Path>, tag: Option<Tag>) -> Result<Key> {
        Ok(Key { path: paths::resolve_path(path, false)?, tag })
    }

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

    /// The path and the text of the tag, for who keeps them: nothing is copied.
    #[must_use]
    pub fn into_parts(self) -> (String, Option<String>) {
        (self.path, self.tag.map(Tag::into_text))
    }

    /// The tag as it is stored: empty for none.
    pub(crate) fn tag_text(&self) -> &str {
        self.tag.as_ref().map_or("", Tag::as_str)
    }
}

/// Whole seconds since 1970-01-01 00:00:00 UTC, up to the end of the year 9999.
///
/// Displayed in UTC as `YYYY-MM-DD HH:MM:SS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment a row can name, 9999-12-31 23:59:59: nobody expires what was used then. It marks leases.
    pub(crate) const LAST: Timestamp = Timestamp(253_402_300_799);

    pub(crate) fn now() -> Timestamp {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(elapsed.as_secs()).unwrap_or(0))
    }

    pub(crate) fn from_seconds(seconds: i64) -> Option<Timestamp> {
        (seconds >= 0 && OffsetDateTime::from_unix_timestamp(seconds).is_ok()).then_some(Timestamp(seconds))
    }

    /// The number of seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        let (year, month, day) = at.to_calendar_date();
        let (hour, minute, second) = at.to_hms();
        write!(f, "{year:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}", u8::from(month))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_displayed_in_utc_up_to_the_year_9999() {
        let show = |seconds| Timestamp::from_seconds(seconds).map(|time| time.to_string());
        assert_eq!(show(0).as_deref(), Some("1970-01-01 00:00:00"));
        assert_eq!(show(1_772_357_472).as_deref(), Some("2026-03-01 09:31:12"));
        assert_eq!(show(253_402_300_799).as_deref(), Some("9999-12-31 23:59:59"));
        assert_eq!(show(253_402_300_800), None);
        assert_eq!(show(-1), None);
    }
}
