//! Port numbers, ranges and sets of them.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A TCP and UDP port number, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The lowest port number.
    pub const MIN: Port = Port(NonZeroU16::MIN);
    /// The highest port number.
    pub const MAX: Port = Port(NonZeroU16::MAX);

    /// A port from any number; `argument` is named in the error.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) for a number outside 1 to 65535.
    pub fn new(argument: &'static str, number: i64) -> Result<Port> {
        u16::try_from(number)
            .ok()
            .and_then(NonZeroU16::new)
            .map(Port)
            .ok_or_else(|| Error::invalid(argument, format!("{number} is not a port number (1 to 65535)")))
    }

    /// A port from decimal text; `argument` is named in the error.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) for text that is no number from 1 to 65535.
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

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// The port that lies so many above this one, if there is one.
    pub(crate) fn plus(self, offset: u16) -> Option<Port> {
        self.0.checked_add(offset).map(Port)
    }

    pub(crate) fn from_number(number: u16) -> Option<Port> {
        NonZeroU16::new(number).map(Port)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> u16 {
        port.get()
    }
}

/// An inclusive range of ports, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    min: Port,
    max: Port,
}

impl PortRange {
    /// Every port.
    pub const ALL: PortRange = PortRange { min: Port::MIN, max: Port::MAX };

    /// The range from `min` to `max`, both included; `argument` is named in the error.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) when `min` is above `max`.
    pub fn new(argument: &'static str, min: Port, max: Port) -> Result<PortRange> {
        if min > max {
            return Err(Error::invalid(
                argument,
                format!("{min} is above max {max}; a port range needs min <= max"),
            ));
        }
        Ok(PortRange { min, max })
    }

    /// A range from text: one port, or two as in `5005..5009`; `argument` is named in the error.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) for any other text, and as for [`PortRange::new`].
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

    /// The lowest port.
    #[must_use]
    pub fn min(self) -> Port {
        self.min
    }

    /// The highest port.
    #[must_use]
    pub fn max(self) -> Port {
        self.max
    }

    /// Whether the port lies inside.
    #[must_use]
    pub fn contains(self, port: Port) -> bool {
        self.min <= port && port <= self.max
    }

    /// Its ports from the lowest to the highest.
    pub fn ports(self) -> impl Iterator<Item = Port> {
        (self.min.get()..=self.max.get()).filter_map(Port::from_number)
    }

    /// How many ports it has, 1 to 65535.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::from(self.max.get()) - u32::from(self.min.get()) + 1
    }
}

/// 5000 to 7000.
impl Default for PortRange {
    fn default() -> PortRange {
        let port = |number| NonZeroU16::new(number).map_or(Port::MIN, Port);
        PortRange { min: port(5000), max: port(7000) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

/// A set of ports, one bit each.
///
/// Parsed from a comma list of ports and inclusive ranges, such as `5001, 5005..5009`.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet(Box<[u64; PortSet::WORDS]>);

impl PortSet {
    /// Words of 64 ports that cover all port numbers.
    pub(crate) const WORDS: usize = 1024;

    /// Adds a port.
    pub fn insert(&mut self, port: Port) {
        let number = usize::from(port.get());
        self.0[number / 64] |= 1 << (number % 64);
    }

    /// Adds every port of a range.
    pub fn insert_range(&mut self, range: PortRange) {
        range.ports().for_each(|port| self.insert(port));
    }

    pub(crate) fn remove(&mut self, port: Port) {
        let number = usize::from(port.get());
        self.0[number / 64] &= !(1 << (number % 64));
    }

    /// Whether the port is in the set.
    #[must_use]
    pub fn contains(&self, port: Port) -> bool {
        let number = usize::from(port.get());
        self.0[number / 64] & (1 << (number % 64)) != 0
    }

    /// Adds every port of another set.
    pub fn insert_set(&mut self, other: &PortSet) {
        for (word, more) in self.0.iter_mut().zip(other.0.iter()) {
            *word |= more;
        }
    }

    /// Its ports, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Port> {
        PortRange::ALL.ports().filter(|port| self.contains(*port))
    }

    /// The fewest ranges that have exactly these ports, ascending; no two of them touch.
    #[must_use]
    pub fn ranges(&self) -> Vec<PortRange> {
        let mut ranges: Vec<PortRange> = Vec::new();
        for port in self.iter() {
            match ranges.last_mut() {
                Some(last) if u32::from(last.max.get()) + 1 == u32::from(port.get()) => last.max = port,
                _ => ranges.push(PortRange { min: port, max: port }),
            }
        }
        ranges
    }

    pub(crate) fn words(&self) -> &[u64; PortSet::WORDS] {
        &self.0
    }

    /// Adds what a comma list names; `argument` is named in the error.
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

impl Default for PortSet {
    fn default() -> PortSet {
        PortSet(Box::new([0; PortSet::WORDS]))
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

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Port::get)).finish()
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

    /// Trap 92.
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

    /// Looking all ports up in a full set takes about as long as in an empty one. Trap 101.
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
}
