//! The calls on a lease, and what becomes of it when nobody closes it.

use std::cell::Cell;
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

/// A lease. It ends with its thread, but goes on when its JavaScript value is garbage.
pub struct LeaseHandle {
    lease: Arc<Lease>,
    /// Whether JavaScript has it. A thread may be ended before it gets the result of a call.
    is_delivered: Cell<bool>,
}

thread_local! {
    /// Whether Node.js is ending this thread, and not only collecting garbage.
    static IS_ENDING: Cell<bool> = const { Cell::new(false) };
}

/// Called by Node.js for each thread that loads the addon.
///
/// # Errors
/// When Node.js accepts no hook.
#[napi(module_exports)]
pub fn initialise(_exports: Object, env: Env) -> napi::Result<()> {
    env.add_env_cleanup_hook((), |()| IS_ENDING.set(true))?;
    Ok(())
}

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
        let handle = LeaseHandle { lease: Arc::new(lease), is_delivered: Cell::new(false) };
        Leased { handle: External::new(handle), port, label }
    }
}

impl From<Leased> for LeasedRow {
    fn from(leased: Leased) -> LeasedRow {
        (leased.handle, leased.port, leased.label)
    }
}

impl LeaseHandle {
    /// Whether the lease was open and goes on without this handle.
    fn forget(&self) -> bool {
        contain(|| Ok(self.lease.forget())).unwrap_or_default()
    }

    fn close(&self) {
        let _ = contain(|| {
            self.lease.close();
            Ok(())
        });
    }
}

impl Drop for LeaseHandle {
    fn drop(&mut self) {
        // Not left to the drop of the last reference, because unfinished calls have others.
        if self.is_delivered.get() && !IS_ENDING.get() {
            // `index.js` was collected together with the lease, as after `jest.resetModules()`.
            self.forget();
        } else {
            self.close();
        }
    }
}

/// Notes that JavaScript has a lease.
#[napi]
pub fn deliver_lease(lease: &External<LeaseHandle>) {
    lease.is_delivered.set(true);
}

/// Whether a lease has not ended.
#[napi]
pub fn is_open(lease: &External<LeaseHandle>) -> bool {
    contain(|| Ok(lease.lease.is_open())).unwrap_or_default()
}

/// Gives the port back.
#[napi]
pub fn close_lease(lease: &External<LeaseHandle>) {
    lease.close();
}

/// Lets a lease go on whose JavaScript value is garbage. Whether it was open.
#[napi]
pub fn forget_lease(lease: &External<LeaseHandle>) -> bool {
    lease.forget()
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
    let lease = Arc::clone(&lease.lease);
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
        let lease = Arc::clone(&lease.lease);
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
