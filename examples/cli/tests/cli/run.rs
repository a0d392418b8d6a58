//! `trop run`: ports in the environment of a command, for as long as it runs.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::{Machine, Outcome, Running, assert_failure, assert_syntax_error, run, text};

/// A TCP server that prints its port and ends with its input.
const SERVER: &str = "import os, socket, sys\n\
     listener = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n\
     print(os.environ['PORT'], flush=True)\n\
     sys.stdin.read()";

/// Without probes, because other programs may have bound the ports of these tests.
const BLIND: &str = "--skip-occupancy-check";

fn shell(machine: &Machine, options: &[&str], program: &str) -> Outcome {
    run(&mut machine.command([&["run", BLIND], options, &["--", "/bin/sh", "-c", program]].concat()))
}

/// The ports that are still leased, and the owners' lock files that are left.
fn left(machine: &Machine) -> (usize, usize) {
    (machine.leases().len(), machine.owner_files())
}

#[test]
fn the_port_is_in_the_environment_and_nothing_else_is_printed() {
    let machine = Machine::new();
    let outcome = shell(&machine, &[], "echo $PORT-$PORT_2");
    assert_eq!(outcome, Outcome { code: 0, stdout: "24000-\n".into(), stderr: String::new() });
    let outcome = shell(&machine, &["--count", "3"], "echo $PORT $PORT_2 $PORT_3 $PORT_4 >&2");
    assert_eq!(outcome, Outcome { code: 0, stdout: String::new(), stderr: "24001 24002 24003\n".into() });
    let outcome = shell(
        &machine,
        &["--count", "2", "--env", "WEB_PORT", "--env", "_db"],
        "env | grep -v '^TROP_' | grep -i 'port\\|_db='",
    );
    let lines: BTreeSet<_> = outcome.stdout.lines().collect();
    assert_eq!(lines, BTreeSet::from(["WEB_PORT=24004", "_db=24005"]));
    assert_eq!(left(&machine), (0, 0));
    assert_eq!(machine.rows(), [0; 0]);
}

/// The server closes first, so the port is closing for a minute. Nearly every server sets `SO_REUSEADDR`,
/// as this one does.
#[test]
#[cfg(target_os = "linux")]
fn a_server_gets_the_same_port_twice_in_a_row() {
    const ONE_REQUEST: &str = "import os, socket\n\
         address = ('127.0.0.1', int(os.environ['PORT']))\n\
         listener = socket.create_server(address)\n\
         client = socket.create_connection(address)\n\
         listener.accept()[0].close()\n\
         assert client.recv(1) == b''\n\
         print(address[1])";
    let machine = Machine::new();
    let free = machine.trop(["run", "--", "sh", "-c", "echo $PORT"]).stdout;
    let port = free.trim_end();
    for _ in 0..2 {
        let outcome = machine.trop(["run", "--port", port, "--", "python3", "-c", ONE_REQUEST]);
        assert_eq!(outcome, Outcome { code: 0, stdout: format!("{port}\n"), stderr: String::new() });
    }
    let scan = machine.trop(["scan", "--min", port, "--max", port, "--format", "csv"]);
    assert!(scan.stdout.contains(&format!("{port},closing,false,tcp,ipv4")), "{scan:?}");
    assert!(scan.stderr.contains("1 port is closing, for up to 60 s"), "{scan:?}");
    assert!(!scan.stderr.contains("occupied"), "{scan:?}");
    fs::write(machine.path("work/trop.yaml"), "excluded_ports: []\n").unwrap();
    let excluding = machine.trop(["scan", "--min", port, "--max", port, "--autoexclude"]);
    assert!(excluding.stderr.contains("Nothing to exclude"), "{excluding:?}");
    let told = machine.trop(["port-info", port, "--include-occupancy"]).stdout;
    assert!(told.contains("closing, for up to 60 s; a server that sets SO_REUSEADDR can use it"), "{told}");
}

#[test]
fn what_the_command_says_and_hears_is_its_own() {
    let machine = Machine::new();
    let (mut running, _) = machine.lease(&[]);
    running.say("hello");
    assert_eq!(running.line(), "hello");
    assert_eq!(running.finish(), Outcome { code: 0, stdout: String::new(), stderr: String::new() });
    // Arguments are passed on unchanged.
    let mut command = machine.command(["run", "--", "/bin/echo", "-n", "--quiet", "$PORT", "a  b", "--", ""]);
    assert_eq!(run(&mut command).stdout, "--quiet $PORT a  b -- ");
}

#[test]
fn a_lease_lasts_as_long_as_the_command_runs() {
    let machine = Machine::new();
    let (running, port) = machine.lease(&[BLIND, "--label", " web "]);
    let leases = machine.leases();
    assert_eq!(leases.len(), 1);
    assert_eq!((&leases[0]["port"], &leases[0]["label"]), (&port.into(), &"web".into()));
    assert_eq!((&leases[0]["state"], &leases[0]["pid"]), (&"alive".into(), &running.child.id().into()));
    assert_eq!(leases[0]["directory"], machine.work().as_str());
    assert!(leases[0]["command"].as_str().unwrap().ends_with(" -- /bin/sh -c echo $PORT; exec cat"));
    assert_eq!(machine.reserve([BLIND]), port + 1);
    assert_eq!(running.finish().code, 0);
    assert_eq!(left(&machine), (0, 0));
    assert_eq!(machine.reserve([BLIND, "--tag", "next"]), port);
}

#[test]
fn the_exit_status_is_the_commands() {
    let machine = Machine::new();
    for (program, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 125", 125),
        ("exit 255", 255),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
    ] {
        let silent = Outcome { code, stdout: String::new(), stderr: String::new() };
        assert_eq!(shell(&machine, &[], program), silent, "{program}");
        assert_eq!(left(&machine), (0, 0), "{program}");
    }
}

#[test]
fn a_command_that_cannot_be_run_leaves_no_lease() {
    let machine = Machine::new();
    let file = machine.path("work/file");
    fs::write(&file, "#!/bin/sh\n").unwrap();
    let start = |program: &str| machine.trop(["run", "--count", "2", "--quiet", "--", program]);
    let named = |name: &str| format!("cannot run '{name}'");
    for missing in ["no-such-program", "./missing", ""] {
        assert_failure(&start(missing), 127, &[&named(missing)]);
        assert_eq!(left(&machine), (0, 0));
    }
    for unfit in [text(&file), "/"] {
        assert_failure(&start(unfit), 126, &[&named(unfit), "Permission denied"]);
        assert_eq!(left(&machine), (0, 0));
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(start(text(&file)).code, 0);
    assert_failure(&start("no\u{1b}[2Jsuch"), 127, &["no\\u{1b}[2Jsuch"]);
}

#[test]
fn failures_of_its_own_before_the_start_are_125() {
    let machine = Machine::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let bound = listener.local_addr().unwrap().port().to_string();
    let long = "A".repeat(256);
    for (options, tokens) in [
        (&["--count", "0"][..], &["count", "1 to"][..]),
        (&["--count", "2001"], &["count", "2000"]),
        (&["--count", "4294967295"], &["count"]),
        (&["--env", "A", "--env", "B"], &["env", "names: 2, ports: 1"]),
        (&["--count", "3", "--env", "A"], &["env"]),
        (&["--count", "0", "--env", "A"], &["env"]),
        (&["--count", "2", "--env", "Same", "--env", "SAME"], &["env", "twice"]),
        (&["--env", ""], &["env", "digits"]),
        (&["--env", "1A"], &["env"]),
        (&["--env", "A=B"], &["env"]),
        (&["--env", "\u{e9}"], &["env"]),
        (&["--env", &long], &["env"]),
        (&["--port", "0"], &["Invalid", "port"]),
        (&["--port", "70000"], &["Invalid", "port"]),
        (&["--min", "-1"], &["Invalid", "min"]),
        (&["--min", "9000", "--max", "8000"], &["Invalid", "min"]),
        (&["--min", "26000"], &["validation error", "min 26000"]),
        (&["--label", " "], &["label", "Cannot be empty"]),
        (&["--min", &bound, "--max", &bound], &["port range", "exhausted", "1 occupied"]),
        (&["--disable-autoinit", "--data-dir", "none"], &["Data directory not found"]),
    ] {
        let arguments = [&["run"], options, &["--", "/bin/echo", "started"]].concat();
        assert_failure(&machine.trop(&arguments), 125, tokens);
        assert_eq!(left(&machine), (0, 0), "{options:?}");
    }
    let lock = machine.lock();
    let mut command = machine.command(["run", "--busy-timeout", "0", "--", "/bin/echo", "started"]);
    assert_failure(&run(&mut command), 125, &["database lock timeout"]);
    lock.release();
    let mut command = machine.command(["run", "--", "/bin/echo", "started"]);
    assert_failure(&run(command.env("TROP_LEASE_PORT_MIN", "x")), 125, &["TROP_LEASE_PORT_MIN"]);
    let mut command = machine.command(["run", "--", "/bin/echo", "started"]);
    command.env("TROP_PROJECT", "").env("TROP_PATH", "").env("TROP_OUTPUT_FORMAT", "x");
    assert_eq!(run(&mut command).stdout, "started\n", "what it does not use it does not judge");
}

#[test]
fn wrong_syntax_is_a_syntax_error() {
    let machine = Machine::new();
    for arguments in [
        &["run"][..],
        &["run", "--"],
        &["run", "echo"],
        &["run", "--count", "-1", "--", "echo"],
        &["run", "--count", "x", "--", "echo"],
        &["run", "--count", "4294967296", "--", "echo"],
        &["run", "--path", "x", "--", "echo"],
        &["run", "--hold", "--hold", "--", "echo"],
    ] {
        assert_syntax_error(&machine.trop(arguments));
    }
    assert!(!machine.path("data").exists());
}

#[test]
fn range_and_preferred_port_are_as_for_reserve() {
    let machine = Machine::new();
    let taken = machine.reserve([BLIND, "--port", "24010"]).to_string();
    let echo = "echo $PORT $PORT_2";
    let options = ["--port", "24020", "--count", "2", "--contiguous"];
    assert_eq!(shell(&machine, &options, echo).stdout, "24020 24021\n");
    assert_eq!(shell(&machine, &["--min", "24009", "--count", "2"], echo).stdout, "24009 24011\n");
    let neighbours = ["--min", "24009", "--max", "24012", "--count", "2", "--contiguous"];
    assert_eq!(shell(&machine, &neighbours, echo).stdout, "24011 24012\n");
    let refused = shell(&machine, &["--port", &taken], echo);
    assert_eq!((refused.code, refused.stdout.as_str()), (0, "24000\n"));
    assert_eq!(refused.stderr.lines().count(), 1);
    assert!(refused.stderr.starts_with("Warning: preferred port 24010 was not used"), "{refused:?}");
    let quiet = shell(&machine, &["--port", &taken, "--quiet"], echo);
    assert_eq!(quiet, Outcome { code: 0, stdout: "24001\n".into(), stderr: String::new() });
    let verbose = shell(&machine, &["--verbose"], echo);
    assert!(verbose.stderr.contains("Detail: PORT=24002\n"), "{verbose:?}");
    assert_eq!(verbose.stdout, "24002\n");
}

#[test]
fn occupied_ports_are_skipped_unless_nobody_looks() {
    let machine = Machine::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let bound = listener.local_addr().unwrap().port().to_string();
    let only = ["run", "--min", &bound, "--max", &bound];
    let echo = ["--", "/bin/sh", "-c", "echo $PORT"];
    assert_failure(&machine.trop([&only[..], &echo].concat()), 125, &["1 occupied"]);
    for skip in [BLIND, "--skip-tcp", "--skip-ipv4"] {
        let unseen = machine.trop([&only[..], &[skip], &echo].concat());
        assert_eq!(unseen.stdout, format!("{bound}\n"), "{skip}");
    }
    let by_variable = run(machine.command([&only[..], &echo].concat()).env("TROP_SKIP_TCP", "yes"));
    assert_eq!(by_variable.stdout, format!("{bound}\n"));
}

#[test]
fn a_killed_run_ends_the_lease_and_not_the_command() {
    let machine = Machine::new();
    let (mut running, port) = machine.lease(&[BLIND]);
    let port = port.to_string();
    let only = ["--port", &port, "--min", &port, "--max", &port];
    assert_failure(&machine.trop([&["run"], &only[..], &["--", "true"]].concat()), 125, &["1 reserved"]);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    assert_eq!(machine.leases()[0]["state"], "ended");
    let again = shell(&machine, &only, "echo $PORT");
    assert_eq!(again, Outcome { code: 0, stdout: format!("{port}\n"), stderr: String::new() });
    assert_eq!(left(&machine), (0, 0));
    running.say("still here");
    assert_eq!(running.line(), "still here");
}

#[test]
fn an_end_while_the_database_is_busy_does_not_wait() {
    let machine = Machine::new();
    let (running, port) = machine.lease(&[BLIND, "--busy-timeout", "2147483"]);
    let lock = machine.lock();
    assert_eq!(running.finish().code, 0);
    assert_eq!(machine.leases()[0]["state"], "ended");
    lock.release();
    assert_eq!(machine.reserve([BLIND]), port);
    assert_eq!(left(&machine), (0, 0));
}

#[test]
fn twenty_at_once_get_ports_they_can_all_bind() {
    let machine = Machine::new();
    let start = |_| {
        let mut command = machine.command(["run", "--busy-timeout", "60", "--", "python3", "-c", SERVER]);
        command.env("PATH", std::env::var_os("PATH").unwrap());
        Running::start(command)
    };
    let mut running: Vec<Running> = (0..20).map(start).collect();
    // Each has bound its port before the first one ends.
    let ports: BTreeSet<String> = running.iter_mut().map(Running::line).collect();
    assert!(!ports.contains(""), "{ports:?}");
    assert_eq!(ports.len(), 20, "{ports:?}");
    assert_eq!(machine.leases().len(), 20);
    for running in running {
        assert_eq!(running.finish(), Outcome { code: 0, stdout: String::new(), stderr: String::new() });
    }
    assert_eq!(left(&machine), (0, 0));
}

/// `leases.md` 4: a server with `SO_REUSEADDR` can listen, one without cannot.
#[test]
#[cfg(target_os = "linux")]
fn a_held_port_is_for_servers_that_reuse_addresses() {
    let machine = Machine::new();
    let program = "import os, socket\n\
         for reuse in [0, 1]:\n\
        \x20   server = socket.socket()\n\
        \x20   server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)\n\
        \x20   try:\n\
        \x20       server.bind(('127.0.0.1', int(os.environ['PORT'])))\n\
        \x20       server.listen()\n\
        \x20       print(reuse, 'listens')\n\
        \x20   except OSError as error:\n\
        \x20       print(reuse, error.errno)";
    let mut command = Command::new("python3");
    command.args(["-c", program]).stdin(Stdio::null());
    let python = |hold: &[&str]| {
        let mut command = machine.command([&["run"], hold, &["--", "python3", "-c", program]].concat());
        run(command.env("PATH", std::env::var_os("PATH").unwrap())).stdout
    };
    assert_eq!(python(&["--hold"]), "0 98\n1 listens\n");
    assert_eq!(python(&[]).lines().next(), Some("0 listens"));
}
