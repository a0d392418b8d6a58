//! Sockets on a leased port for the lease's owner to use.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};

use socket2::Socket;

use super::handle::Lease;
use crate::machine::{Protocol, bound};
use crate::model::{Error, Result};

impl Lease {
    /// The default host, in every language.
    pub const HOST: &str = "127.0.0.1";

    /// The default number of connections that may wait to be accepted, in every language.
    pub const BACKLOG: i32 = 128;

    /// Returns a socket that listens on the leased port, so that no other program can take the port between
    /// its choice and its use. The caller has to close it; the lease does not depend on it.
    ///
    /// `host` is an address or a name, such as `127.0.0.1`; `backlog` is how many connections may wait to be
    /// accepted.
    ///
    /// # Errors
    /// [`Error::LeaseClosed`], [`Error::InvalidArgument`] for a host that cannot be resolved or a negative
    /// backlog, [`Error::Socket`] when it cannot listen there.
    pub fn listen(&self, host: &str, backlog: i32) -> Result<TcpListener> {
        if backlog < 0 {
            return Err(Error::invalid("backlog", format!("{backlog} is negative")));
        }
        let socket = self.bind(Protocol::Tcp, host)?;
        socket.listen(backlog).map_err(|source| self.unusable("listen on", host, source))?;
        Ok(socket.into())
    }

    /// Returns a socket bound to the leased port. The caller has to close it; the lease does not depend on
    /// it.
    ///
    /// # Errors
    /// As [`Lease::listen`].
    pub fn bind(&self, protocol: Protocol, host: &str) -> Result<Socket> {
        if !self.is_open() {
            return Err(Error::LeaseClosed { port: self.port() });
        }
        let unknown = |reason: String| Error::invalid("host", reason);
        if host.contains('\0') {
            return Err(unknown("it contains a NUL character".to_owned()));
        }
        let addresses = (host, self.port().get())
            .to_socket_addrs()
            .map_err(|error| unknown(format!("'{}' cannot be resolved: {error}", host.escape_debug())))?;
        let mut failure = None;
        for address in addresses {
            match bound(protocol, address) {
                Ok(socket) => return Ok(socket),
                Err(error) => failure = Some(error),
            }
        }
        Err(match failure {
            Some(source) => self.unusable("bind", host, source),
            None => unknown(format!("'{}' has no address", host.escape_debug())),
        })
    }

    fn unusable(&self, action: &'static str, host: &str, source: io::Error) -> Error {
        Error::Socket { action, host: host.to_owned(), port: self.port(), source }
    }
}
