//! Standing in for a command that was started: its signals, and its exit status.

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

    /// What is forwarded. Not what stops and continues: it keeps its usual effect, so that a shell, which sends it to
    /// all processes of a job, can stop and continue trop and the command together.
    const FORWARDED: [c_int; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];

    /// Catches the signals meant for the command, and passes them on from its start to its end.
    ///
    /// The command is not told to end when trop is killed (`PR_SET_PDEATHSIG`): that would reach this one process and none
    /// that it starts, and not even this one once it changes its user.
    pub(crate) struct Forwarder {
        command: Sender<Pid>,
        signals: Handle,
        thread: JoinHandle<()>,
    }

    impl Forwarder {
        /// To be made before the command is started: what arrives in between is passed on, too.
        pub(crate) fn new() -> io::Result<Forwarder> {
            let ignored = ignored();
            let caught = FORWARDED.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
            // Exit statuses are lost if whoever started trop ignored this one.
            let mut signals = SignalsInfo::<WithOrigin>::new(caught.chain([SIGCHLD]))?;
            let handle = signals.handle();
            let (sender, receiver) = mpsc::channel();
            let thread = thread::Builder::new().spawn(move || {
                // Nothing comes if the command could not be started.
                if let Ok(command) = receiver.recv() {
                    signals.forever().for_each(|origin| forward(&origin, command));
                }
            })?;
            Ok(Forwarder { command: sender, signals: handle, thread })
        }

        /// Waits until the command ends.
        pub(crate) fn wait(self, mut child: Child) -> io::Result<ExitStatus> {
            let command = Pid::from_child(&child);
            // The receiver waits for nothing else.
            let _ = self.command.send(command);
            // Its id stays its own until the last signal is passed on.
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
        // The terminal sends its signals to all processes of the job, so the command has them already. What the
        // command sends to its parent, or to all of its job, is not meant to come back.
        let is_for_command = origin.cause != Cause::Kernel
            && origin.process.is_none_or(|sender| sender.pid != command.as_raw_nonzero().get());
        if origin.signal != SIGCHLD
            && is_for_command
            && let Some(signal) = Signal::from_named_raw(origin.signal)
        {
            // It may have ended.
            let _ = kill_process(command, signal);
        }
    }

    /// The signals ignored so far, a bit each, as under `nohup`: the command inherits that unless they are caught.
    fn ignored() -> u64 {
        // Other systems do not tell without unsafe code.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }
}

/// Nothing to forward: a console sends its events to all of its programs.
#[cfg(not(unix))]
pub(crate) struct Forwarder;

#[cfg(not(unix))]
impl Forwarder {
    #[allow(clippy::unnecessary_wraps, reason = "as elsewhere")]
    pub(crate) fn new() -> io::Result<Forwarder> {
        Ok(Forwarder)
    }

    #[allow(clippy::unused_self, reason = "as elsewhere")]
    pub(crate) fn wait(self, mut child: Child) -> io::Result<ExitStatus> {
        child.wait()
    }
}

/// The exit status a shell would report: the command's own, or 128 and the number of the signal that ended it.
pub(crate) fn status(ended: ExitStatus) -> u8 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&ended);
    #[cfg(not(unix))]
    let signal = None;
    let status = ended.code().or(signal.map(|signal| 128 + signal));
    status.and_then(|status| u8::try_from(status).ok()).unwrap_or(u8::MAX)
}
