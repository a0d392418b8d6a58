//! What the integration tests share: data directories of their own, other processes, and a look into the
//! database from outside.
#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod fork;

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use trop_core::{
    Code, Discovery, Key, Port, PortRange, Registry, RegistryOptions, ReleaseRequest, ReserveRequest, Result,
    Tag,
};

/// Tells a test program that was started by another one what to do.
const ROLE: &str = "TROP_TEST_ROLE";

/// Schema version 2, written independently of the crate.
pub(crate) const VERSION_2: &str = "
db.executescript('''
CREATE TABLE metadata (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT;
CREATE TABLE reservations (
  path TEXT NOT NULL,
  tag TEXT NOT NULL,
  port INTEGER NOT NULL UNIQUE CONSTRAINT valid_port CHECK (port BETWEEN 1 AND 65535),
  project TEXT,
  task TEXT,
  created_at INTEGER NOT NULL CONSTRAINT valid_created_at CHECK (created_at >= 0),
  last_used_at INTEGER NOT NULL CONSTRAINT valid_last_used_at CHECK (last_used_at >= 0),
  PRIMARY KEY (path, tag)
) STRICT;
CREATE INDEX idx_reservations_port ON reservations (port);
CREATE INDEX idx_reservations_project ON reservations (project);
CREATE INDEX idx_reservations_last_used ON reservations (last_used_at);
INSERT INTO metadata VALUES ('schema_version', '2');
''')
";

/// The place of one test; the data directory inside it does not exist yet.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir().join("trop.db")
    }

    pub(crate) fn open(&self) -> Registry {
        Registry::open(options(&self.dir())).unwrap()
    }

    /// The data directory with the database a Python script makes in it, connected as `db`.
    pub(crate) fn made_by(script: &str) -> Scratch {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.dir()).unwrap();
        python(&scratch.database(), script);
        scratch
    }
}

/// The ports of this suite: each suite of the project has its own, see tests/README.md.
pub(crate) const PORTS: RangeInclusive<u16> = 20000..=21999;

/// A long wait, no probes and no configuration: what else is on the machine must not matter.
pub(crate) fn options(dir: &Path) -> RegistryOptions {
    let mut options = RegistryOptions::default();
    options.data_dir = Some(dir.to_path_buf());
    options.ports = Some(range(*PORTS.start(), *PORTS.end()));
    options.busy_timeout = Some(Duration::from_secs(60));
    options.occupancy.skip = true;
    options.discovery = Discovery::Off;
    options.variables = false;
    options
}

pub(crate) fn port(number: u16) -> Port {
    Port::new("port", i64::from(number)).unwrap()
}

pub(crate) fn range(min: u16, max: u16) -> PortRange {
    PortRange::new("ports", port(min), port(max)).unwrap()
}

pub(crate) fn tag(text: &str) -> Tag {
    Tag::new(text).unwrap()
}

pub(crate) fn key(path: &str, name: &str) -> Key {
    Key::new(Some(Path::new(path)), Some(tag(name))).unwrap()
}

pub(crate) fn request(path: &str, name: &str) -> ReserveRequest {
    let mut request = ReserveRequest::default();
    request.path = Some(path.into());
    request.tag = Some(tag(name));
    // The paths of most tests do not exist, and the automatic clean-up would take them away.
    (request.disable_autoprune, request.disable_autoexpire) = (true, true);
    request
}

pub(crate) fn reserve(registry: &Registry, path: &str, name: &str) -> Result<u16> {
    Ok(registry.reserve(&request(path, name))?.reservation.port.get())
}

pub(crate) fn release(registry: &Registry, path: &str, name: &str) -> Result<usize> {
    let mut request = ReleaseRequest::default();
    request.path = Some(path.into());
    request.tag = Some(tag(name));
    registry.release(&request)
}

pub(crate) fn code<T>(result: Result<T>) -> Code {
    match result {
        Ok(_) => panic!("this was expected to fail"),
        Err(error) => error.code(),
    }
}

/// Port, path and tag of every reservation, in the order of the list.
pub(crate) fn listed(registry: &Registry) -> Vec<(u16, String, String)> {
    let row = |row: trop_core::Reservation| {
        let tag = row.key.tag().map_or("", Tag::as_str).to_owned();
        (row.port.get(), row.key.path().to_owned(), tag)
    };
    registry.list().unwrap().into_iter().map(row).collect()
}

/// Runs Python with the database connected as `db`, in another process, because a second SQLite in this one
/// would drop the locks of the first. The script's `answer`, if it sets one, comes back.
pub(crate) fn python(database: &Path, script: &str) -> Value {
    let frame = format!(
        "import json, sqlite3, sys\n\
         db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
         answer = None\n\
         {script}\n\
         print(json.dumps(answer))\n\
         db.close()\n"
    );
    let output = Command::new("python3").arg("-c").arg(frame).arg(database).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All rows a query gives, seen from another process.
pub(crate) fn query(database: &Path, sql: &str) -> Value {
    python(database, &format!("answer = db.execute({}).fetchall()", Value::from(sql)))
}

/// The whole content of the registry, to compare before and after.
pub(crate) fn dump(database: &Path) -> Value {
    python(database, "answer = list(db.iterdump())")
}

/// The database is sound, and its free set is the complement of its rows.
pub(crate) fn assert_sound(database: &Path) {
    let script = "
assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
ports = [row[0] for row in db.execute('SELECT port FROM reservations')]
assert len(ports) == len(set(ports)), ports
taken = [0] * 1024
taken[0] = 1
for port in ports:
    taken[port >> 6] |= 1 << (port & 63)
free = [(word, bits & (2**64 - 1)) for word, bits in db.execute('SELECT word, free FROM trop_free_ports ORDER BY word')]
wrong = [(word, hex(bits), hex(taken[word])) for word, bits in free if bits != taken[word] ^ (2**64 - 1)]
assert len(free) == 1024 and not wrong, wrong
assert not db.execute('''SELECT * FROM trop_free_ports
    WHERE any_free <> (free <> 0) OR any_rested <> (rested <> 0) OR rested & ~free <> 0''').fetchall()
";
    python(database, script);
}

/// A process of this very test program, or of Python, that answers line by line.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts `test` of this program alone, in the given role and with its own default data directory.
    pub(crate) fn start(test: &str, role: &str, dir: &Path) -> Process {
        Process::start_by(&[], test, role, dir)
    }

    /// The same with a program in front.
    pub(crate) fn start_by(launcher: &[&str], test: &str, role: &str, dir: &Path) -> Process {
        Process::spawn(alone(&mut this_program(launcher), test, role, dir))
    }

    /// A Python process that has the database connected as `db`; it must flush what it prints.
    pub(crate) fn python(database: &Path, script: &str) -> Process {
        let frame = format!(
            "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n\
             def say(text): print('@' + text, flush=True)\n{script}"
        );
        Process::spawn(Command::new("python3").arg("-c").arg(frame).arg(database))
    }

    /// A process that holds the write lock from now on until it is told to go on.
    pub(crate) fn locking(database: &Path) -> Process {
        Process::locking_and(database, "SELECT 1")
    }

    /// The same, and it changes something by a statement before it commits.
    pub(crate) fn locking_and(database: &Path, sql: &str) -> Process {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/lock_holder.py");
        let mut command = Command::new("python3");
        let mut process = Process::spawn(command.arg(program).arg(database).args(["--then", sql]));
        let mut line = String::new();
        process.output.read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        process
    }

    fn spawn(command: &mut Command) -> Process {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Process { child, input, output }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn say(&mut self, text: &str) {
        writeln!(self.input.as_mut().unwrap(), "{text}").unwrap();
    }

    /// The next line the process said, without what the test harness prints; none at its end.
    pub(crate) fn listen(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while self.output.read_until(b'\n', &mut line).unwrap() > 0 {
            if let Some(said) = line.strip_prefix(b"@").and_then(|line| line.strip_suffix(b"\n")) {
                return Some(String::from_utf8(said.to_vec()).unwrap());
            }
            line.clear();
        }
        None
    }

    pub(crate) fn hear(&mut self) -> String {
        self.listen().expect("the process ended early")
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends what [`Process::locking`] began. Told in words: forked children keep our end of the pipe open.
    pub(crate) fn unlock(mut self) {
        self.say("go on");
        self.finish();
    }

    /// Lets the process end by itself.
    pub(crate) fn finish(mut self) {
        self.input = None;
        while self.listen().is_some() {}
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn this_program(launcher: &[&str]) -> Command {
    let program = env::current_exe().unwrap();
    match launcher {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

fn alone<'c>(command: &'c mut Command, test: &str, role: &str, dir: &Path) -> &'c mut Command {
    let arguments = ["--exact", test, "--nocapture", "--test-threads=1"];
    command.args(arguments).env(ROLE, role).env("TROP_DATA_DIR", dir);
    // For the shared registry, which nobody gives options.
    let (min, max) = (PORTS.start().to_string(), PORTS.end().to_string());
    command.env("TROP_PORT_MIN", &min).env("TROP_PORT_MAX", &max);
    command.env("TROP_LEASE_PORT_MIN", &min).env("TROP_LEASE_PORT_MAX", &max)
}

/// The role this process was started for, if another test started it.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Runs a test's body in a process of its own, which ends when the body does.
pub(crate) fn isolated(test: &str, body: impl FnOnce(&Scratch)) {
    isolated_by(&[], test, body);
}

/// The same with a program in front, such as one that takes rights away.
pub(crate) fn isolated_by(launcher: &[&str], test: &str, body: impl FnOnce(&Scratch)) {
    if role().as_deref() == Some(test) {
        watch(Duration::from_secs(120));
        body(&Scratch::new());
        process::exit(0);
    }
    let mut command = this_program(launcher);
    // What the child makes is removed here, because it may give up the rights to do so itself.
    let room = tempfile::tempdir().unwrap();
    allow(room.path(), 0o755);
    let output = alone(&mut command, test, test, room.path()).env("TMPDIR", room.path()).output().unwrap();
    let readable = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{test}: {}\n{}{}",
        output.status,
        readable(&output.stdout),
        readable(&output.stderr)
    );
}

/// Aborts this process when it takes absurdly long: a deadlock must fail, not hang.
fn watch(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("still running after {limit:?}");
        process::abort();
    });
}

/// Says a line to the process that started this one.
pub(crate) fn say(text: &str) {
    // In one write: killed processes must not leave half a line. The harness leaves its own line open.
    std::io::stdout().write_all(format!("\n@{text}\n").as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

/// Waits for the next line from the process that started this one; none at the end.
pub(crate) fn hear() -> Option<String> {
    let mut line = String::new();
    (std::io::stdin().read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
}

/// Whether a program runs and succeeds.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments.iter().map(OsStr::new))
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Binds as a probe does, and as programs that do not set `SO_REUSEADDR`, which the standard library does.
pub(crate) fn bind_plainly(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The first of `count` neighbouring ports of the suite that nothing has bound now, nor had a moment ago.
pub(crate) fn free_ports(count: u16) -> u16 {
    let is_free = |port: u16| {
        let everywhere = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        let is_in_use = |error: io::Error| error.kind() == ErrorKind::AddrInUse;
        everywhere.into_iter().all(|address| {
            let address = SocketAddr::new(address, port);
            !UdpSocket::bind(address).is_err_and(is_in_use) && !bind_plainly(address).is_err_and(is_in_use)
        })
    };
    // Test programs that run at the same time start at different places.
    let start = PORTS.start() + u16::try_from(process::id() % 100).unwrap() * 10;
    (start..PORTS.end() - count)
        .step_by(usize::from(count))
        .find(|first| (*first..*first + count).all(is_free))
        .unwrap()
}

/// Gives up root's rights for good: for processes of their own only.
#[allow(unsafe_code, reason = "system calls the standard library does not have")]
pub(crate) fn become_nobody() {
    // SAFETY: plain system calls; they change every thread of the process.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!(libc::setgid(65534), 0);
            assert_eq!(libc::setuid(65534), 0);
        }
    }
}

/// From now on this system call of this thread ends in a seccomp `action`, if the argument of this number has
/// this value or none is given.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "system calls the standard library does not have")]
pub(crate) fn filter_system_call(number: libc::c_long, argument: Option<(u32, u32)>, action: u32) {
    let step = |code: u32, skipped_if_not: u8, value: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: 0,
        jf: skipped_if_not,
        k: value,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    // The number of the system call is at the start of seccomp_data, its arguments from 16 bytes behind it.
    let low_half = if cfg!(target_endian = "little") { 16 } else { 20 };
    let mut filter = vec![step(load, 0, 0)];
    let number = number.try_into().unwrap();
    if let Some((index, value)) = argument {
        filter.extend([step(equal, 3, number), step(load, 0, low_half + 8 * index), step(equal, 1, value)]);
    } else {
        filter.push(step(equal, 1, number));
    }
    filter.extend([step(answer, 0, action), step(answer, 0, libc::SECCOMP_RET_ALLOW)]);
    let program = libc::sock_fprog { len: filter.len().try_into().unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: `program` and the filter it points to outlive the calls; the filter concerns this thread and
    // those it will start.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

pub(crate) fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
