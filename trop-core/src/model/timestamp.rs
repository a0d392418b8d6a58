//! Points in time, in whole seconds.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// Whole seconds since 1970-01-01 00:00:00 UTC, up to the end of the year 9999.
///
/// Displayed in UTC as `YYYY-MM-DD HH:MM:SS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest time that a row can hold, 9999-12-31 23:59:59. It marks the rows of leases, so that no
    /// program expires them.
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
