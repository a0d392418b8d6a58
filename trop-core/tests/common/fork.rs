//! Forked processes, and a way for both sides to wait for each other.
#![allow(unsafe_code, reason = "the standard library cannot fork")]

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A forked child that has not been waited for.
pub(crate) struct Forked(pub(crate) libc::pid_t);

/// Runs something in a forked child, which then ends without the exit handlers of the test program.
pub(crate) fn fork(run: impl FnOnce()) -> Forked {
    // SAFETY: the child only runs code whose locks are safe across a fork, which is what is being tested, the
    // allocator included; everything else of the test program it leaves alone.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: plain calls without memory; the alarm is the watchdog, since no other thread is left.
            unsafe { libc::alarm(60) };
            let status = i32::from(catch_unwind(AssertUnwindSafe(run)).is_err());
            // SAFETY: as above.
            unsafe { libc::_exit(status) }
        }
        child => {
            assert!(child > 0, "{}", std::io::Error::last_os_error());
            Forked(child)
        }
    }
}

impl Forked {
    pub(crate) fn join(self) {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, 0) }, self.0);
        assert_eq!(status, 0, "the child failed: wait status {status:#x}");
    }
}

/// One side waits until the other has come so far.
pub(crate) struct Gate(PipeReader, PipeWriter);

impl Gate {
    pub(crate) fn new() -> Gate {
        let (reader, writer) = pipe().unwrap();
        Gate(reader, writer)
    }

    pub(crate) fn open(&mut self) {
        self.1.write_all(b"x").unwrap();
    }

    pub(crate) fn wait(&mut self) {
        self.0.read_exact(&mut [0]).unwrap();
    }
}

/// From now on the children that a child of this process leaves behind are its own to wait for.
#[cfg(target_os = "linux")]
pub(crate) fn adopt_orphans() {
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
}

/// Waits for the one child there is, whoever forked it.
pub(crate) fn join_orphan() {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert!(unsafe { libc::waitpid(-1, &raw mut status, 0) } > 0);
    assert_eq!(status, 0, "the child failed: wait status {status:#x}");
}
