//! The kernel's answer to the question which sockets there are: `NETLINK_SOCK_DIAG`, on Linux only. Asking
//! needs no rights and disturbs nobody, unlike binding a port.
//!
//! States are always named: a question for all of them makes the kernel walk the table of all connections.

use std::io;
use std::net::SocketAddr;

/// A socket that keeps others from binding its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BoundSocket {
    /// An IPv4 address for a socket that is bound to an IPv4 address by its IPv6 form.
    pub(crate) address: SocketAddr,
    /// Whether the address is an IPv6 one without the IPv4 addresses.
    pub(crate) only_v6: bool,
}

/// The TCP sockets that listen.
///
/// # Errors
/// When the kernel does not tell, as in sandboxes and elsewhere than on Linux.
pub(crate) fn tcp_listeners() -> io::Result<Vec<BoundSocket>> {
    system::tcp(system::LISTEN)
}

/// The TCP sockets that are bound and neither listen nor have a connection.
///
/// # Errors
/// As for [`tcp_listeners`], and before Linux 6.8, which does not know this question.
pub(crate) fn tcp_bound() -> io::Result<Vec<BoundSocket>> {
    system::tcp_bound()
}

/// All UDP sockets.
///
/// # Errors
/// As for [`tcp_listeners`].
pub(crate) fn udp() -> io::Result<Vec<BoundSocket>> {
    system::udp()
}

#[cfg(target_os = "linux")]
mod system {
    use std::io::{self, Read};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::sync::OnceLock;
    use std::time::Duration;

    use socket2::{Domain, Protocol, Socket, Type};

    use super::BoundSocket;

    // From linux/sock_diag.h and linux/inet_diag.h, which the crate `libc` does not have.
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    /// The older question, of which only TCP is left. Unlike the newer one it is about both families at once,
    /// for which the kernel walks its table only once.
    const TCPDIAG_GETSOCK: u16 = 18;
    const INET_DIAG_SKV6ONLY: u16 = 11;
    /// An address, a port, an interface and a cookie of both ends.
    const ID_LENGTH: usize = 48;
    const HEADER_LENGTH: usize = 16;
    const ANSWER_LENGTH: usize = 72;

    pub(super) const LISTEN: u32 = 1 << 10;
    const BOUND_INACTIVE: u32 = 1 << 13;
    /// UDP sockets are connected or not; the kernel has no other state for them.
    const ESTABLISHED: u32 = 1 << 1;
    const CLOSE: u32 = 1 << 7;

    pub(super) fn tcp(states: u32) -> io::Result<Vec<BoundSocket>> {
        let mut question = vec![0; 4 + ID_LENGTH];
        question.extend(states.to_ne_bytes());
        question.extend([0; 4]);
        ask(TCPDIAG_GETSOCK, &question)
    }

    pub(super) fn tcp_bound() -> io::Result<Vec<BoundSocket>> {
        // An older kernel finds no such socket, whatever is bound.
        if !knows_bound_inactive() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        tcp(BOUND_INACTIVE)
    }

    pub(super) fn udp() -> io::Result<Vec<BoundSocket>> {
        let mut sockets = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "2, 10 and 17")]
            let mut question = vec![family as u8, libc::IPPROTO_UDP as u8, 0, 0];
            question.extend((ESTABLISHED | CLOSE).to_ne_bytes());
            question.extend([0; ID_LENGTH]);
            sockets.extend(ask(SOCK_DIAG_BY_FAMILY, &question)?);
        }
        Ok(sockets)
    }

    fn knows_bound_inactive() -> bool {
        static ANSWER: OnceLock<bool> = OnceLock::new();
        *ANSWER.get_or_init(|| {
            std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .is_ok_and(|release| is_at_least(&release, (6, 8)))
        })
    }

    /// Whether a release such as `6.18.44-generic` is a version or a later one.
    fn is_at_least(release: &str, version: (u32, u32)) -> bool {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
        matches!((numbers.next().flatten(), numbers.next().flatten()),
            (Some(major), Some(minor)) if (major, minor) >= version)
    }

    /// Asks the kernel for a list.
    fn ask(kind: u16, question: &[u8]) -> io::Result<Vec<BoundSocket>> {
        /// The kernel's answer is there at once; this only bounds what a sandbox may do instead.
        const TIMEOUT: Duration = Duration::from_millis(100);
        /// The kernel fills at most 32 KiB at a time.
        const ROOM: usize = 64 * 1024;
        let mut socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::from(libc::SOCK_RAW),
            Some(Protocol::from(libc::NETLINK_SOCK_DIAG)),
        )?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.send(&message(kind, question)?)?;
        let mut sockets = Vec::new();
        let mut buffer = vec![0; ROOM];
        loop {
            let length = socket.read(&mut buffer)?;
            if length == 0 || read_answers(&buffer[..length], &mut sockets)? {
                return Ok(sockets);
            }
        }
    }

    fn message(kind: u16, question: &[u8]) -> io::Result<Vec<u8>> {
        let length = u32::try_from(HEADER_LENGTH + question.len()).map_err(io::Error::other)?;
        let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(HEADER_LENGTH + question.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        // Sequence number and sender, neither of which matters for a single question.
        message.extend([0; 8]);
        message.extend(question);
        Ok(message)
    }

    /// Reads the messages of one datagram. Returns whether the answer ends with them.
    fn read_answers(mut datagram: &[u8], sockets: &mut Vec<BoundSocket>) -> io::Result<bool> {
        const DONE: u16 = 3;
        const ERROR: u16 = 2;
        while !datagram.is_empty() {
            let length = number_at(datagram, 0).map(u32::from_ne_bytes).ok_or_else(malformed)? as usize;
            let kind = number_at(datagram, 4).map(u16::from_ne_bytes).ok_or_else(malformed)?;
            let body = datagram.get(HEADER_LENGTH..length).ok_or_else(malformed)?;
            match kind {
                DONE => return Ok(true),
                ERROR => {
                    let number = number_at(body, 0).map(i32::from_ne_bytes).ok_or_else(malformed)?;
                    return Err(io::Error::from_raw_os_error(-number));
                }
                _ => sockets.push(read_socket(body).ok_or_else(malformed)?),
            }
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(false)
    }

    fn malformed() -> io::Error {
        io::ErrorKind::InvalidData.into()
    }

    fn number_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
        bytes.get(at..at + N)?.try_into().ok()
    }

    /// Reads a `struct inet_diag_msg` and the attributes behind it.
    fn read_socket(body: &[u8]) -> Option<BoundSocket> {
        let port = u16::from_be_bytes(number_at(body, 4)?);
        let ip: IpAddr = if i32::from(*body.first()?) == libc::AF_INET6 {
            Ipv6Addr::from(number_at::<16>(body, 8)?).to_canonical()
        } else {
            Ipv4Addr::from(number_at::<4>(body, 8)?).into()
        };
        let mut only_v6 = false;
        let mut attributes = body.get(ANSWER_LENGTH..)?;
        while !attributes.is_empty() {
            let length = usize::from(u16::from_ne_bytes(number_at(attributes, 0)?));
            if u16::from_ne_bytes(number_at(attributes, 2)?) == INET_DIAG_SKV6ONLY {
                only_v6 = *attributes.get(4)? != 0;
            }
            attributes = attributes.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
        }
        Some(BoundSocket { address: SocketAddr::new(ip, port), only_v6 })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn releases_are_compared_by_their_numbers() {
            for (release, is_new) in
                [("6.8.0", true), ("6.18.44-fc", true), ("7.0-rc1", true), ("6.7.9", false), ("5.15", false)]
            {
                assert_eq!(is_at_least(release, (6, 8)), is_new, "{release}");
            }
            assert!(!is_at_least("", (6, 8)) && !is_at_least("six", (6, 8)));
        }

        #[test]
        fn an_answer_that_is_cut_off_is_an_error() {
            let mut sockets = Vec::new();
            for length in 1..HEADER_LENGTH {
                assert!(read_answers(&[1; HEADER_LENGTH][..length], &mut sockets).is_err());
            }
            let refused = [&message(2, &[]).unwrap()[..], &(-libc::EPERM).to_ne_bytes()].concat();
            let whole = [&20_u32.to_ne_bytes()[..], &refused[4..]].concat();
            let error = read_answers(&whole, &mut sockets).unwrap_err();
            assert_eq!((error.raw_os_error(), sockets.len()), (Some(libc::EPERM), 0));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    use super::BoundSocket;

    pub(super) const LISTEN: u32 = 0;

    pub(super) fn tcp(_states: u32) -> io::Result<Vec<BoundSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn tcp_bound() -> io::Result<Vec<BoundSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn udp() -> io::Result<Vec<BoundSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn socket(domain: Domain, kind: Type, only_v6: Option<bool>, address: SocketAddr) -> Socket {
        let socket = Socket::new(domain, kind, None).unwrap();
        if let Some(only_v6) = only_v6 {
            socket.set_only_v6(only_v6).unwrap();
        }
        socket.bind(&address.into()).unwrap();
        socket
    }

    fn bound(socket: &Socket) -> SocketAddr {
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    #[test]
    fn the_kernel_tells_who_listens_and_who_is_only_bound() {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 0));
        for (domain, only_v6, address) in [
            (Domain::IPV4, None, v4),
            (Domain::IPV6, Some(true), v6),
            (Domain::IPV6, Some(false), v6),
            (Domain::IPV6, Some(false), mapped),
        ] {
            if Socket::new(domain, Type::STREAM, None).is_err() {
                continue;
            }
            let tcp = socket(domain, Type::STREAM, only_v6, address);
            let expected = BoundSocket { address: bound(&tcp), only_v6: only_v6 == Some(true) };
            assert!(!tcp_listeners().unwrap().contains(&expected), "{address}");
            if let Ok(sockets) = tcp_bound() {
                assert!(sockets.contains(&expected), "{address}");
            }
            tcp.listen(1).unwrap();
            assert!(tcp_listeners().unwrap().contains(&expected), "{address}");
            if let Ok(sockets) = tcp_bound() {
                assert!(!sockets.contains(&expected), "{address}");
            }
            let datagrams = socket(domain, Type::DGRAM, only_v6, address);
            let expected = BoundSocket { address: bound(&datagrams), ..expected };
            assert!(udp().unwrap().contains(&expected), "{address}");
        }
    }
}
