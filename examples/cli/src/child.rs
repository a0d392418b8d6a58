//! The command that `trop run` starts: signals are forwarded to it, and its exit status becomes that of trop.

use std::io;
use std::process::{Child, ExitStatus};

#[cfg(unix)]
pub(crate) use unix::Forwarder;

#[cfg(unix)]
mod unix {
    use super::{Child, ExitStatus, io};
    use std::ffi::c_int;
    use std::fs;
    use std::sync::mpsc::{self, Sender};
    use std::thread::{self, JoinHandle};

    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
    use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    use signal_hook::iterator::exfiltrator::WithOrigin;
    use signal_hook::iterator::{Handle, SignalsInfo};
    use signal_hook::low_level::siginfo::{Cause, Origin};

    /// The signals that are forwarded. Those that stop and continue are not: a shell sends them to all
    /// processes of a job, and their usual effect stops and continues trop together with the command.
    const FORWARDED: [c_int; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];

    /// Catches the signals meant for the command, and passes them on from its start to its end.
    ///
    /// `PR_SET_PDEATHSIG`, which would end the command when trop is killed, is not used: it reaches only this
    /// one process and none of its children, and not even this one after it has changed its user.
    pub(crate) struct Forwarder {
        command: Sender<Pid>,
        signals: Handle,
        thread: JoinHandle<()>,
    }

    impl Forwarder {
        /// Starts to catch signals: before the command is started, so that none is lost in between.
        pub(crate) fn new() -> io::Result<Forwarder> {
            let ignored = ignored();
            let caught = FORWARDED.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
            // SIGCHLD too: if trop inherited it as ignored, the system would discard the exit status.
            let mut signals = SignalsInfo::<WithOrigin>::new(caught.chain([SIGCHLD]))?;
            let handle = signals.handle();
            let (sender, receiver) = mpsc::channel();
            let thread = thread::Builder::new().spawn(move || {
                // The sender is dropped without a message if the command could not be started.
                if let Ok(command) = receiver.recv() {
                    signals.forever().for_each(|origin| forward(&origin, command));
                }
            })?;
            Ok(Forwarder { command: sender, signals: handle, thread })
        }

        /// Waits until the command ends, and returns how.
        pub(crate) fn wait(self, mut child: Child) -> io::Result<ExitStatus> {
            let command = Pid::from_child(&child);
            // Cannot fail: the thread is waiting for this message.
            let _ = self.command.send(command);
            // Not reaped yet: no other process can get its id while signals are still sent to it.
            let ended = rustix::io::retry_on_intr(|| {
                waitid(WaitId::Pid(command), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            });
            self.signals.close();
            let _ = self.thread.join();
            ended?;
            child.wait()
        }
    }

    fn forward(origin: &Origin, command: Pid) {
        // A terminal, whose signals come from the kernel, has signalled all processes of the job already. And
        // what the command sends to its parent, or to its whole job, must not come back to it.
        let is_for_command = origin.cause != Cause::Kernel
            && origin.process.is_none_or(|sender| sender.pid != command.as_raw_nonzero().get());
        if origin.signal != SIGCHLD
            && is_for_command
            && let Some(signal) = Signal::from_named_raw(origin.signal)
        {
            // The command may have ended.
            let _ = kill_process(command, signal);
        }
    }

    /// The signals that trop ignores since its start, one bit each, as under `nohup`. They are not caught, so
    /// that the command inherits that they are ignored.
    fn ignored() -> u64 {
        // Linux only: other systems need unsafe code for it, and there nothing counts as ignored.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }
}

/// There is nothing to forward: a console sends its events to all of its programs.
#[cfg(not(unix))]
pub(crate) struct Forwarder;

#[cfg(not(unix))]
impl Forwarder {
    #[allow(clippy::unnecessary_wraps, reason = "as on Unix")]
    pub(crate) fn new() -> io::Result<Forwarder> {
        Ok(Forwarder)
    }

    #[allow(clippy::unused_self, reason = "as on Unix")]
    pub(crate) fn wait(self, mut child: Child) -> io::Result<ExitStatus> {
        child.wait()
    }
}

/// The exit status a shell would report: the command's own, or 128 plus the signal that ended it.
pub(crate) fn status(ended: ExitStatus) -> u8 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&ended);
    #[cfg(not(unix))]
    let signal = None;
    let status = ended.code().or(signal.map(|signal| 128 + signal));
    status.and_then(|status| u8::try_from(status).ok()).unwrap_or(u8::MAX)
}
