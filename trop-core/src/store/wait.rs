//! Waiting for a lock of another process: until an exact deadline, and not a moment into a fork.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

/// How many threads are about to fork. A lock wait gives up then, and its operation starts again afterwards.
pub(super) static FORKS_PENDING: AtomicUsize = AtomicUsize::new(0);

/// Transactions take tens of microseconds, so the pauses stay short however long the wait: with many processes waiting,
/// long pauses are what makes the unluckiest one wait for seconds.
const LONGEST_PAUSE: Duration = Duration::from_micros(2500);

/// How often a lock is tried again at once, letting others run in between: most are held for less than falling asleep takes.
const YIELDS: u32 = 5;

thread_local! {
    /// When this thread's operation has to give up.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether something else than the deadline ended this thread's last try: a fork, or a file that was replaced.
    static INTERRUPTED: Cell<bool> = const { Cell::new(false) };
    /// When this thread's first pause for the current lock began.
    static WAITING_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Letting others go first. Whoever gives the lock back and takes it again at once wins against all that sleep until
/// their next try, so that with many processes the unluckiest waits until all others are done. Therefore a connection
/// that had to wait keeps the lock to itself for a short turn only, then stays away for half as long as it had waited.
#[derive(Default)]
pub(super) struct Turns(Cell<Option<Turn>>);

#[derive(Clone, Copy)]
struct Turn {
    /// How long the lock was waited for.
    waited: Duration,
    began: Instant,
    /// When the lock was last given back.
    ended: Instant,
}

impl Turns {
    /// How long a turn lasts: a dozen of changes, so that the change of hands is not what most of the time is spent on.
    const LENGTH: Duration = Duration::from_micros(800);
    /// The longest time to stay away: one who held the lock for long need not have been one of many.
    const AWAY: Duration = Duration::from_millis(100);

    /// To be called before the lock is taken.
    pub(super) fn give_way(&self) {
        WAITING_SINCE.set(None);
        let Some(turn) = self.0.get() else { return };
        let now = Instant::now();
        if now - turn.began < Turns::LENGTH {
            return;
        }
        self.0.set(None);
        let mut end = turn.ended + (turn.waited / 2).min(Turns::AWAY);
        end = DEADLINE.get().map_or(end, |deadline| deadline.min(end));
        while FORKS_PENDING.load(Ordering::SeqCst) == 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(LONGEST_PAUSE));
        }
    }

    /// To be called when the lock was taken.
    pub(super) fn begin(&self) {
        if let Some(since) = WAITING_SINCE.take() {
            let now = Instant::now();
            self.0.set(Some(Turn { waited: now - since, began: now, ended: now }));
        }
    }

    /// To be called when the lock was given back.
    pub(super) fn end(&self) {
        if let Some(turn) = self.0.get() {
            self.0.set(Some(Turn { ended: Instant::now(), ..turn }));
        }
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

/// Sleeps before the next try for a lock; false when there must be no other try.
pub(super) fn pause(attempt: u32) -> bool {
    if FORKS_PENDING.load(Ordering::SeqCst) > 0 {
        INTERRUPTED.set(true);
        return false;
    }
    let now = Instant::now();
    let Some(deadline) = DEADLINE.get().filter(|deadline| *deadline > now) else { return false };
    if WAITING_SINCE.get().is_none() {
        WAITING_SINCE.set(Some(now));
    }
    if attempt < YIELDS {
        thread::yield_now();
    } else {
        thread::sleep(jittered(LONGEST_PAUSE).min(deadline - now));
    }
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

    /// How long a connection stays away, from the end of a turn that it had waited for.
    fn time_away(waited: Duration, deadline: Duration) -> Duration {
        let now = Instant::now();
        start(now + deadline);
        let turns = Turns::default();
        WAITING_SINCE.set(now.checked_sub(waited));
        turns.begin();
        let turn = turns.0.get().unwrap();
        turns.0.set(Some(Turn { began: now + Duration::from_secs(3600), ..turn }));
        turns.give_way();
        assert!(turns.0.get().is_some(), "within the turn");
        turns.0.set(Some(Turn { began: now.checked_sub(Turns::LENGTH).unwrap(), ..turn }));
        let began = Instant::now();
        turns.end();
        turns.give_way();
        assert!(turns.0.get().is_none());
        began.elapsed()
    }

    #[test]
    fn who_had_to_wait_stays_away_after_its_turn() {
        let (ms, long) = (Duration::from_millis, Duration::from_secs(60));
        assert!(time_away(ms(100), long) >= ms(50));
        assert!(time_away(ms(100_000), long) >= Turns::AWAY);
        assert!(time_away(ms(100_000), long) < ms(50_000));
        assert!(time_away(ms(100_000), ms(0)) < ms(50_000));
    }

    #[test]
    fn who_did_not_wait_has_no_turn() {
        let turns = Turns::default();
        start(Instant::now() + Duration::from_secs(60));
        turns.give_way();
        turns.begin();
        turns.end();
        assert!(turns.0.get().is_none());
    }

    #[test]
    fn pauses_are_between_half_and_all_of_their_ceiling() {
        for _ in 0..1000 {
            let pause = jittered(LONGEST_PAUSE);
            assert!(pause >= LONGEST_PAUSE / 2 && pause <= LONGEST_PAUSE, "{pause:?}");
        }
    }
}
