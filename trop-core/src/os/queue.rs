//! Where processes wait for each other: asleep until one of them wakes the next, or a time is over.
//!
//! A file that all of them map, with words to sleep on, and which the one that is next has locked. Nothing else depends on
//! what is in it: whoever waits tries again after a while by itself, so that nothing is lost with a process that was
//! killed or stopped, nor with the file. It is there for speed alone: many that wake up just to look take more time
//! than all that they wait for.

#[cfg(target_os = "linux")]
pub(crate) use linux::Queue;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Queue;

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::fs::{File, OpenOptions};
    use std::io::{Error, Result};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    use std::path::Path;
    use std::ptr::{NonNull, null_mut};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// After so many turns for each that waits, somebody should have been called.
    const PATIENCE: u32 = 3;
    /// The longest sleep: a thread that forks waits for it. The tests tell who was woken from who woke up.
    const LONGEST_SLEEP: Duration = Duration::from_millis(if cfg!(test) { 3_600_000 } else { 100 });

    pub(crate) struct Queue {
        file: File,
        shared: NonNull<Shared>,
        is_next: Cell<bool>,
        /// What `over` was before the last try.
        seen: Cell<u32>,
    }

    /// The whole of the file. Atomic integers may have any value, and so may these.
    #[repr(C)]
    struct Shared {
        /// Changes when the next one is called.
        called: AtomicU32,
        /// Changes when a turn is over.
        over: AtomicU32,
        /// About how many wait to be called.
        waiting: AtomicU32,
    }

    // SAFETY: what it points to is shared between processes anyway, and mapped until it is dropped.
    unsafe impl Send for Queue {}

    impl Queue {
        /// Opens the file, made if need be.
        pub(crate) fn open(path: &Path) -> Result<Queue> {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
            if file.metadata()?.len() < size_of::<Shared>() as u64 {
                // Written, not just lengthened: touching a page that has no room on the disk would end the process.
                file.write_all_at(&[0; size_of::<Shared>()], 0)?;
            }
            // SAFETY: a new mapping of a file; the kernel checks the arguments.
            let map = unsafe {
                let access = libc::PROT_READ | libc::PROT_WRITE;
                libc::mmap(null_mut(), size_of::<Shared>(), access, libc::MAP_SHARED, file.as_raw_fd(), 0)
            };
            match NonNull::new(map.cast()).filter(|_| map != libc::MAP_FAILED) {
                Some(shared) => Ok(Queue { file, shared, is_next: Cell::new(false), seen: Cell::new(0) }),
                None => Err(Error::last_os_error()),
            }
        }

        fn shared(&self) -> &Shared {
            // SAFETY: mapped until this is dropped.
            unsafe { self.shared.as_ref() }
        }

        /// Sleeps until it is time to try, at most so long. The next one tries when it has become that, when a turn is over
        /// and when one should be; all others when so much time has gone by that something must be out of order.
        pub(crate) fn wait(&self, turn: Duration, at_most: Duration) {
            let shared = self.shared();
            if self.is_next.get() {
                // At once, if a turn has ended during the last try.
                futex_wait(&shared.over, self.seen.get(), at_most.min(turn));
            } else {
                let others = shared.waiting.load(Ordering::Relaxed);
                // Those that have waited for longer come first.
                if others > 0 || !self.become_next() {
                    let called = shared.called.load(Ordering::SeqCst);
                    shared.waiting.fetch_add(1, Ordering::Relaxed);
                    let patience = turn.saturating_mul(PATIENCE.saturating_mul(others.saturating_add(1)));
                    futex_wait(&shared.called, called, at_most.min(patience).min(LONGEST_SLEEP));
                    // Whoever called nobody has said meanwhile that there is none.
                    let less = |waiting: u32| waiting.checked_sub(1);
                    let _ = shared.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
                    self.become_next();
                }
            }
            self.seen.set(shared.over.load(Ordering::SeqCst));
        }

        /// Locks the file, which is free again when a process ends in whatever way.
        fn become_next(&self) -> bool {
            self.is_next.set(self.is_next.get() || self.file.try_lock().is_ok());
            self.is_next.get()
        }

        /// To be called by who has waited and does so no more: another one is the next, called if there was none.
        pub(crate) fn leave(&self) {
            if self.become_next() {
                self.is_next.set(false);
                // Closing would unlock it too.
                let _ = self.file.unlock();
                if !futex_wake(&self.shared().called) {
                    // Those that were killed in their sleep are counted no more.
                    self.shared().waiting.store(0, Ordering::Relaxed);
                }
            }
        }

        /// Tells the next one that it is time to try. False if there is none that sleeps.
        pub(crate) fn wake_next(&self) -> bool {
            futex_wake(&self.shared().over)
        }
    }

    /// Sleeps while the word is what it was, until it is woken, at most so long.
    fn futex_wait(word: &AtomicU32, seen: u32, at_most: Duration) {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(at_most.subsec_nanos().cast_signed()),
        };
        // SAFETY: futex(2) reads the word and the timeout. Whatever it answers, the caller tries again.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, &raw const timeout) };
    }

    /// Wakes the one that has slept on the word for longest, if there is one.
    fn futex_wake(word: &AtomicU32) -> bool {
        word.fetch_add(1, Ordering::SeqCst);
        // SAFETY: futex(2) uses the address alone.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) > 0 }
    }

    impl Drop for Queue {
        fn drop(&mut self) {
            // SAFETY: mapped by `open`, and nobody else has the address.
            unsafe { libc::munmap(self.shared.as_ptr().cast(), size_of::<Shared>()) };
        }
    }
}

/// Nobody is woken here, so waiting is sleeping for some turns.
#[cfg(not(target_os = "linux"))]
mod other {
    use std::io::Result;
    use std::path::Path;
    use std::thread;
    use std::time::Duration;

    pub(crate) struct Queue;

    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as where there is a queue")]
    impl Queue {
        pub(crate) fn open(_path: &Path) -> Result<Queue> {
            Ok(Queue)
        }

        pub(crate) fn wait(&self, turn: Duration, at_most: Duration) {
            thread::sleep(at_most.min(turn * 3));
        }

        pub(crate) fn leave(&self) {}

        pub(crate) fn wake_next(&self) -> bool {
            true
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod tests {
    use std::path::Path;
    use std::sync::mpsc::{Sender, channel};
    use std::thread;
    use std::time::Duration;

    use super::Queue;

    const LONG: Duration = Duration::from_secs(3600);

    /// A thread that waits in the queue, and says a name when it has waited. It stays the next one until it is told to
    /// leave, or this is dropped.
    fn waiter(path: &Path, name: char, said: &Sender<char>) -> Sender<()> {
        let ((leave, told), (say, thread)) = (channel(), channel());
        let (path, said) = (path.to_path_buf(), said.clone());
        thread::spawn(move || {
            let queue = Queue::open(&path).unwrap();
            say.send(thread_id()).unwrap();
            queue.wait(LONG, LONG);
            said.send(name).unwrap();
            let _ = told.recv();
            queue.leave();
        });
        until_asleep(thread.recv().unwrap());
        leave
    }

    pub(crate) fn thread_id() -> libc::pid_t {
        // SAFETY: a plain system call.
        unsafe { libc::gettid() }
    }

    pub(crate) fn until_asleep(thread: libc::pid_t) {
        let stat = format!("/proc/self/task/{thread}/stat");
        while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
            thread::yield_now();
        }
    }

    #[test]
    fn they_are_called_in_the_order_they_came() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let queue = Queue::open(&path).unwrap();
        // There is nobody else, so this is to try at once.
        queue.wait(LONG, LONG);
        let (said, names) = channel();
        let waiters = ['a', 'b', 'c'].map(|name| waiter(&path, name, &said));
        queue.leave();
        for (name, waiter) in ['a', 'b', 'c'].into_iter().zip(&waiters) {
            assert_eq!(names.recv().unwrap(), name);
            assert!(names.try_recv().is_err(), "one at a time");
            waiter.send(()).unwrap();
        }
    }

    #[test]
    fn who_is_next_is_woken_and_what_it_has_missed_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let [next, other] = [(); 2].map(|()| Queue::open(&path).unwrap());
        next.wait(LONG, LONG);
        assert!(!other.wake_next(), "nobody sleeps");
        next.wait(LONG, LONG);
        let sleeper = thread_id();
        let other = thread::spawn(move || {
            until_asleep(sleeper);
            assert!(other.wake_next());
        });
        next.wait(LONG, LONG);
        other.join().unwrap();
    }

    #[test]
    fn waiting_ends_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let [next, other] = [(); 2].map(|()| Queue::open(&path).unwrap());
        next.wait(LONG, LONG);
        let short = Duration::from_millis(1);
        for (turn, at_most) in [(short, LONG), (LONG, short)] {
            next.wait(turn, at_most);
            other.wait(turn, at_most);
        }
        // As when its process was killed.
        drop(next);
        other.wait(LONG, LONG);
    }

    #[test]
    fn what_is_no_queue_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        std::fs::create_dir(&path).unwrap();
        assert!(Queue::open(&path).is_err());
        std::fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(Queue::open(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        // Whatever is in it.
        std::fs::write(&path, [0xff; 100]).unwrap();
        let queue = Queue::open(&path).unwrap();
        queue.wait(LONG, Duration::from_millis(1));
        queue.leave();
        queue.wait(LONG, LONG);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 100);
    }
}
