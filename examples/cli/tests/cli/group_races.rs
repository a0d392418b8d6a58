//! Group commands that run at once, are killed in the middle, or meet ports that are really in use.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};

use crate::groups::{SHOP, command, machine, trop};
use crate::support::{Machine, Outcome, run};

/// Six at once, each waiting for the lock that another program holds until all of them are there.
#[test]
fn six_at_once_give_one_set() {
    let machine = machine(SHOP);
    machine.trop(["list"]);
    let lock = machine.lock();
    let arguments = [&["reserve-group", "trop.yaml"][..], &["autoreserve"]].into_iter().cycle().take(6);
    let started: Vec<_> = arguments
        .map(|arguments| {
            let mut command = command(&machine, &[arguments, &["--busy-timeout", "30", "--quiet"]].concat());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in &started {
        // Then it has begun to read, and is about to wait for the lock.
        let maps = format!("/proc/{}/maps", child.id());
        while !fs::read_to_string(&maps).unwrap_or_default().contains("trop.db-shm") {
            std::thread::yield_now();
        }
    }
    lock.release();
    for child in started {
        let outcome = Outcome::from(child.wait_with_output().unwrap());
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (0, include_str!("../golden/group.sh")),
            "{outcome:?}"
        );
    }
    assert_eq!(machine.rows().len(), 3);
}

/// The same if the registry does not exist yet.
#[test]
fn six_at_once_make_one_registry() {
    let machine = machine(SHOP);
    let started: Vec<_> = (0..6)
        .map(|_| {
            let mut command = command(&machine, &["autoreserve", "--busy-timeout", "30", "--quiet"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in started {
        let outcome = Outcome::from(child.wait_with_output().unwrap());
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (0, include_str!("../golden/group.sh")),
            "{outcome:?}"
        );
    }
    assert_eq!(machine.rows().len(), 3);
}

/// Starts the command, whose second insert never ends, and kills it in the middle of its transaction.
fn killed_in_the_middle(machine: &Machine, arguments: &[&str]) {
    machine.sql(
        "CREATE VIEW forever AS
             WITH RECURSIVE step (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step WHERE n > 0)
             SELECT n FROM step;
         CREATE TRIGGER hang BEFORE INSERT ON reservations WHEN NEW.tag = 'db'
         BEGIN SELECT count(*) FROM forever; END;",
    );
    let mut child = command(machine, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Returns when another process has the write lock.
    let program = "import sqlite3, sys\n\
         db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)\n\
         try:\n    \
             while True:\n        \
                 db.execute('BEGIN IMMEDIATE')\n        \
                 db.execute('ROLLBACK')\n\
         except sqlite3.OperationalError as error:\n    \
             print(error, flush=True)";
    let mut python = Command::new("python3");
    python.args(["-c", program]).arg(machine.database()).stdout(Stdio::piped());
    let mut watcher = python.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watcher.stdout.take().unwrap()).read_line(&mut line).unwrap();
    watcher.wait().unwrap();
    assert_eq!(line, "database is locked\n");
    assert!(child.try_wait().unwrap().is_none(), "it must not have come through");
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (None, 0),
        "nothing is printed before the commit"
    );
    machine.sql("DROP TRIGGER hang; DROP VIEW forever");
}

#[test]
fn killed_in_the_middle_it_leaves_all_as_it_was() {
    let machine = machine(SHOP);
    machine.trop(["list"]);
    for arguments in [&["autoreserve"][..], &["reserve-group", "trop.yaml"]] {
        killed_in_the_middle(&machine, arguments);
        assert_eq!(machine.rows(), [] as [serde_json::Value; 0]);
    }
    assert_eq!(trop(&machine, &["autoreserve"]).stdout, include_str!("../golden/group.sh"));
    machine.sql("DELETE FROM reservations WHERE tag = 'web'; UPDATE reservations SET created_at = 1000");
    let before = machine.rows();
    killed_in_the_middle(&machine, &["autoreserve", "--force"]);
    assert_eq!(machine.rows(), before);
    assert_eq!(trop(&machine, &["autoreserve", "--force"]).stdout, include_str!("../golden/group.sh"));
    assert_eq!(machine.trop(["assert-data-dir", "--validate"]).code, 0);
}

/// A port that is bound for UDP only, and the one after it.
fn udp_only() -> (UdpSocket, u16) {
    loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let is_free = |port| {
            let address = (Ipv4Addr::LOCALHOST, port);
            TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
        };
        if port < 65535 && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && is_free(port + 1) {
            return (socket, port);
        }
    }
}

#[test]
fn each_probe_can_be_switched_off() {
    let (_socket, port) = udp_only();
    let yaml =
        format!("ports: {{min: {port}, max: {}}}\nreservations: {{services: {{web: {{}}}}}}\n", port + 1);
    let machine = machine(&yaml);
    let reserve = |options: &[&str]| {
        let outcome = run(&mut machine.command([&["autoreserve", "--format", "dotenv"], options].concat()));
        machine.trop(["release"]);
        assert_eq!(outcome.code, 0, "{options:?}: {outcome:?}");
        outcome.stdout
    };
    let (skipped, taken) = (format!("WEB={port}\n"), format!("WEB={}\n", port + 1));
    for (options, expected) in [
        (&[][..], &taken),
        (&["--check-all-interfaces"], &taken),
        (&["--skip-tcp"], &taken),
        (&["--skip-ipv6"], &taken),
        (&["--skip-tcp", "--skip-ipv6"], &taken),
        (&["--skip-udp"], &skipped),
        (&["--skip-udp", "--skip-ipv6"], &skipped),
        (&["--skip-ipv4"], &skipped),
        (&["--skip-occupancy-check"], &skipped),
    ] {
        assert_eq!(reserve(options), *expected, "{options:?}");
    }
    fs::write(machine.path("work/trop.yaml"), format!("{yaml}occupancy_check: {{skip_udp: true}}\n"))
        .unwrap();
    assert_eq!(reserve(&["--skip-ipv6"]), skipped, "one leaf leaves the others");
}

#[test]
fn a_preferred_port_in_use_falls_back_with_a_warning() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let machine = machine(&format!(
        "ports: {{min: 24000, max: 25999}}\nreservations: {{services: {{web: {{preferred: {port}}}}}}}\n"
    ));
    let outcome = machine.trop(["autoreserve"]);
    let warning = format!("Warning: preferred port {port} of 'web' was not used: something");
    assert!(outcome.stderr.contains(&warning), "{outcome:?}");
    assert!(!outcome.stdout.contains(&format!("={port}\n")), "{outcome:?}");
    // Not even with `--force`.
    machine.trop(["release"]);
    assert!(!machine.trop(["autoreserve", "--force"]).stdout.contains(&format!("={port}\n")));
}
