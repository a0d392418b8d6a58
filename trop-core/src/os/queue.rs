//! Where processes wait for each other: asleep until one of them wakes the next, or a time is over.
//!
//! A file that all of them map, with words to sleep on, and which the one that is next has locked. Nothing else depends on
//! what is in it: whoever waits tries again after a while by itself, so that nothing is lost with a process that was
//! killed or stopped, nor with the file. It is there for speed alone: many that wake up just to look take more time
//! than all that they wait for.

#[cfg(target_os = "linux")]
pub(crate) use linux::{Queue, wake_own};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{Queue, wake_own};

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::fs::{self, File, OpenOptions};
    use std::io::{Error, Result};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
    use std::path::Path;
    use std::ptr::{NonNull, null_mut};
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    /// After so many turns for each that waits, somebody should have been called.
    const PATIENCE: u32 = 3;
    /// The longest sleep. The tests tell who was woken from who woke up.
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
        /// Opens the file of a database, made if need be.
        pub(crate) fn open(path: &Path, database: &Path) -> Result<Queue> {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
            if file.metadata()?.len() < size_of::<Shared>() as u64 {
                // Written, not just lengthened: touching a page that has no room on the disk would end the process.
                file.write_all_at(&[0; size_of::<Shared>()], 0)?;
                let _ = like(&file, database);
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
                // Before the look whether there is a next one: who leaves meanwhile changes it.
                let called = shared.called.load(Ordering::SeqCst);
                let others = shared.waiting.load(Ordering::Relaxed);
                // Those that have waited for longer come first.
                if others > 0 || !self.become_next() {
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

    /// Gives a new file the rights of another one, as SQLite does with its own: who made it need not be the only one to wait.
    fn like(file: &File, other: &Path) -> Result<()> {
        let other = fs::metadata(other)?;
        if other.uid() != file.metadata()?.uid() {
            // Which root may do.
            fchown(file, Some(other.uid()), Some(other.gid()))?;
        }
        file.set_permissions(other.permissions())
    }

    /// The words that threads of this process sleep on. With more of them a fork may wait for the longest sleep.
    static SLEEPERS: [AtomicUsize; 32] = [const { AtomicUsize::new(0) }; 32];

    /// Wakes all threads of this process, and few others.
    pub(crate) fn wake_own() {
        for word in SLEEPERS.iter().map(|word| word.load(Ordering::SeqCst)).filter(|word| *word != 0) {
            // SAFETY: futex(2) uses the address alone, which may mean something else by now.
            unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE_BITSET, i32::MAX, 0, 0, own()) };
        }
    }

    /// What tells the sleepers of a process from most others.
    fn own() -> u32 {
        1 << (std::process::id() % u32::BITS)
    }

    /// Sleeps while the word is what it was, until it is woken, at most so long.
    fn futex_wait(word: &AtomicU32, seen: u32, at_most: Duration) {
        let address = word.as_ptr().addr();
        let slot = SLEEPERS
            .iter()
            .find(|slot| slot.compare_exchange(0, address, Ordering::SeqCst, Ordering::SeqCst).is_ok());
        let until = monotonic_time().saturating_add(at_most);
        // What futex(2) calls a timespec: of two words of the machine, which the C library's need not be.
        let until = [
            libc::c_long::try_from(until.as_secs()).unwrap_or(libc::c_long::MAX),
            libc::c_long::from(until.subsec_nanos().cast_signed()),
        ];
        // SAFETY: futex(2) reads the word and the time. Woken or not, the caller tries again.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT_BITSET,
                seen,
                until.as_ptr(),
                0,
                own(),
            )
        };
        let error = Error::last_os_error().raw_os_error();
        if let Some(slot) = slot {
            slot.store(0, Ordering::SeqCst);
        }
        let usual = [libc::EAGAIN, libc::ETIMEDOUT, libc::EINTR];
        if answer != 0 && !error.is_some_and(|code| usual.contains(&code)) {
            // It is forbidden here, and trying all the time would be worse than a pause.
            thread::sleep(at_most.min(Duration::from_millis(1)));
        }
    }

    /// The time that futex(2) reckons with.
    fn monotonic_time() -> Duration {
        let mut now = std::mem::MaybeUninit::<libc::timespec>::zeroed();
        // SAFETY: zeros are a time, and clock_gettime writes another one.
        let now = unsafe {
            libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr());
            now.assume_init()
        };
        #[allow(clippy::unnecessary_fallible_conversions, reason = "the types differ between systems")]
        Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
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

/// There is none here, so everybody pauses.
#[cfg(not(target_os = "linux"))]
mod other {
    use std::io::{Error, ErrorKind, Result};
    use std::path::Path;
    use std::time::Duration;

    pub(crate) enum Queue {}

    pub(crate) fn wake_own() {}

    impl Queue {
        pub(crate) fn open(_path: &Path, _database: &Path) -> Result<Queue> {
            Err(Error::from(ErrorKind::Unsupported))
        }

        pub(crate) fn wait(&self, _turn: Duration, _at_most: Duration) {
            match *self {}
        }

        pub(crate) fn leave(&self) {
            match *self {}
        }

        pub(crate) fn wake_next(&self) -> bool {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::thread;
    use std::time::Duration;

    use super::{Queue, wake_own};

    const LONG: Duration = Duration::from_secs(3600);

    /// One test wakes the sleepers of all.
    pub(crate) fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a queue, kept as long as the directory is.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        (directory, path)
    }

    fn open(path: &Path) -> Queue {
        Queue::open(path, path).unwrap()
    }

    /// Three waiters, of whom none is the next one, and what they will say.
    fn waiters(path: &Path) -> ([Sender<()>; 3], Receiver<char>) {
        let (said, names) = channel();
        (['a', 'b', 'c'].map(|name| waiter(path, name, &said)), names)
    }

    /// A thread that waits in the queue, and says a name when it has waited. It stays the next one until it is told to
    /// leave, or this is dropped.
    fn waiter(path: &Path, name: char, said: &Sender<char>) -> Sender<()> {
        let ((leave, told), (say, thread)) = (channel(), channel());
        let (path, said) = (path.to_path_buf(), said.clone());
        thread::spawn(move || {
            let queue = open(&path);
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
        let _alone = alone();
        let (_directory, path) = place();
        let queue = open(&path);
        // There is nobody else, so this is to try at once.
        queue.wait(LONG, LONG);
        let (waiters, names) = waiters(&path);
        queue.leave();
        for (name, waiter) in ['a', 'b', 'c'].into_iter().zip(&waiters) {
            assert_eq!(names.recv().unwrap(), name);
            assert!(names.try_recv().is_err(), "one at a time");
            waiter.send(()).unwrap();
        }
    }

    #[test]
    fn who_is_next_is_woken_and_what_it_has_missed_counts() {
        let _alone = alone();
        let (_directory, path) = place();
        let [next, other] = [(); 2].map(|()| open(&path));
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
    fn all_threads_of_the_process_can_be_woken() {
        let _alone = alone();
        let (_directory, path) = place();
        let queue = open(&path);
        queue.wait(LONG, LONG);
        let (waiters, names) = waiters(&path);
        wake_own();
        let mut woken = [(); 3].map(|()| names.recv().unwrap());
        woken.sort_unstable();
        assert_eq!(woken, ['a', 'b', 'c']);
        drop(waiters);
    }

    #[test]
    fn waiting_ends_by_itself() {
        let (_directory, path) = place();
        let [next, other] = [(); 2].map(|()| open(&path));
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
        let (_directory, path) = place();
        std::fs::create_dir(&path).unwrap();
        assert!(Queue::open(&path, &path).is_err());
        std::fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(Queue::open(&path, &path).is_err());
        std::fs::remove_file(&path).unwrap();
        // Whatever is in it.
        std::fs::write(&path, [0xff; 100]).unwrap();
        let queue = open(&path);
        queue.wait(LONG, Duration::from_millis(1));
        queue.leave();
        queue.wait(LONG, LONG);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 100);
    }
}
