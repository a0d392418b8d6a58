//! Keeps a process usable on both sides of `fork`; docs/design.md has the argument and a picture.
//!
//! SQLite does not survive a fork: its table of file locks is inherited, so that even a connection which the
//! child opens by itself would take no locks. Therefore all connections are closed before every fork and
//! opened again, lazily, on both sides. The forking thread holds the lock of this module across the fork. It
//! is the only lock of trop that is ever held by a thread while another one forks, or is taken inside it, so
//! no child inherits a lock that nobody is left to release.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
#[cfg(unix)]
use std::time::Duration;
use std::time::Instant;

use crate::model::{Error, Result};
#[cfg(unix)]
use crate::os::process;

/// What it guards is whatever is read and written through [`locked_on`] and [`lock`]. Holds how many threads
/// wait for a change of that.
static LOCK: Mutex<usize> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();

/// How many threads are about to fork. Whoever waits for a database lock gives up then and tries again
/// afterwards.
static PENDING: AtomicUsize = AtomicUsize::new(0);

/// How often this process is the child of a fork that trop has seen. Process ids are used again, this is not.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Set in a child whose fork came from inside an operation: its copy of SQLite cannot be used any more.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// What is done with the connections of this process around a fork. All run while the lock is held.
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
    /// The lock, held by the forking thread across the fork.
    /// Without a destructor: programs may fork in exit handlers, after the thread's destructors.
    static HELD: Cell<Option<ManuallyDrop<Guard>>> = const { Cell::new(None) };
}

/// Registers what runs around every fork of this process from now on, the first time it is called.
pub(crate) fn protect(handlers: Handlers) {
    if HANDLERS.set(handlers).is_ok() {
        #[cfg(unix)]
        process::on_fork(before, after_in_parent, after_in_child);
    }
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

/// Runs something while no thread forks. It must be short, and may use no connection.
pub(crate) fn locked<T>(run: impl FnOnce() -> T) -> T {
    let _guard = (!is_broken()).then(lock);
    run()
}

/// Runs something on what a mutex guards while no thread forks, so that no child ever inherits it locked. As
/// for [`locked`]; whoever locks such a mutex does it by this.
pub(crate) fn locked_on<S, T>(state: &Mutex<S>, run: impl FnOnce(&mut S) -> T) -> T {
    locked(|| run(&mut state.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Takes the lock. While it is held no thread of this process forks.
pub(crate) fn lock() -> Guard {
    // Nothing panics while it is held; if something did, what it guards is still whole.
    Guard(LOCK.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The lock, until it is dropped.
pub(crate) struct Guard(MutexGuard<'static, usize>);

impl Guard {
    /// Wakes whoever waits for a change.
    pub(crate) fn notify(&self) {
        if *self.0 > 0 {
            CHANGED.notify_all();
        }
    }

    /// Lets go of the lock until something has changed, or the deadline has passed. A fork is waited for even
    /// then.
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

/// Marks this thread as being inside an operation, which a fork of another thread waits for, until it is
/// dropped.
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
    /// One that is to be woken may have been about to fall asleep, so all are woken again after this time.
    const AGAIN: Duration = Duration::from_millis(2);

    let Some(handlers) = HANDLERS.get() else { return };
    if INSIDE.get() > 0 || is_broken() {
        // A signal handler forks in the middle of an operation of this very thread: waiting would never end.
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
