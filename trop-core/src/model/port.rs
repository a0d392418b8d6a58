//! Port numbers, ranges and sets of them.

use std::fmt;
use std::num::NonZeroU16;

/// A TCP and UDP port number, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The lowest port number.
    pub const MIN: Port = Port(NonZeroU16::MIN);
    /// The highest port number.
    pub const MAX: Port = Port(NonZeroU16::MAX);

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// The port that is `offset` above this one, if there is one.
    pub(crate) fn plus(self, offset: u16) -> Option<Port> {
        self.0.checked_add(offset).map(Port)
    }

    /// The port that is `offset` above this one, if there is one.
    pub(crate) fn above(self, offset: u64) -> Option<Port> {
        u16::try_from(offset).ok().and_then(|offset| self.plus(offset))
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
    /// Where ports are chosen for reservations by default: 5000 to 7000.
    pub const RESERVATIONS: PortRange = PortRange::of_numbers(5000, 7000);
    /// Where ports are chosen for leases by default: 10000 to 29999, below those from which systems choose by
    /// themselves.
    pub const LEASES: PortRange = PortRange::of_numbers(10000, 29999);

    /// A range whose ends are known when this is compiled.
    const fn of_numbers(min: u16, max: u16) -> PortRange {
        match (NonZeroU16::new(min), NonZeroU16::new(max)) {
            (Some(low), Some(high)) if min <= max => PortRange { min: Port(low), max: Port(high) },
            _ => PortRange::ALL,
        }
    }

    /// The range from `min` to `max`, both included; `None` if `min` is above `max`.
    pub(crate) fn between(min: Port, max: Port) -> Option<PortRange> {
        (min <= max).then_some(PortRange { min, max })
    }

    /// The range that has one port.
    pub(crate) fn only(port: Port) -> PortRange {
        PortRange { min: port, max: port }
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

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

/// A set of ports, one bit each.
///
/// Parsed from a comma-separated list of ports and inclusive ranges, such as `5001, 5005..5009`.
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

    /// The fewest ranges that have exactly these ports, ascending. No two of them are adjacent.
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

    /// Adds 64 ports at once: those whose bits are set, beginning with port `64 * word`.
    pub(crate) fn insert_word(&mut self, word: usize, bits: u64) {
        self.0[word % PortSet::WORDS] |= bits;
    }

    pub(crate) fn words(&self) -> &[u64; PortSet::WORDS] {
        &self.0
    }
}

impl Default for PortSet {
    fn default() -> PortSet {
        PortSet(Box::new([0; PortSet::WORDS]))
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Port::get)).finish()
    }
}
