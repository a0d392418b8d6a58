//! Waiting for a lock of another process: until an exact deadline, and not a moment into a fork.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

/// How many threads are about to fork. A lock wait gives up then, and its operation starts again afterwards.
pub(super) static FORKS_PENDING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// When this thread's operation has to give up.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether something else than the deadline ended this thread's last try: a fork, or a file that was replaced.
    static INTERRUPTED: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn start(deadline: Instant) {
    DEADLINE.set(Some(deadline));
    INTERRUPTED.set(false);
}

/// Gives up a try that is to be made again; nothing has been committed.
pub(super) fn interrupt() -> Error {
    INTERRUPTED.set(true);
    Error::Busy { waited: Duration::ZERO }
}

/// Tells it once: the next try may fail before it waits for a lock at all.
pub(super) fn interrupted() -> bool {
    INTERRUPTED.take()
}

/// Sleeps before the next try for a lock; false when there must be no other try.
///
/// Transactions take tens of microseconds, so the pauses stay short however long the wait: with many
/// processes waiting, long pauses are what makes the unluckiest one wait for seconds.
pub(super) fn pause(attempt: u32) -> bool {
    if FORKS_PENDING.load(Ordering::SeqCst) > 0 {
        INTERRUPTED.set(true);
        return false;
    }
    let now = Instant::now();
    let Some(left) = DEADLINE.get().and_then(|deadline| deadline.checked_duration_since(now)) else {
        return false;
    };
    if left.is_zero() {
        return false;
    }
    if attempt < 3 {
        thread::yield_now();
        return true;
    }
    let ceiling = (50_u64 << attempt.min(7)).min(3000);
    thread::sleep(Duration::from_micros(ceiling / 2 + jitter(ceiling / 2)).min(left));
    true
}

/// A number below `bound`, different between processes that started to wait together.
fn jitter(bound: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    thread_local!(static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(std::process::id()) | 1));
    // Xorshift, by Marsaglia (2003).
    let mut state = STATE.get();
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    STATE.set(state);
    state % bound.max(1)
}
