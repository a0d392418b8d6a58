//! The calls on a lease, and what ends it when nobody closes it.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use napi::bindgen_prelude::{Either, External, Object, ToNapiValue, TypeName};
use napi::{Env, JsDeferred};
use napi_derive::napi;
use trop_core::{Error, Lease, Protocol, Result, contain};

use crate::call::{Returned, answer, run};
use crate::results::Failure;

/// A lease. It ends when its JavaScript value does: as garbage, or with its thread.
pub struct LeaseHandle(Arc<Lease>);

/// A lease as `index.js` gets it.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Leased {
    /// The lease itself.
    pub handle: External<LeaseHandle>,
    /// Its port.
    pub port: u16,
    /// What it is for.
    pub label: Option<String>,
}

/// The values of [`Leased`].
pub type LeasedRow = (External<LeaseHandle>, u16, Option<String>);

/// A socket on its way to JavaScript. It is closed if the thread that asked for it ends first.
#[napi]
pub struct Socket(Option<Descriptor>);

#[cfg(unix)]
type Descriptor = std::os::fd::OwnedFd;
#[cfg(not(unix))]
type Descriptor = i32;

impl From<Lease> for Leased {
    fn from(lease: Lease) -> Leased {
        let (port, label) = (lease.port().get(), lease.label().map(str::to_owned));
        Leased { handle: External::new(LeaseHandle(Arc::new(lease))), port, label }
    }
}

impl From<Leased> for LeasedRow {
    fn from(leased: Leased) -> LeasedRow {
        (leased.handle, leased.port, leased.label)
    }
}

impl LeaseHandle {
    fn end(&self) {
        let _ = contain(|| {
            self.0.end_without_waiting();
            Ok(())
        });
    }
}

impl Drop for LeaseHandle {
    fn drop(&mut self) {
        // Not left to the drop of the last reference, because unfinished calls have others.
        self.end();
    }
}

/// Whether a lease has not ended.
#[napi]
pub fn is_open(lease: &External<LeaseHandle>) -> bool {
    contain(|| Ok(lease.0.is_open())).unwrap_or_default()
}

/// Gives the port back.
#[napi]
pub fn close_lease(lease: &External<LeaseHandle>, later: bool) -> Returned<bool> {
    run_with(lease, later, |lease| lease.close().map(|()| true))
}

/// Gives the port back without waiting for a busy database; what cannot be done at once is done by a later
/// call.
#[napi]
pub fn end_lease(lease: &External<LeaseHandle>) {
    lease.end();
}

/// A socket that listens on the port.
#[napi]
pub fn listen(lease: &External<LeaseHandle>, later: bool, host: String, backlog: i32) -> Returned<Socket> {
    run_with(lease, later, move |lease| socket(|| lease.listen(&host, backlog)))
}

/// A socket that is bound to the port.
#[napi]
pub fn bind(lease: &External<LeaseHandle>, later: bool, is_udp: bool, host: String) -> Returned<Socket> {
    let protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
    run_with(lease, later, move |lease| socket(|| lease.bind(protocol, &host)))
}

/// The descriptor of a socket, which the caller has to close; `None` if it was taken before.
#[napi]
pub fn take_descriptor(socket: &mut Socket) -> Option<i32> {
    socket.0.take().map(number)
}

/// The promise of a listener on the port.
///
/// Waits on a thread of its own: a few waits would fill libuv's pool, and the servers waited for could not
/// start.
///
/// # Errors
/// Only when Node.js makes no promise, such as in a thread that is being ended.
#[napi]
pub fn wait_listening<'env>(
    env: &'env Env,
    lease: &External<LeaseHandle>,
    milliseconds: i64,
) -> napi::Result<Either<Object<'env>, Failure>> {
    let lease = Arc::clone(&lease.0);
    let (hand_over, promised) = mpsc::channel();
    let wait = move || {
        // `index.js` lets no negative number through.
        let timeout = Duration::from_millis(milliseconds.unsigned_abs());
        let listening = answer(contain(|| lease.wait_listening(timeout).map(|()| true)));
        if let Ok(deferred) = promised.recv() {
            let deferred: JsDeferred<_, _> = deferred;
            deferred.resolve(move |_| Ok(listening));
        }
    };
    if let Err(source) = thread::Builder::new().name("trop-wait".to_owned()).spawn(wait) {
        let error =
            Error::Io { action: "start", path: Path::new("a thread").to_owned(), source, argument: None };
        return Ok(Either::B(error.into()));
    }
    // After the thread: a thread without a promise ends, but a promise without a thread would never be
    // settled.
    let (deferred, promise) = env.create_deferred()?;
    let _ = hand_over.send(deferred);
    Ok(Either::A(promise))
}

fn run_with<T, W>(lease: &LeaseHandle, later: bool, work: W) -> Returned<T>
where
    T: ToNapiValue + TypeName + Send + 'static,
    W: FnOnce(&Lease) -> Result<T> + Send + 'static,
{
    run(later, || {
        let lease = Arc::clone(&lease.0);
        Ok(move || work(&lease))
    })
}

#[cfg(unix)]
fn socket<S: Into<Descriptor>>(open: impl FnOnce() -> Result<S>) -> Result<Socket> {
    Ok(Socket(Some(open()?.into())))
}

#[cfg(unix)]
fn number(descriptor: Descriptor) -> i32 {
    std::os::fd::IntoRawFd::into_raw_fd(descriptor)
}

#[cfg(not(unix))]
fn socket<S>(_open: impl FnOnce() -> Result<S>) -> Result<Socket> {
    let reason = "sockets are no file descriptors on this platform; listen on the port of the lease";
    Err(Error::Unsupported { reason: reason.to_owned() })
}

#[cfg(not(unix))]
fn number(descriptor: Descriptor) -> i32 {
    descriptor
}
