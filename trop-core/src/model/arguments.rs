//! Constructors that validate what a caller gave. Their errors name the argument.

use std::path::Path;
use std::str::FromStr;

use super::error::{Error, Result};
use super::paths;
use super::port::{Port, PortRange, PortSet};
use super::reservation::Key;
use super::tag::{Tag, trimmed};

impl Port {
    /// A port from any number; `argument` is named in the error.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) for a number outside 1 to 65535.
    pub fn new(argument: &'static str, number: i64) -> Result<Port> {
        u16::try_from(number)
            .ok()
            .and_then(Port::from_number)
            .ok_or_else(|| Error::invalid(argument, format!("{number} is not a port number (1 to 65535)")))
    }

    /// A port from decimal text; `argument` is named in the error.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) for text that is not a number from 1 to 65535.
    pub fn parse(argument: &'static str, text: &str) -> Result<Port> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Port::new(argument, number),
            _ => Err(Error::invalid(
                argument,
                format!("'{}' is not a port number (1 to 65535)", text.escape_debug()),
            )),
        }
    }
}

impl PortRange {
    /// The range from `min` to `max`, both included; `argument` is named in the error.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) when `min` is above `max`.
    pub fn new(argument: &'static str, min: Port, max: Port) -> Result<PortRange> {
        PortRange::between(min, max).ok_or_else(|| {
            Error::invalid(argument, format!("{min} is above max {max}; a port range needs min <= max"))
        })
    }

    /// A range from text: one port, or two as in `5005..5009`; `argument` is named in the error.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) for any other text, and as for
    /// [`PortRange::new`].
    pub fn parse(argument: &'static str, text: &str) -> Result<PortRange> {
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        let end = |end: &str| Port::parse(argument, end.trim()).ok();
        let (Some(min), Some(max)) = (end(low), end(high)) else {
            let text = text.escape_debug();
            return Err(Error::invalid(
                argument,
                format!("'{text}' is neither a port (1 to 65535) nor a range such as 5005..5009"),
            ));
        };
        PortRange::new(argument, min, max)
    }
}

impl PortSet {
    /// Adds the ports and ranges of a comma-separated list; `argument` is named in the error.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) that says which entry is wrong.
    pub fn insert_list(&mut self, argument: &'static str, list: &str) -> Result<()> {
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            self.insert_range(PortRange::parse(argument, entry)?);
        }
        Ok(())
    }
}

impl FromStr for PortSet {
    type Err = Error;

    fn from_str(list: &str) -> Result<PortSet> {
        let mut set = PortSet::default();
        set.insert_list("excluded", list)?;
        Ok(set)
    }
}

impl Tag {
    /// A tag from text; leading and trailing white space is dropped.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) when nothing is left, when more than 255 bytes
    /// are left, or when there is a NUL.
    pub fn new(text: &str) -> Result<Tag> {
        Tag::trimmed(text).map_err(|reason| Error::invalid("tag", reason))
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

impl Key {
    /// The key of a path, or of the physical working directory when none is given.
    ///
    /// A given path is made absolute and normalised as text: symbolic links are not followed, and it need not
    /// exist.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) for a path that cannot be resolved or stored,
    /// [`Code::Io`](crate::Code::Io) when the working directory is gone.
    pub fn new(path: Option<&Path>, tag: Option<Tag>) -> Result<Key> {
        Ok(Key::stored(paths::resolve_path(path, false)?, tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_from_1_to_65535() {
        for (text, expected) in [("1", Some(1)), ("65535", Some(65535)), ("08080", Some(8080))] {
            assert_eq!(Port::parse("port", text).ok().map(Port::get), expected, "{text}");
        }
        for text in ["", "0", "65536", "-1", "+1", "abc", "1 ", "99999999999999999999"] {
            let error = Port::parse("port", text).unwrap_err().to_string();
            assert!(error.starts_with("Invalid port: "), "{error}");
        }
    }

    #[test]
    fn a_set_is_parsed_from_a_comma_list() {
        let set: PortSet = "5001, 5005..5007,, 65535".parse().unwrap();
        assert_eq!(format!("{set:?}"), "{5001, 5005, 5006, 5007, 65535}");
        for bad in ["x", "0", "5-6", "1..70000", "1...3", ".."] {
            let error = bad.parse::<PortSet>().unwrap_err().to_string();
            let expected =
                format!("Invalid excluded: '{bad}' is neither a port (1 to 65535) nor a range such as ");
            assert!(error.starts_with(&expected), "{error}");
        }
        assert!("5..4".parse::<PortSet>().unwrap_err().to_string().contains("5 is above max 4"));
    }

    /// Trap 92 (overflow at the highest port).
    #[test]
    fn ranges_reach_the_highest_port() {
        let set: PortSet = "65530..65535, 65528, 65529, 1".parse().unwrap();
        let ranges: Vec<_> = set.ranges().iter().map(PortRange::to_string).collect();
        assert_eq!(ranges, ["1..1", "65528..65535"]);
        let all = PortRange::new("ports", Port::MIN, Port::MAX).unwrap();
        assert_eq!(all.ports().count(), 65535);
    }

    #[test]
    fn a_range_counts_its_ports_without_overflow() {
        let all = PortRange::new("ports", Port::MIN, Port::MAX).unwrap();
        assert_eq!(all.count(), 65535);
        assert!(all.contains(Port::MAX));
    }

    /// Looking all ports up in a full set takes about as long as in an empty one. Trap 101 (look-ups in
    /// square time).
    #[test]
    fn a_look_up_does_not_get_slower_with_the_size_of_the_set() {
        let cost = |set: &PortSet| {
            let all = || {
                let start = std::time::Instant::now();
                let found = PortRange::ALL.ports().filter(|port| set.contains(*port)).count();
                (start.elapsed(), found)
            };
            (0..5).map(|_| all()).min().unwrap()
        };
        let (empty, _) = cost(&PortSet::default());
        let mut odd = PortSet::default();
        PortRange::ALL.ports().filter(|port| port.get() % 2 == 1).for_each(|port| odd.insert(port));
        let (full, found) = cost(&odd);
        assert_eq!(found, 32768);
        // Going through a list would take thousands of times as long.
        assert!(full < empty * 50, "{full:?} instead of {empty:?}");
    }

    #[test]
    fn a_tag_is_trimmed_and_bounded() {
        assert_eq!(Tag::new(" \u{2003}web \n").unwrap().as_str(), "web");
        assert!(Tag::new(&"é".repeat(127)).is_ok());
        for bad in ["", "  ", "\u{3000}", "a\0b", &"é".repeat(128), &"x".repeat(300)] {
            assert!(Tag::new(bad).is_err(), "{bad:?}");
        }
    }
}
