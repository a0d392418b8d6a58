//! A fair queue for the write lock, shared by processes: a mapped file with three futex words. The head of
//! the queue holds a lock on the file.
//!
//! Only a hint for speed: every waiter also times out and tries again by itself, so that a process which is
//! killed or stopped blocks nobody, and neither does a damaged file. Without the queue many processes would
//! wake up only to find the lock taken, which costs more time than the changes that they wait for.

#[cfg(target_os = "linux")]
pub(crate) use linux::{LockQueue, wake_own_threads};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{LockQueue, wake_own_threads};

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::fs::{self, File, OpenOptions};
    use std::io::{Error, ErrorKind, Result};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
    use std::path::Path;
    use std::ptr::{NonNull, null_mut};
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    /// A waiter behind the head tries by itself after this many turns for each waiter before it.
    const PATIENCE: u32 = 3;

    pub(crate) struct LockQueue {
        file: File,
        shared: NonNull<Shared>,
        is_head: Cell<bool>,
        /// The value of `turn_ended` before the last try for the write lock.
        seen: Cell<u32>,
        longest_sleep: Duration,
    }

    /// The content of the file. Any bytes are valid values.
    #[repr(C)]
    struct Shared {
        /// Changes when the head leaves, so that another waiter can become the head.
        head_changed: AtomicU32,
        /// Changes when a turn ends, so that the head can try for the write lock.
        turn_ended: AtomicU32,
        /// Approximately how many waiters there are behind the head.
        waiters: AtomicU32,
    }

    // SAFETY: `shared` points to atomics that are shared between processes anyway, and it is mapped until
    // this is dropped.
    unsafe impl Send for LockQueue {}

    impl LockQueue {
        /// Opens the file of the queue. If it is missing, it is created with the owner and the mode of the
        /// database. `longest_sleep` bounds every sleep behind the head.
        pub(crate) fn open(path: &Path, database: &Path, longest_sleep: Duration) -> Result<LockQueue> {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).mode(0o600);
            let (file, is_new) = match options.clone().create_new(true).open(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => (options.open(path)?, false),
                created => (created?, true),
            };
            if is_new {
                // Only of what was created here: the file could be another name of anything.
                let _ = copy_owner_and_mode(&file, database);
            }
            if file.metadata()?.len() < size_of::<Shared>() as u64 {
                // Written, not only extended: accessing a mapped page for which the disk has no room would
                // kill the process.
                file.write_all_at(&[0; size_of::<Shared>()], 0)?;
            }
            // SAFETY: a new mapping of a file; the kernel checks the arguments.
            let map = unsafe {
                let access = libc::PROT_READ | libc::PROT_WRITE;
                libc::mmap(null_mut(), size_of::<Shared>(), access, libc::MAP_SHARED, file.as_raw_fd(), 0)
            };
            match NonNull::new(map.cast()).filter(|_| map != libc::MAP_FAILED) {
                Some(shared) => {
                    let (is_head, seen) = (Cell::new(false), Cell::new(0));
                    Ok(LockQueue { file, shared, is_head, seen, longest_sleep })
                }
                None => Err(Error::last_os_error()),
            }
        }

        fn shared(&self) -> &Shared {
            // SAFETY: mapped until this is dropped.
            unsafe { self.shared.as_ref() }
        }

        /// Sleeps until it is time to try for the write lock, at most for `at_most`. The head tries when it
        /// has become the head, when a turn has ended, and when a turn should have ended. A waiter behind the
        /// head tries only after so much time that something must have gone wrong.
        pub(crate) fn wait(&self, turn: Duration, at_most: Duration) {
            let shared = self.shared();
            if self.is_head.get() {
                // Returns at once if a turn has ended since the last try.
                futex_wait(&shared.turn_ended, self.seen.get(), at_most.min(turn));
            } else {
                // Read before checking for a head, because a head that leaves meanwhile changes it.
                let head_changed = shared.head_changed.load(Ordering::SeqCst);
                let before = shared.waiters.load(Ordering::Relaxed);
                // Earlier waiters come first.
                if before > 0 || !self.become_head() {
                    shared.waiters.fetch_add(1, Ordering::Relaxed);
                    let patience = turn.saturating_mul(PATIENCE.saturating_mul(before.saturating_add(1)));
                    futex_wait(
                        &shared.head_changed,
                        head_changed,
                        at_most.min(patience).min(self.longest_sleep),
                    );
                    // The count may be 0 already: a head that left and woke no waiter has reset it.
                    let less = |waiting: u32| waiting.checked_sub(1);
                    let _ = shared.waiters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
                    self.become_head();
                }
            }
            self.seen.set(shared.turn_ended.load(Ordering::SeqCst));
        }

        /// Becomes the head by locking the file, unless another waiter has locked it. The kernel releases the
        /// lock however a process ends.
        fn become_head(&self) -> bool {
            self.is_head.set(self.is_head.get() || self.file.try_lock().is_ok());
            self.is_head.get()
        }

        /// Ends the wait of the head, or of a waiter while there is no head, and wakes the waiter that has
        /// waited longest.
        pub(crate) fn leave(&self) {
            if self.become_head() {
                self.is_head.set(false);
                // If this fails, closing the file releases the lock.
                let _ = self.file.unlock();
                if !futex_wake(&self.shared().head_changed) {
                    // No waiter sleeps, so those that are still counted were killed.
                    self.shared().waiters.store(0, Ordering::Relaxed);
                }
            }
        }

        /// Wakes the head to try for the write lock. Returns false if no head sleeps.
        pub(crate) fn wake_head(&self) -> bool {
            futex_wake(&self.shared().turn_ended)
        }
    }

    /// Gives a new file the owner and the mode of the database, as SQLite does with its own files, so that
    /// other users of the database can wait in the queue too.
    fn copy_owner_and_mode(file: &File, other: &Path) -> Result<()> {
        let other = fs::metadata(other)?;
        if other.uid() != file.metadata()?.uid() {
            // Only root may do this. For others the mode is what counts.
            let _ = fchown(file, Some(other.uid()), Some(other.gid()));
        }
        file.set_permissions(other.permissions())
    }

    /// The addresses that threads of this process sleep on, to be woken before a fork. If more threads sleep
    /// than fit in here, a fork may have to wait for the longest sleep.
    static SLEEPERS: [AtomicUsize; 32] = [const { AtomicUsize::new(0) }; 32];

    /// Wakes all threads of this process that sleep in a queue, and perhaps a few of other processes.
    pub(crate) fn wake_own_threads() {
        for word in SLEEPERS.iter().map(|word| word.load(Ordering::SeqCst)).filter(|word| *word != 0) {
            // SAFETY: futex(2) only compares the address, which may be unmapped by now.
            unsafe {
                libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE_BITSET, i32::MAX, 0, 0, process_bit())
            };
        }
    }

    /// The futex bit of this process. Most other processes have a different one.
    fn process_bit() -> u32 {
        1 << (std::process::id() % u32::BITS)
    }

    /// Sleeps until it is woken, at most for `at_most`. Returns at once if the word is not `seen` any more.
    fn futex_wait(word: &AtomicU32, seen: u32, at_most: Duration) {
        let address = word.as_ptr().addr();
        let slot = SLEEPERS
            .iter()
            .find(|slot| slot.compare_exchange(0, address, Ordering::SeqCst, Ordering::SeqCst).is_ok());
        let until = monotonic_time().saturating_add(at_most);
        // The kernel's timespec, two machine words; the C library's may differ on 32-bit systems.
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
                process_bit(),
            )
        };
        let error = Error::last_os_error().raw_os_error();
        if let Some(slot) = slot {
            slot.store(0, Ordering::SeqCst);
        }
        let usual = [libc::EAGAIN, libc::ETIMEDOUT, libc::EINTR];
        if answer != 0 && !error.is_some_and(|code| usual.contains(&code)) {
            // A sandbox forbids futex(2); a pause is better than a busy loop.
            thread::sleep(at_most.min(Duration::from_millis(1)));
        }
    }

    /// The clock of futex(2)'s timeouts.
    fn monotonic_time() -> Duration {
        let mut now = std::mem::MaybeUninit::<libc::timespec>::zeroed();
        // SAFETY: zeros are a valid timespec, which clock_gettime overwrites.
        let now = unsafe {
            libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr());
            now.assume_init()
        };
        #[allow(clippy::unnecessary_fallible_conversions, reason = "the types differ between systems")]
        Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
    }

    /// Changes the word and wakes the thread that has slept on it longest. Returns false if none sleeps on
    /// it.
    fn futex_wake(word: &AtomicU32) -> bool {
        word.fetch_add(1, Ordering::SeqCst);
        // SAFETY: futex(2) uses the address alone.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) > 0 }
    }

    impl Drop for LockQueue {
        fn drop(&mut self) {
            // SAFETY: mapped by `open`, and no reference to it is left.
            unsafe { libc::munmap(self.shared.as_ptr().cast(), size_of::<Shared>()) };
        }
    }
}

/// Other systems have no queue. Waiters pause instead.
#[cfg(not(target_os = "linux"))]
mod other {
    use std::io::{Error, ErrorKind, Result};
    use std::path::Path;
    use std::time::Duration;

    pub(crate) enum LockQueue {}

    pub(crate) fn wake_own_threads() {}

    impl LockQueue {
        pub(crate) fn open(_path: &Path, _database: &Path, _longest_sleep: Duration) -> Result<LockQueue> {
            Err(Error::from(ErrorKind::Unsupported))
        }

        pub(crate) fn wait(&self, _turn: Duration, _at_most: Duration) {
            match *self {}
        }

        pub(crate) fn leave(&self) {
            match *self {}
        }

        pub(crate) fn wake_head(&self) -> bool {
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

    use super::{LockQueue, wake_own_threads};

    /// So long that a waiter which returns must have been woken.
    const LONG: Duration = Duration::from_secs(3600);

    /// Held by tests that sleep in a queue, because one of them wakes all sleepers of the process.
    pub(crate) fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path for a queue, which exists as long as the directory does.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        (directory, path)
    }

    fn open(path: &Path) -> LockQueue {
        LockQueue::open(path, path, LONG).unwrap()
    }

    /// Three waiters behind a head, and the channel to which they send their names.
    fn waiters(path: &Path) -> ([Sender<()>; 3], Receiver<char>) {
        let (said, names) = channel();
        (['a', 'b', 'c'].map(|name| waiter(path, name, &said)), names)
    }

    /// Starts a thread that waits in the queue and sends its name when it has waited. It stays the head until
    /// the returned sender is used or dropped.
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
    fn waiters_become_the_head_in_the_order_they_came() {
        let _alone = alone();
        let (_directory, path) = place();
        let queue = open(&path);
        // There is no other waiter, so this returns at once.
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
    fn who_is_head_is_woken_and_what_it_has_missed_counts() {
        let _alone = alone();
        let (_directory, path) = place();
        let [head, other] = [(); 2].map(|()| open(&path));
        head.wait(LONG, LONG);
        assert!(!other.wake_head(), "nobody sleeps");
        head.wait(LONG, LONG);
        let sleeper = thread_id();
        let other = thread::spawn(move || {
            until_asleep(sleeper);
            assert!(other.wake_head());
        });
        head.wait(LONG, LONG);
        other.join().unwrap();
    }

    #[test]
    fn all_threads_of_the_process_can_be_woken() {
        let _alone = alone();
        let (_directory, path) = place();
        let queue = open(&path);
        queue.wait(LONG, LONG);
        let (waiters, names) = waiters(&path);
        wake_own_threads();
        let mut woken = [(); 3].map(|()| names.recv().unwrap());
        woken.sort_unstable();
        assert_eq!(woken, ['a', 'b', 'c']);
        drop(waiters);
    }

    #[test]
    fn waiting_ends_by_itself() {
        let (_directory, path) = place();
        let [head, other] = [(); 2].map(|()| open(&path));
        head.wait(LONG, LONG);
        let short = Duration::from_millis(1);
        for (turn, at_most) in [(short, LONG), (LONG, short)] {
            head.wait(turn, at_most);
            other.wait(turn, at_most);
        }
        // As when its process was killed.
        drop(head);
        other.wait(LONG, LONG);
    }

    #[test]
    fn what_is_no_queue_is_not_used() {
        let (_directory, path) = place();
        std::fs::create_dir(&path).unwrap();
        assert!(LockQueue::open(&path, &path, LONG).is_err());
        std::fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(LockQueue::open(&path, &path, LONG).is_err());
        std::fs::remove_file(&path).unwrap();
        // Any content is accepted.
        std::fs::write(&path, [0xff; 100]).unwrap();
        let queue = open(&path);
        queue.wait(LONG, Duration::from_millis(1));
        queue.leave();
        queue.wait(LONG, LONG);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 100);
    }
}
