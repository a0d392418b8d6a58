//! Ports that web clients refuse to connect to.

use super::port::{Port, PortRange, PortSet};

/// The "bad ports" of the Fetch standard, <https://fetch.spec.whatwg.org/#port-blocking>: browsers and the
/// `fetch` of runtimes fail on them before they connect.
const REFUSED: [u16; 82] = [
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
    109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049,
    3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// Whether web clients refuse to connect to a port.
pub(crate) fn is_unsafe(port: Port) -> bool {
    REFUSED.binary_search(&port.get()).is_ok()
}

/// Whether web clients refuse every port of a range.
pub(crate) fn are_all_unsafe(range: PortRange) -> bool {
    range.ports().all(is_unsafe)
}

/// All of them.
pub(crate) fn unsafe_ports() -> PortSet {
    let mut ports = PortSet::default();
    REFUSED.into_iter().filter_map(Port::from_number).for_each(|port| ports.insert(port));
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eleven_of_the_default_range_are_unsafe() {
        let ports: Vec<_> =
            PortRange::RESERVATIONS.ports().filter(|port| is_unsafe(*port)).map(Port::get).collect();
        assert_eq!(ports, [5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697]);
        assert_eq!(unsafe_ports().iter().count(), REFUSED.len());
    }
}
