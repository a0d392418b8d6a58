//! Waits until a process of the lease's owner accepts connections on the port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::handle::Lease;
use crate::machine::{Owners, Process};
use crate::model::{Error, Result};
use crate::os::process::parent_of_process;

/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(10);

impl Lease {
    /// The default timeout for a listener, in every language.
    pub const WAIT: Duration = Duration::from_secs(10);

    /// Returns when a process accepts TCP connections on a loopback address of the port. As far as the
    /// operating system reports it, that has to be the process that has the lease or one of its descendants.
    ///
    /// # Errors
    /// [`Error::LeaseClosed`]; [`Error::NotListening`] at once when another process listens there, and after
    /// `timeout` when none does.
    pub fn wait_listening(&self, timeout: Duration) -> Result<()> {
        self.wait_listening_while(timeout, || true)
    }

    /// Like [`Lease::wait_listening`], but also gives up, as after the timeout, when `go_on` returns false.
    /// It is called between two attempts.
    ///
    /// # Errors
    /// As [`Lease::wait_listening`].
    pub fn wait_listening_while(&self, timeout: Duration, mut go_on: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if !self.is_open() {
                return Err(Error::LeaseClosed { port: self.port() });
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if self.accepts(left) {
                return self.check_listener();
            }
            if left.is_some_and(|left| left.is_zero()) || !go_on() {
                let (port, seconds) = (self.port(), timeout.as_secs_f64());
                let reason = format!("nothing accepted connections on port {port} within {seconds} s");
                return Err(Error::NotListening { reason });
            }
            thread::sleep(left.unwrap_or(PAUSE).min(PAUSE));
        }
    }

    /// Whether a connection is accepted. An attempt without an answer is given up after a moment.
    fn accepts(&self, left: Option<Duration>) -> bool {
        const MOMENT: Duration = Duration::from_millis(500);
        let wait = left.unwrap_or(MOMENT).clamp(Duration::from_millis(1), MOMENT);
        [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)].into_iter().any(|address| {
            let address = SocketAddr::new(address, self.port().get());
            // If the kernel chooses the leased port for the client side, the socket connects to itself. That
            // is no listener.
            TcpStream::connect_timeout(&address, wait)
                .is_ok_and(|stream| stream.local_addr().is_ok_and(|own| own != address))
        })
    }

    fn check_listener(&self) -> Result<()> {
        let listeners = Owners::snapshot().listeners(self.port());
        // A forked child has the lease as well.
        let owners = [self.pid(), std::process::id()];
        let is_ours = |process: &Process| owners.iter().any(|owner| descends(process.id, *owner));
        // Without a list from the operating system the process cannot be checked.
        if listeners.is_empty() || listeners.iter().any(is_ours) {
            return Ok(());
        }
        let names: Vec<_> =
            listeners.iter().map(|process| format!("process {} ({})", process.id, process.name)).collect();
        let reason = format!(
            "{} listens on port {}, which is neither the process that has the lease nor one it started",
            names.join(" and "),
            self.port()
        );
        Err(Error::NotListening { reason })
    }
}

/// Whether a process is `ancestor` or was started by it, directly or through others.
fn descends(mut process: u32, ancestor: u32) -> bool {
    // Bounded, because parents may change meanwhile.
    for _ in 0..1000 {
        if process == ancestor {
            return true;
        }
        match parent_of_process(process) {
            Some(0) => return false,
            Some(parent) => process = parent,
            // An unknown parent does not make the listener a foreign one.
            None => return true,
        }
    }
    false
}
