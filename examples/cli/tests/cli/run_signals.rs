//! `trop run` and signals: sent by programs, by a terminal, and ignored or blocked by its parent.

use std::process::Command;

use crate::support::{Machine, Outcome, Running, run};

/// Prints the signals it gets and the lines of its input, until SIGTERM or the end of its input.
const WITNESS: &str = "import os, signal, sys
def got(number, frame):
    os.write(1, signal.Signals(number).name.encode() + b'\\n')
    if number == signal.SIGTERM: sys.exit()
for name in ['HUP', 'INT', 'QUIT', 'TERM', 'USR1', 'USR2', 'WINCH']:
    signal.signal(getattr(signal, 'SIG' + name), got)
if len(sys.argv) > 1: os.kill(*eval(sys.argv[1]))
print('ready', flush=True)
while line := sys.stdin.readline(): print(line.strip(), flush=True)";

/// `trop run`, started by a program that first sets how signals are handled, because the tests may run where
/// some are ignored, as in the background of a shell.
fn arranged(machine: &Machine, arrangement: &str, arguments: &[&str]) -> Command {
    let program = format!(
        "import os, signal, sys
for name in ['HUP', 'INT', 'QUIT', 'TERM', 'USR1', 'USR2', 'WINCH']:
    signal.signal(getattr(signal, 'SIG' + name), signal.SIG_DFL)
{arrangement}
os.execv(sys.argv[1], sys.argv[1:])"
    );
    let mut command = Command::new("python3");
    command.args(["-c", &program, env!("CARGO_BIN_EXE_trop"), "run", "--"]).args(arguments);
    command.envs(machine.variables());
    command
}

fn witness(machine: &Machine, arguments: &[&str]) -> Running {
    let mut running =
        Running::start(arranged(machine, "", &[&["python3", "-c", WITNESS], arguments].concat()));
    assert_eq!(running.line(), "ready");
    running
}

#[test]
fn signals_reach_the_command_once() {
    let machine = Machine::new();
    for name in ["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH"] {
        let mut running = witness(&machine, &[]);
        running.signal(name);
        assert_eq!(running.line(), format!("SIG{name}"));
        running.signal("TERM");
        let rest = Outcome { code: 0, stdout: "SIGTERM\n".into(), stderr: String::new() };
        assert_eq!(running.wait(), rest, "{name}");
    }
    assert_eq!(machine.leases(), [0; 0]);
}

#[test]
fn a_signal_that_ends_the_command_is_its_exit_status() {
    let machine = Machine::new();
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("USR1", 10)] {
        let mut running = Running::start(arranged(&machine, "", &["/bin/sh", "-c", "echo on; exec cat"]));
        assert_eq!(running.line(), "on");
        running.signal(name);
        assert_eq!(running.wait().code, 128 + number, "{name}");
        assert_eq!((machine.leases().len(), machine.owner_files()), (0, 0), "{name}");
    }
}

#[test]
fn what_the_command_sends_to_its_parent_does_not_come_back() {
    let machine = Machine::new();
    for sent in ["os.getppid(), signal.SIGUSR1", "os.getppid(), signal.SIGINT"] {
        let running = witness(&machine, &[sent]);
        running.signal("TERM");
        assert_eq!(running.wait().stdout, "SIGTERM\n", "{sent}");
    }
}

/// A signal that is ignored when trop starts, as under `nohup`, is ignored by the command too.
#[test]
#[cfg(target_os = "linux")]
fn ignored_signals_stay_ignored() {
    let machine = Machine::new();
    let arrangement = "for each in [signal.SIGHUP, signal.SIGINT]: signal.signal(each, signal.SIG_IGN)";
    let program = "kill -HUP $$; kill -INT $$; echo on; exec cat";
    let mut running = Running::start(arranged(&machine, arrangement, &["/bin/sh", "-c", program]));
    assert_eq!(running.line(), "on");
    running.signal("HUP");
    running.say("still on");
    assert_eq!(running.line(), "still on");
    assert_eq!(running.finish().code, 0);
}

/// Neither an ignored SIGCHLD nor blocked signals, which a parent passes on, lose the exit status.
#[test]
fn the_parents_arrangements_for_signals_change_nothing() {
    let machine = Machine::new();
    for arrangement in [
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM])",
    ] {
        let outcome = run(&mut arranged(&machine, arrangement, &["/bin/sh", "-c", "exit 3"]));
        assert_eq!(
            outcome,
            Outcome { code: 3, stdout: String::new(), stderr: String::new() },
            "{arrangement}"
        );
    }
}

/// Runs `trop run` with the witness as the foreground job of a shell, at a terminal that does not echo. The
/// program plays the user: it has `read` for a line of output, `press` for keys, and `trop`, the process.
/// The shell continues a stopped job, and ends with the job.
fn at_a_terminal(machine: &Machine, user: &str) -> String {
    let program = format!(
        "import os, pty, signal, sys, termios
shell, terminal = pty.fork()
if shell == 0:
    attributes = termios.tcgetattr(0)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSANOW, attributes)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        print(os.getpid(), flush=True)
        for each in [signal.SIGTTOU, signal.SIGINT]: signal.signal(each, signal.SIG_DFL)
        os.execv(sys.argv[1], sys.argv[1:])
    while os.WIFSTOPPED(status := os.waitpid(job, os.WUNTRACED)[1]):
        print('stopped', flush=True)
        os.tcsetpgrp(0, job)
        os.killpg(job, signal.SIGCONT)
    print('status', os.waitstatus_to_exitcode(status), flush=True)
    os._exit(0)
output = os.fdopen(os.dup(terminal), 'rb')
read = lambda: output.readline().decode().strip()
press = lambda keys: os.write(terminal, keys)
trop = int(read())
assert read() == 'ready'
{user}
os.waitpid(shell, 0)"
    );
    let mut command = Command::new("timeout");
    command.args(["60", "python3", "-c", &program, env!("CARGO_BIN_EXE_trop")]);
    command.args(["run", "--", "python3", "-c", WITNESS]).envs(machine.variables());
    let outcome = run(&mut command);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(machine.leases(), [0; 0]);
    outcome.stdout
}

/// A terminal signals all processes of the job, so trop must not forward its signals.
#[test]
fn a_key_at_the_terminal_reaches_the_command_once() {
    let user = "press(b'\\x03')
print(read())
press(b'again\\n')
print(read())
os.kill(trop, signal.SIGTERM)
print(read())
print(read())";
    assert_eq!(at_a_terminal(&Machine::new(), user), "SIGINT\nagain\nSIGTERM\nstatus 0\n");
}

#[test]
fn a_job_is_stopped_and_continued_as_a_whole() {
    let user = "press(b'\\x1a')
print(read())
press(b'again\\n')
print(read())
press(b'\\x04')
print(read())";
    assert_eq!(at_a_terminal(&Machine::new(), user), "stopped\nagain\nstatus 0\n");
}
