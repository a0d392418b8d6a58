//! What errors of sockets mean, and what the files of the kernel say about ports.

use std::io;
#[cfg(target_os = "linux")]
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address family or its loopback address is missing on this host.
pub(crate) fn is_family_missing(error: &io::Error) -> bool {
    #[cfg(unix)]
    let unsupported = matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT));
    #[cfg(windows)]
    let unsupported = matches!(error.raw_os_error(), Some(10043 | 10047));
    #[cfg(not(any(unix, windows)))]
    let unsupported = false;
    unsupported || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// The local addresses of the TCP connections that a port has, those that are being closed and belong to no
/// process any more among them. The kernel walks the table of all connections for this, which takes some
/// milliseconds, so it is for people who ask about one port.
#[cfg(target_os = "linux")]
pub(crate) fn connections_of_port(port: u16) -> Vec<IpAddr> {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    [read("/proc/net/tcp"), read("/proc/net/tcp6")]
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(connection)
        .filter_map(|(address, local)| (local == port).then_some(address))
        .collect()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn connections_of_port(_port: u16) -> Vec<std::net::IpAddr> {
    Vec::new()
}

/// The local address and port in a line of `/proc/net/tcp`; none for a socket that listens.
#[cfg(target_os = "linux")]
fn connection(line: &str) -> Option<(IpAddr, u16)> {
    const LISTEN: &str = "0A";
    let mut words = line.split_ascii_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    if words.nth(1)? == LISTEN {
        return None;
    }
    // Groups of four bytes, each a number in the order of the machine.
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let address = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(bytes) => Ipv4Addr::from(bytes).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?).to_canonical(),
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

/// Whether the kernel lets this process bind a port at all, as far as its files say.
#[cfg(target_os = "linux")]
pub(crate) fn may_bind(port: u16) -> bool {
    const CAP_NET_BIND_SERVICE: u32 = 10;
    let read = |file| std::fs::read_to_string(file).ok();
    let first = read("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.and_then(|text| text.trim().parse::<u16>().ok()).is_none_or(|first| port >= first) {
        return true;
    }
    let capabilities = read("/proc/self/status").and_then(|text| {
        let text = text.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(text.trim(), 16).ok()
    });
    capabilities.is_none_or(|set| set & (1 << CAP_NET_BIND_SERVICE) != 0)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn may_bind(_port: u16) -> bool {
    true
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn connections_are_read_as_the_kernel_writes_them() {
        let line = |address, state| {
            format!("   1: {address}:1F90 0100007F:A2E4 {state} 00000000:00000000 03:00000E75 00000000     0")
        };
        let v4 = line("0200007F", "06");
        assert_eq!(connection(&v4), Some((IpAddr::from([127, 0, 0, 2]), 8080)));
        let v6 = line("00000000000000000000000001000000", "01");
        assert_eq!(connection(&v6), Some((Ipv6Addr::LOCALHOST.into(), 8080)));
        let mapped = line("0000000000000000FFFF00000100007F", "01");
        assert_eq!(connection(&mapped), Some((Ipv4Addr::LOCALHOST.into(), 8080)));
        assert_eq!(connection(&line("0100007F", "0A")), None);
        assert_eq!(connection("  sl  local_address rem_address   st tx_queue rx_queue"), None);
        assert_eq!(connection(""), None);
    }
}
