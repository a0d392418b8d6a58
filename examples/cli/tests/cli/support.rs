//! A machine of its own for each test: home, working directory and registry in a temporary directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The ports of this suite: each suite of the project has its own, see tests/README.md.
const PORTS: [(&str, &str); 4] = [
    ("TROP_PORT_MIN", "24000"),
    ("TROP_PORT_MAX", "25999"),
    ("TROP_LEASE_PORT_MIN", "24000"),
    ("TROP_LEASE_PORT_MAX", "25999"),
];

pub(crate) struct Machine {
    root: PathBuf,
    /// The variables of the range to choose from.
    ports: &'static [(&'static str, &'static str)],
    _directory: TempDir,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Outcome {
        Outcome {
            code: output.status.code().expect("ended by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Machine {
    pub(crate) fn new() -> Machine {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir(root.join("work")).unwrap();
        Machine { root, ports: &PORTS, _directory: directory }
    }

    /// For tests that are about where the range comes from: they name one of their own, or make no probes.
    pub(crate) fn without_range() -> Machine {
        Machine { ports: &[], ..Machine::new() }
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A directory below the root, created if it is missing.
    pub(crate) fn directory(&self, relative: &str) -> PathBuf {
        let directory = self.path(relative);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    pub(crate) fn work(&self) -> String {
        self.path("work").to_str().unwrap().to_owned()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("data/trop.db")
    }

    /// The variables that every command gets: its data directory and its ports.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let ports = self.ports.iter().map(|(name, port)| (*name, port.into()));
        ports.chain([("TROP_DATA_DIR", self.path("data").into())])
    }

    /// The command with these arguments, an environment of its own, and the working directory `work`.
    pub(crate) fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trop"));
        command.args(arguments).current_dir(self.path("work")).env_clear();
        command.env("HOME", self.path("home")).envs(self.variables()).stdin(Stdio::null());
        command
    }

    /// As `command`, but never as root.
    pub(crate) fn as_nobody<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        // The owner of the files, unless that is root: then another user, who gets access to all it needs.
        if fs::metadata(&self.root).unwrap().uid() != 0 {
            return self.command(arguments);
        }
        let program = self.path("trop");
        if !program.exists() {
            // Copied by another process: a file that is open for writing, which a child of another test could
            // inherit from this one, cannot be executed.
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_trop")).arg(&program).status();
            assert!(copied.unwrap().success());
        }
        for (path, mode) in [(&self.root, 0o755), (&self.directory("data"), 0o777), (&program, 0o755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let like = self.command(arguments);
        let mut command = Command::new(program);
        command.args(like.get_args()).current_dir(self.path("work")).env_clear();
        command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).uid(65534).gid(65534);
        command
    }

    pub(crate) fn trop<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Outcome {
        run(&mut self.command(arguments))
    }

    /// Reserves, expects silent success, and returns the port.
    pub(crate) fn reserve<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> u16 {
        let outcome = run(self.command(["reserve"]).args(arguments));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
        port(&outcome)
    }

    /// Every row; none when there is no database, which this does not change.
    pub(crate) fn rows(&self) -> Vec<Value> {
        if !self.database().exists() {
            return Vec::new();
        }
        let outcome = self.trop(["list", "--format", "json"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// Every lease; none when there is no database, which this does not change.
    pub(crate) fn leases(&self) -> Vec<Value> {
        if !self.database().exists() {
            return Vec::new();
        }
        let outcome = self.trop(["list", "--leases", "--format", "json"]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// The files of owners in the data directory.
    pub(crate) fn owner_files(&self) -> usize {
        let names =
            fs::read_dir(self.path("data")).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with("owner-")).count()
    }

    /// `trop run` with these options and a shell script, with input and output connected.
    pub(crate) fn start(&self, options: &[&str], program: &str) -> Running {
        Running::start(self.command([&["run"], options, &["--", "/bin/sh", "-c", program]].concat()))
    }

    /// A lease that lasts until the returned program is dropped, and its port.
    pub(crate) fn lease(&self, options: &[&str]) -> (Running, u16) {
        let mut running = self.start(options, "echo $PORT; exec cat");
        let port = running.line().parse().unwrap();
        (running, port)
    }

    /// Expects a failure of trop's own: one `Error:` line with the tokens, nothing else, nothing changed.
    pub(crate) fn refuses<I: AsRef<OsStr>>(
        &self,
        code: i32,
        tokens: &[&str],
        arguments: impl IntoIterator<Item = I>,
    ) {
        self.refuses_command(code, tokens, &mut self.command(arguments));
    }

    pub(crate) fn refuses_command(&self, code: i32, tokens: &[&str], command: &mut Command) {
        let (before, existed) = (self.rows(), self.path("data").exists());
        let outcome = run(command);
        assert_failure(&outcome, code, tokens);
        assert_eq!(self.rows(), before, "{outcome:?}");
        assert_eq!(self.path("data").exists(), existed, "{outcome:?}");
    }

    /// Runs SQL on the database in another process, as another program would.
    pub(crate) fn sql(&self, script: &str) {
        let program = "import sqlite3, sys\n\
             connection = sqlite3.connect(sys.argv[1])\n\
             connection.executescript(sys.argv[2])\n\
             connection.close()";
        let mut python = Command::new("python3");
        let outcome = run(python.args(["-c", program]).arg(self.database()).arg(script));
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }

    /// Starts the command while another process holds the write lock, and lets that process run SQL and
    /// commit once the command waits for the lock, or has read what it will decide on.
    pub(crate) fn waits_for(&self, command: &mut Command, sql: &str) -> Outcome {
        let lock = self.lock_and(sql);
        let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It has the database's shared memory mapped once it has begun to read, and then it waits.
        let maps = format!("/proc/{}/maps", waiting.id());
        while !std::fs::read_to_string(&maps).unwrap_or_default().contains("trop.db-shm") {
            std::thread::yield_now();
        }
        lock.release();
        waiting.wait_with_output().unwrap().into()
    }

    /// Another process that holds the write lock from now on.
    pub(crate) fn lock(&self) -> Program {
        self.lock_and("SELECT 1")
    }

    fn lock_and(&self, sql: &str) -> Program {
        self.holder(&["write", "--then", sql])
    }

    /// Starts `tests/lock_holder.py`, which has its lock when this returns.
    pub(crate) fn holder(&self, arguments: &[&str]) -> Program {
        let mut python = Command::new("python3");
        python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/lock_holder.py"));
        let program = Program::spawn(python.arg(self.database()).args(arguments));
        assert_eq!(program.said(), "locked");
        program
    }
}

/// Another program, in Python: it says a line when it is ready, and goes on when its input ends.
pub(crate) struct Program {
    child: Child,
    said: String,
}

impl Program {
    pub(crate) fn start(script: &str) -> Program {
        Program::spawn(Command::new("python3").args(["-c", script]))
    }

    fn spawn(python: &mut Command) -> Program {
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        Program { child, said }
    }

    pub(crate) fn said(&self) -> &str {
        self.said.trim_end()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go on, to its end.
    pub(crate) fn release(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `trop run` with a command that ends when its standard input does.
pub(crate) struct Running {
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    pub(crate) child: Child,
}

impl Running {
    /// `trop run` with whatever it runs, its input and output connected.
    pub(crate) fn start(mut command: Command) -> Running {
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { input: child.stdin.take(), lines, child }
    }

    /// The next line of what the command prints; empty at its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Sends a signal to trop.
    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("/bin/sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Ends the command's input, and waits for trop.
    pub(crate) fn finish(mut self) -> Outcome {
        drop(self.input.take());
        self.wait()
    }

    /// Waits for trop, while the command's input goes on.
    pub(crate) fn wait(mut self) -> Outcome {
        let mut stdout = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut stdout).unwrap();
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut stderr).unwrap();
        let code = self.child.wait().unwrap().code().expect("ended by a signal");
        Outcome { code, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

pub(crate) fn run(command: &mut Command) -> Outcome {
    command.output().unwrap().into()
}

/// The port that is printed, with nothing else on standard output.
pub(crate) fn port(outcome: &Outcome) -> u16 {
    let port = outcome.stdout.trim_end().parse().unwrap();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, format!("{port}\n").as_str()), "{outcome:?}");
    port
}

pub(crate) fn assert_failure(outcome: &Outcome, code: i32, tokens: &[&str]) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (code, ""), "{outcome:?}");
    assert!(outcome.stderr.starts_with("Error: "), "{outcome:?}");
    assert_eq!(outcome.stderr.find('\n'), Some(outcome.stderr.len() - 1), "{outcome:?}");
    for token in tokens {
        assert!(outcome.stderr.contains(token), "{token}: {outcome:?}");
    }
}

pub(crate) fn assert_syntax_error(outcome: &Outcome) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error: "), "{outcome:?}");
    assert!(outcome.stderr.contains("Usage: trop"), "{outcome:?}");
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
