//! Keeps a process usable on both sides of `fork`; docs/design.md has the argument and a picture.
//!
//! SQLite does not survive a fork: its table of file locks is inherited, so that even a connection which the
//! child opens by itself would take no locks. Therefore all connections are closed before every fork and
//! opened again, lazily, on both sides. The forking thread holds the lock of this module across the fork.
//! Every other lock that a child may need is taken only while this one is held, so no child inherits a lock
//! that no thread is left to release.

use std::cell::Cell;
#[cfg(unix)]
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Once, OnceLock, PoisonError};
#[cfg(unix)]
use std::time::Duration;
use std::time::Instant;

use crate::model::{Error, Result};
#[cfg(unix)]
use crate::os::process;

/// Guards everything that is accessed through [`locked_on`] and [`lock`]. Its value is the number of threads
/// that wait for [`CHANGED`].
static LOCK: Mutex<usize> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();

/// How many threads are about to fork. A thread that waits for a database lock stops waiting then, and tries
/// again after the fork.
static PENDING: AtomicUsize = AtomicUsize::new(0);

/// How many forks that trop has seen led to this process. Process ids can be reused, this number is not.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Set in a child that was forked from inside an operation. Its copy of SQLite cannot be used any more.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// How the connections of this process are handled around a fork. All functions run while the lock is held.
#[cfg_attr(not(unix), allow(dead_code, reason = "there is no fork"))]
pub(crate) struct Handlers {
    /// Whether a thread is using a connection, or opening one.
    pub(crate) is_any_in_use: fn(&Guard) -> bool,
    /// Wakes the threads of this process that sleep while they wait for a database lock.
    pub(crate) wake_sleepers: fn(),
    /// Closes every connection without a checkpoint.
    pub(crate) close_all: fn(&Guard),
}

static HANDLERS: OnceLock<Handlers> = OnceLock::new();

thread_local! {
    /// How many operations this thread is inside of.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
    /// The lock, held by the forking thread across the fork. It has no destructor, because programs may fork
    /// in exit handlers, after the destructors of thread-local values have run.
    #[cfg(unix)]
    static HELD: Cell<Option<ManuallyDrop<Guard>>> = const { Cell::new(None) };
}

/// Registers the handlers that run around every fork of this process from now on. Only the first call has an
/// effect, and no call returns before they are registered.
pub(crate) fn protect(handlers: Handlers) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // Before the registration: a fork at this moment must find them. This is the only place that sets
        // them.
        let _ = HANDLERS.set(handlers);
        #[cfg(unix)]
        process::on_fork(before, after_in_parent, after_in_child);
    });
}

/// Fails in a process that was forked from inside an operation.
pub(crate) fn ensure_usable() -> Result<()> {
    if is_broken() {
        let reason = "this process was forked from inside a trop call".to_owned();
        return Err(Error::Unsupported { reason });
    }
    Ok(())
}

/// Whether this process was forked from inside an operation. The lock may be held for ever then.
pub(crate) fn is_broken() -> bool {
    BROKEN.load(Ordering::SeqCst)
}

/// Whether a thread is about to fork.
pub(crate) fn is_pending() -> bool {
    PENDING.load(Ordering::SeqCst) > 0
}

/// A number that differs between a process and every child it forked.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::SeqCst)
}

/// Runs a function while no thread of this process forks. It must be short and must not use a connection.
pub(crate) fn locked<T>(run: impl FnOnce() -> T) -> T {
    let _guard = (!is_broken()).then(lock);
    run()
}

/// Like [`locked`], on the value of a mutex. Such a mutex is locked only through this function, so that no
/// child inherits it locked.
pub(crate) fn locked_on<S, T>(state: &Mutex<S>, run: impl FnOnce(&mut S) -> T) -> T {
    locked(|| run(&mut state.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Takes the lock. While it is held no thread of this process forks.
pub(crate) fn lock() -> Guard {
    // No code panics while it holds the lock. If some did, the guarded state would still be consistent.
    Guard(LOCK.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The lock, until it is dropped.
pub(crate) struct Guard(MutexGuard<'static, usize>);

impl Guard {
    /// Wakes all threads that wait for a change.
    pub(crate) fn notify(&self) {
        if *self.0 > 0 {
            CHANGED.notify_all();
        }
    }

    /// Releases the lock until the state has changed or the deadline has passed, then takes it again. The
    /// deadline does not count while a fork is pending.
    pub(crate) fn wait(mut self, deadline: Instant) -> Guard {
        *self.0 += 1;
        let mut guard = if is_pending() {
            CHANGED.wait(self.0).unwrap_or_else(PoisonError::into_inner)
        } else {
            let left = deadline.saturating_duration_since(Instant::now());
            CHANGED.wait_timeout(self.0, left).unwrap_or_else(PoisonError::into_inner).0
        };
        *guard -= 1;
        Guard(guard)
    }
}

/// Marks this thread as being inside an operation until it is dropped, so that a fork in the middle of it, by
/// a signal handler, is detected.
pub(crate) struct Inside(());

impl Inside {
    pub(crate) fn enter() -> Inside {
        INSIDE.set(INSIDE.get() + 1);
        Inside(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(INSIDE.get() - 1);
    }
}

/// Waits until no thread is inside an operation and closes every connection.
#[cfg(unix)]
extern "C" fn before() {
    /// A thread may be about to fall asleep when it is woken, so all are woken again after this time.
    const AGAIN: Duration = Duration::from_millis(2);

    let Some(handlers) = HANDLERS.get() else { return };
    if INSIDE.get() > 0 || is_broken() {
        // A signal handler forks in the middle of an operation of this very thread. Waiting for the end of
        // that operation would never end.
        return;
    }
    PENDING.fetch_add(1, Ordering::SeqCst);
    let mut guard = lock();
    *guard.0 += 1;
    while (handlers.is_any_in_use)(&guard) {
        (handlers.wake_sleepers)();
        let waited = CHANGED.wait_timeout(guard.0, AGAIN);
        guard = Guard(waited.unwrap_or_else(PoisonError::into_inner).0);
    }
    *guard.0 -= 1;
    (handlers.close_all)(&guard);
    HELD.set(Some(ManuallyDrop::new(guard)));
}

#[cfg(unix)]
extern "C" fn after_in_parent() {
    if let Some(guard) = HELD.take().map(ManuallyDrop::into_inner) {
        PENDING.fetch_sub(1, Ordering::SeqCst);
        guard.notify();
    }
}

#[cfg(unix)]
extern "C" fn after_in_child() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
    match HELD.take().map(ManuallyDrop::into_inner) {
        Some(mut guard) => {
            // The other threads do not exist here, neither those that wait nor those about to fork.
            PENDING.store(0, Ordering::SeqCst);
            *guard.0 = 0;
        }
        None => BROKEN.store(true, Ordering::SeqCst),
    }
}
