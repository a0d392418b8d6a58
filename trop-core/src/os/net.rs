//! What errors of sockets mean.

use std::io;

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
