//! Waiting for a lock of another process: until an exact deadline, and not a moment into a fork.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::os::queue::Queue;

/// How many threads are about to fork. A lock wait gives up then, and its operation starts again afterwards.
pub(super) static FORKS_PENDING: AtomicUsize = AtomicUsize::new(0);

/// After the name of a database: the file in which those that write to it wait for each other.
const QUEUE: &str = "-queue";

/// Transactions take tens of microseconds, so where there is no queue the pauses stay short however long the wait.
const LONGEST_PAUSE: Duration = Duration::from_micros(2500);

/// How often a lock is tried again at once, letting others run in between: most are held for less than falling asleep takes.
const YIELDS: u32 = 2;

thread_local! {
    /// When this thread's operation has to give up.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether something else than the deadline ended this thread's last try: a fork, or a file that was replaced.
    static INTERRUPTED: Cell<bool> = const { Cell::new(false) };
    /// Where this thread waits for the lock that it is about to take.
    /// Without a destructor: programs may still take it in those of their threads.
    static PLACE: RefCell<Option<ManuallyDrop<Place>>> = const { RefCell::new(None) };
    /// Whether it has slept for it.
    static SLEPT: Cell<bool> = const { Cell::new(false) };
}

/// The queue of a database, opened when there is something to wait for.
#[derive(Default)]
struct Place {
    /// The database, if there is a queue that was not opened yet.
    database: Option<PathBuf>,
    queue: Option<Queue>,
}

impl Place {
    fn wait(&mut self, at_most: Duration) {
        if let Some(database) = self.database.take() {
            self.queue = Queue::open(&super::beside(&database, QUEUE), &database).ok();
        }
        match &self.queue {
            Some(queue) => queue.wait(Turns::LENGTH, at_most),
            None => pause_without_queue(at_most),
        }
    }
}

fn pause_without_queue(at_most: Duration) {
    thread::sleep(jittered(LONGEST_PAUSE).min(at_most));
}

/// How those that write take turns. Whoever gives the lock back and takes it again at once wins against all that sleep
/// until their next try, so that with many processes the unluckiest waits until all others are done. Therefore a connection
/// that had to sleep takes the lock again and again for a short turn only, then wakes the next one and waits once more.
pub(super) struct Turns {
    place: RefCell<Place>,
    turn: Cell<Turn>,
}

#[derive(Clone, Copy)]
enum Turn {
    /// Nobody is known to wait.
    Free,
    /// The lock is held after sleeping for it.
    Begun,
    /// The lock was first given back.
    Since(Instant),
    /// It is another one's.
    Over,
}

impl Turns {
    /// How long a turn lasts: a dozen of changes, so that the change of hands is not what most of the time is spent on.
    const LENGTH: Duration = Duration::from_micros(if cfg!(test) { 10_000_000 } else { 600 });

    /// None have been taken yet; one with a file has a queue.
    pub(super) fn new(database: Option<&Path>) -> Turns {
        let place = Place { database: database.map(Path::to_path_buf), queue: None };
        Turns { place: RefCell::new(place), turn: Cell::new(Turn::Free) }
    }

    /// Takes the lock by `begin`, when it is this connection's turn.
    pub(super) fn take<T>(&self, begin: impl FnOnce() -> Result<T>) -> Result<T> {
        SLEPT.set(false);
        PLACE.replace(Some(ManuallyDrop::new(self.place.take())));
        if matches!(self.turn.get(), Turn::Over) {
            self.turn.set(Turn::Free);
            wait();
        }
        let lock = begin();
        let place = PLACE.take().map(ManuallyDrop::into_inner);
        self.place.replace(place.unwrap_or_default());
        if SLEPT.take() {
            self.turn.set(Turn::Begun);
            if let Some(queue) = &self.place.borrow().queue {
                queue.leave();
            }
        }
        lock
    }

    #[cfg(test)]
    pub(super) fn is_held(&self) -> bool {
        matches!(self.turn.get(), Turn::Begun)
    }

    /// To be called when the lock was given back, whatever was done with it.
    pub(super) fn end(&self) {
        let is_over = match self.turn.get() {
            Turn::Begun => false,
            Turn::Since(began) if began.elapsed() >= Turns::LENGTH => true,
            Turn::Free | Turn::Since(_) | Turn::Over => return,
        };
        // After the first change too, which may have been the only one.
        let is_somebodys = self.place.borrow().queue.as_ref().is_some_and(Queue::wake_next);
        self.turn.set(if is_over && is_somebodys { Turn::Over } else { Turn::Since(Instant::now()) });
    }
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

/// Waits before the next try for a lock; false when there must be no other try.
pub(super) fn pause(attempt: u32) -> bool {
    if attempt >= YIELDS || FORKS_PENDING.load(Ordering::SeqCst) > 0 {
        return wait();
    }
    thread::yield_now();
    DEADLINE.get().is_some_and(|deadline| deadline > Instant::now())
}

fn wait() -> bool {
    if FORKS_PENDING.load(Ordering::SeqCst) > 0 {
        INTERRUPTED.set(true);
        return false;
    }
    let now = Instant::now();
    let Some(deadline) = DEADLINE.get().filter(|deadline| *deadline > now) else { return false };
    SLEPT.set(true);
    PLACE.with_borrow_mut(|place| match place {
        Some(place) => place.wait(deadline - now),
        None => pause_without_queue(deadline - now),
    });
    true
}

/// Between half of a time and all of it, different between processes that started to wait together.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn take(turns: &Turns, meanwhile: impl FnOnce()) {
        start(Instant::now() + Duration::from_secs(3600));
        let begin = || {
            meanwhile();
            Ok(())
        };
        turns.take(begin).unwrap();
    }

    fn sleep_once() {
        assert!(pause(YIELDS));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_turn_is_over_in_time_if_somebody_waits() {
        let _alone = crate::os::queue::tests::alone();
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("db");
        let [turns, others] = [(); 2].map(|()| Turns::new(Some(&database)));
        let long_ago = || Turn::Since(Instant::now().checked_sub(Turns::LENGTH).unwrap());
        take(&turns, || assert!(pause(0)));
        assert!(matches!(turns.turn.get(), Turn::Free), "it did not sleep");

        take(&turns, sleep_once);
        assert!(matches!(turns.turn.get(), Turn::Begun));
        turns.end();
        assert!(matches!(turns.turn.get(), Turn::Since(_)));
        turns.turn.set(long_ago());
        turns.end();
        assert!(matches!(turns.turn.get(), Turn::Since(_)), "nobody waits");

        let (say, thread) = std::sync::mpsc::channel();
        let other = thread::spawn(move || {
            take(&others, || {
                // Now it is the next one.
                sleep_once();
                say.send(crate::os::queue::tests::thread_id()).unwrap();
                sleep_once();
            });
        });
        crate::os::queue::tests::until_asleep(thread.recv().unwrap());
        turns.end();
        assert!(matches!(turns.turn.get(), Turn::Since(_)), "it is not over");
        turns.turn.set(long_ago());
        turns.end();
        assert!(matches!(turns.turn.get(), Turn::Over));
        other.join().unwrap();
        take(&turns, || ());
        assert!(matches!(turns.turn.get(), Turn::Begun), "it waited first");
    }

    #[test]
    fn without_a_queue_there_are_pauses_and_no_turns() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("db");
        std::fs::create_dir(directory.path().join("db-queue")).unwrap();
        for place in [None, Some(database.as_path())] {
            let turns = Turns::new(place);
            take(&turns, sleep_once);
            turns.end();
            let past = Instant::now().checked_sub(Turns::LENGTH).unwrap();
            turns.turn.set(Turn::Since(past));
            turns.end();
            assert!(matches!(turns.turn.get(), Turn::Since(began) if began > past));
        }
    }

    #[test]
    fn nothing_is_waited_for_after_the_deadline() {
        let turns = Turns::new(None);
        start(Instant::now());
        turns.turn.set(Turn::Over);
        let is_tried_again = turns.take(|| Ok(pause(0) || pause(YIELDS))).unwrap();
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
