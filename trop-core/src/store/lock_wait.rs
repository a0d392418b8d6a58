//! Waits for locks that other processes hold: until an exact deadline, in turn, and never while a fork is
//! pending.
//!
//! docs/design.md has the states of the fair lock and why it is there.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::fork;
use crate::model::Result;
use crate::os::fs::beside;
use crate::os::lock_queue::LockQueue;

/// The suffix of the file beside a database through which its writers queue.
const QUEUE: &str = "-queue";

/// The longest pause where there is no queue. Transactions take tens of microseconds, so pauses stay short
/// however long the wait is.
const LONGEST_PAUSE: Duration = Duration::from_micros(2500);

/// How many times a lock is tried again after only yielding the processor. Most locks are held for less time
/// than falling asleep takes.
const YIELDS: u32 = 2;

/// How this thread's operation waits for locks.
struct Waiter {
    /// When the operation has to give up. Before the first operation there is no deadline, and nothing is
    /// waited for.
    deadline: Option<Instant>,
    /// Whether a fork ended the last try.
    interrupted: bool,
    /// Whether the thread has slept while waiting for the lock that it is taking.
    slept: bool,
    /// The queue in which it waits for the lock that it is taking.
    queue: Option<Queue>,
}

thread_local! {
    /// A thread-local, because the code that waits is the busy handler of a connection, for which rusqlite
    /// accepts only a plain function. It has no destructor, because programs may still take a lock in the
    /// destructors of their own thread-local values.
    static WAITER: RefCell<ManuallyDrop<Waiter>> = const {
        RefCell::new(ManuallyDrop::new(Waiter { deadline: None, interrupted: false, slept: false, queue: None }))
    };
}

fn waiter<T>(use_it: impl FnOnce(&mut Waiter) -> T) -> T {
    WAITER.with_borrow_mut(|waiter| use_it(waiter))
}

/// Begins a try of this thread's operation. Its waits end at the deadline.
pub(super) fn start(deadline: Instant) {
    waiter(|waiter| (waiter.deadline, waiter.interrupted) = (Some(deadline), false));
}

/// Whether a fork ended the last try. Reading the answer resets it, because the next try may fail before it
/// waits for a lock at all.
pub(super) fn was_interrupted() -> bool {
    waiter(|waiter| std::mem::take(&mut waiter.interrupted))
}

/// Waits before the next try to take a lock. Returns false when there must be no other try.
pub(super) fn pause(attempt: u32) -> bool {
    if attempt >= YIELDS || fork::is_pending() {
        return wait();
    }
    thread::yield_now();
    waiter(|waiter| waiter.deadline.is_some_and(|deadline| deadline > Instant::now()))
}

fn wait() -> bool {
    if fork::is_pending() {
        waiter(|waiter| waiter.interrupted = true);
        return false;
    }
    let now = Instant::now();
    let Some((left, mut queue)) = waiter(|waiter| {
        let left = waiter.deadline?.checked_duration_since(now).filter(|left| !left.is_zero())?;
        waiter.slept = true;
        Some((left, waiter.queue.take()))
    }) else {
        return false;
    };
    match &mut queue {
        Some(queue) => queue.wait(left),
        None => pause_without_queue(left),
    }
    waiter(|waiter| waiter.queue = queue);
    true
}

fn pause_without_queue(at_most: Duration) {
    thread::sleep(jittered(LONGEST_PAUSE).min(at_most));
}

/// A random time between half of the ceiling and all of it, so that processes which started to wait together
/// do not try again together.
fn jittered(ceiling: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    thread_local!(static STATE: Cell<u32> = {
        #[allow(clippy::cast_possible_truncation, reason = "any part of it will do")]
        let seed = RandomState::new().hash_one(std::process::id()) as u32;
        Cell::new(seed | 1)
    });
    // Xorshift, by Marsaglia (2003).
    let mut state = STATE.get();
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    STATE.set(state);
    ceiling / 2 + (ceiling / 2).mul_f64(f64::from(state) / f64::from(u32::MAX))
}

/// How long turns and sleeps last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// A turn. It is long enough for about a dozen changes, so that handing over the lock does not take most
    /// of the time.
    pub(super) turn: Duration,
    /// The time after which a waiter tries by itself, in case no process is left to wake it.
    pub(super) longest_sleep: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { turn: Duration::from_micros(600), longest_sleep: Duration::from_millis(100) }
    }
}

/// The queue of a database. It is opened at the first wait.
#[derive(Default)]
struct Queue {
    /// The database whose queue is still to be opened, if any.
    database: Option<PathBuf>,
    opened: Option<LockQueue>,
    timing: Timing,
}

impl Queue {
    fn wait(&mut self, at_most: Duration) {
        if let Some(database) = self.database.take() {
            self.opened =
                LockQueue::open(&beside(&database, QUEUE), &database, self.timing.longest_sleep).ok();
        }
        match &self.opened {
            Some(queue) => queue.wait(self.timing.turn, at_most),
            None => pause_without_queue(at_most),
        }
    }
}

/// SQLite's write lock, taken in turns.
///
/// A process that releases the lock and takes it again at once wins against all processes that sleep until
/// their next try. With many processes the unluckiest one would wait until all others are done. Therefore a
/// connection that had to sleep may take the lock repeatedly only for a short turn. Then it wakes the next
/// waiter and waits again.
pub(super) struct FairLock {
    queue: RefCell<Queue>,
    state: Cell<State>,
    turn: Duration,
}

#[derive(Clone, Copy)]
enum State {
    /// No other waiter is known.
    Uncontended,
    /// The lock was taken after sleeping for it, and has not been released since.
    TurnBegun,
    /// The turn has begun: the lock was first released at this time.
    TurnSince(Instant),
    /// The turn is over, and another waiter was woken to take the lock.
    TurnOver,
}

impl FairLock {
    /// A lock that is not taken. With a database, its users wait in the queue of that database.
    pub(super) fn new(database: Option<&Path>, timing: Timing) -> FairLock {
        let queue = Queue { database: database.map(Path::to_path_buf), opened: None, timing };
        FairLock { queue: RefCell::new(queue), state: Cell::new(State::Uncontended), turn: timing.turn }
    }

    /// Must be created before the lock is taken, and dropped after it was released.
    pub(super) fn turn(&self) -> Turn<'_> {
        Turn(self)
    }

    fn acquire<T>(&self, begin: impl FnOnce() -> Result<T>) -> Result<T> {
        let queue = self.queue.take();
        waiter(|waiter| (waiter.slept, waiter.queue) = (false, Some(queue)));
        if matches!(self.state.get(), State::TurnOver) {
            self.state.set(State::Uncontended);
            wait();
        }
        let lock = begin();
        let (slept, queue) = waiter(|waiter| (std::mem::take(&mut waiter.slept), waiter.queue.take()));
        let queue = queue.unwrap_or_default();
        if slept {
            self.state.set(State::TurnBegun);
            if let Some(queue) = &queue.opened {
                queue.leave();
            }
        }
        self.queue.replace(queue);
        lock
    }

    #[cfg(test)]
    pub(super) fn is_turn_begun(&self) -> bool {
        matches!(self.state.get(), State::TurnBegun)
    }

    fn end_turn(&self) {
        let is_over = match self.state.get() {
            State::TurnBegun => false,
            State::TurnSince(began) if began.elapsed() >= self.turn => true,
            State::Uncontended | State::TurnSince(_) | State::TurnOver => return,
        };
        // A waiter is woken after the first change too, because it may be the only one of this turn.
        let woke_another = self.queue.borrow().opened.as_ref().is_some_and(LockQueue::wake_head);
        let since_now = || State::TurnSince(Instant::now());
        self.state.set(if is_over && woke_another { State::TurnOver } else { since_now() });
    }
}

/// Part of a turn, through which the lock is taken. Dropping it means that the lock was released, whether or
/// not the transaction succeeded, so it has to outlive the transaction.
pub(super) struct Turn<'l>(&'l FairLock);

impl Turn<'_> {
    /// Calls `begin` to take the lock, when it is this connection's turn.
    pub(super) fn acquire<T>(&self, begin: impl FnOnce() -> Result<T>) -> Result<T> {
        self.0.acquire(begin)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.end_turn();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Timing = Timing { turn: Duration::from_secs(10), longest_sleep: Duration::from_secs(3600) };

    fn take(lock: &FairLock, meanwhile: impl FnOnce()) {
        start(Instant::now() + Duration::from_secs(3600));
        let begin = || {
            meanwhile();
            Ok(())
        };
        lock.acquire(begin).unwrap();
    }

    fn sleep_once() {
        assert!(pause(YIELDS));
    }

    fn long_ago() -> State {
        State::TurnSince(Instant::now().checked_sub(LONG.turn).unwrap())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_turn_is_over_in_time_if_somebody_waits() {
        use crate::os::lock_queue::tests::{alone, thread_id, until_asleep};
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("db");
        let [lock, others] = [(); 2].map(|()| FairLock::new(Some(&database), LONG));
        take(&lock, || assert!(pause(0)));
        assert!(matches!(lock.state.get(), State::Uncontended), "it did not sleep");

        take(&lock, sleep_once);
        assert!(matches!(lock.state.get(), State::TurnBegun));
        lock.end_turn();
        assert!(matches!(lock.state.get(), State::TurnSince(_)));
        lock.state.set(long_ago());
        lock.end_turn();
        assert!(matches!(lock.state.get(), State::TurnSince(_)), "nobody waits");

        let (say, thread) = std::sync::mpsc::channel();
        let other = thread::spawn(move || {
            take(&others, || {
                // Now it is the head of the queue.
                sleep_once();
                say.send(thread_id()).unwrap();
                sleep_once();
            });
        });
        until_asleep(thread.recv().unwrap());
        lock.end_turn();
        assert!(matches!(lock.state.get(), State::TurnSince(_)), "it is not over");
        lock.state.set(long_ago());
        lock.end_turn();
        assert!(matches!(lock.state.get(), State::TurnOver));
        other.join().unwrap();
        take(&lock, || ());
        assert!(matches!(lock.state.get(), State::TurnBegun), "it waited first");
    }

    #[test]
    fn the_end_of_a_turn_is_not_forgotten() {
        let lock = FairLock::new(None, LONG);
        let turn = lock.turn();
        start(Instant::now() + Duration::from_secs(3600));
        assert!(turn.acquire(|| Ok(pause(YIELDS))).unwrap());
        assert!(matches!(lock.state.get(), State::TurnBegun));
        drop(turn);
        assert!(matches!(lock.state.get(), State::TurnSince(_)));
    }

    #[test]
    fn without_a_queue_there_are_pauses_and_no_turns() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("db");
        std::fs::create_dir(directory.path().join("db-queue")).unwrap();
        for path in [None, Some(database.as_path())] {
            let lock = FairLock::new(path, LONG);
            take(&lock, sleep_once);
            lock.end_turn();
            let State::TurnSince(past) = long_ago() else { unreachable!() };
            lock.state.set(State::TurnSince(past));
            lock.end_turn();
            assert!(matches!(lock.state.get(), State::TurnSince(began) if began > past));
        }
    }

    #[test]
    fn nothing_is_waited_for_after_the_deadline() {
        let lock = FairLock::new(None, LONG);
        start(Instant::now());
        lock.state.set(State::TurnOver);
        let is_tried_again = lock.acquire(|| Ok(pause(0) || pause(YIELDS))).unwrap();
        assert!(!is_tried_again);
    }

    #[test]
    fn pauses_are_between_half_and_all_of_their_ceiling() {
        for _ in 0..1000 {
            let pause = jittered(LONGEST_PAUSE);
            assert!(pause >= LONGEST_PAUSE / 2 && pause <= LONGEST_PAUSE, "{pause:?}");
        }
    }
}
