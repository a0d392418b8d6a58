//! Leases as others see them: `list --leases`, `release --port`, `port-info`, `assert-port`, `exclude`.

use std::fs::File;

use crate::support::{Machine, Outcome, assert_failure, assert_syntax_error, run, text};

const SILENT: Outcome = Outcome { code: 0, stdout: String::new(), stderr: String::new() };

/// Leases that a crashed program left, some of them hostile. The owner with the file `owner-00000000000a11ce`
/// is alive while that file is locked.
const ROWS: &str = r#"
    INSERT INTO trop_owners VALUES
        (1, 'owner-00000000000a11ce', 4711, 'node server.js', 1772357400),
        (2, 'owner-00000000000dead0', 4712, 'say "hi", ' || char(10) || char(27) || '[2J', 1772357400);
    INSERT INTO reservations VALUES
        ('/data', 'lease-5007', 5007, NULL, NULL, 1772357400, 253402300799),
        ('/data', 'lease-5001', 5001, NULL, NULL, 1772357460, 253402300799),
        ('/data', 'lease-5002', 5002, NULL, NULL, 1772357472, 253402300799),
        ('/data', 'lease-5003', 5003, NULL, NULL, 1772357472, 253402300799);
    INSERT INTO trop_leases VALUES
        (5007, 1, 1, 'web', '/home/ada/app'),
        (5001, 1, 2, NULL, '/home/adam'),
        (5002, 2, 3, 'a, "b"' || char(9) || 'é', '/home/ada/x' || char(10) || 'y'),
        (5003, 9, 4, NULL, '/srv');
"#;

/// A machine with these rows, and the lock of the owner that is alive.
fn machine() -> (Machine, File) {
    let machine = Machine::new();
    assert_eq!(machine.trop(["list"]).code, 0);
    machine.sql(ROWS);
    let lock = File::create(machine.path("data/owner-00000000000a11ce")).unwrap();
    lock.lock().unwrap();
    (machine, lock)
}

fn result(machine: &Machine, arguments: &[&str]) -> String {
    let outcome = run(machine.command(arguments).env("HOME", "/home/ada"));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    outcome.stdout
}

/// Expects success: this note, and nothing on standard output.
fn assert_released(outcome: &Outcome, note: &str) {
    let expected = Outcome { stderr: format!("{note}\n"), ..SILENT };
    assert_eq!(*outcome, expected);
}

#[test]
fn each_format_of_leases_is_as_it_was() {
    let (machine, _lock) = machine();
    for (arguments, golden) in [
        (&["list", "--leases"][..], include_str!("../golden/leases.table")),
        (&["list", "--leases", "--format", "JSON"], include_str!("../golden/leases.json")),
        (&["--quiet", "list", "--leases", "--format", "csv"], include_str!("../golden/leases.csv")),
        (&["list", "--leases", "--format", "tsv", "--verbose"], include_str!("../golden/leases.tsv")),
    ] {
        let outcome = run(machine.command(arguments).env("HOME", "/home/ada"));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, golden), "{arguments:?}");
    }
    let full = result(&machine, &["list", "--leases", "--show-full-paths"]);
    assert_eq!(full, include_str!("../golden/leases.table").replace("\t~/", "\t/home/ada/"));
    let by_variable = run(machine.command(["list", "--leases"]).env("TROP_OUTPUT_FORMAT", "json"));
    assert_eq!(by_variable.stdout, include_str!("../golden/leases.json"));
}

#[test]
fn no_lease_is_a_header_or_an_empty_array() {
    let machine = Machine::new();
    machine.reserve([""; 0]);
    let header = "port,label,state,pid,command,directory,since,process_state,kept_by\n";
    assert_eq!(result(&machine, &["list", "--leases"]), header.replace(',', "\t").to_uppercase());
    assert_eq!(result(&machine, &["list", "--leases", "--format", "json"]), "[]\n");
    assert_eq!(result(&machine, &["list", "--leases", "--format", "csv"]), header);
    for filter in ["--filter-project", "--filter-tag", "--filter-path"] {
        assert_syntax_error(&machine.trop(["list", "--leases", filter, "x"]));
    }
}

#[test]
fn leases_are_listed_only_when_asked_for() {
    let (machine, _lock) = machine();
    assert_eq!(machine.rows(), [0; 0]);
    let busy = machine.lock();
    let outcome = run(machine.command(["list", "--leases", "--busy-timeout", "0"]).env("HOME", "/home/ada"));
    assert_eq!(outcome.stdout, include_str!("../golden/leases.table"));
    busy.release();
    for command in [
        &["release", "--path", "/data", "--recursive", "--force"][..],
        &["prune"],
        &["expire", "--days", "1"],
        &["autoclean"],
    ] {
        assert_eq!(machine.trop(command).code, 0, "{command:?}");
        assert_eq!(machine.leases().len(), 4, "{command:?}");
    }
}

#[test]
fn a_live_lease_is_released_by_force_only() {
    let (machine, _lock) = machine();
    let live = ["release", "--port", "5007"];
    for extra in [&[][..], &["--dry-run"]] {
        let refused = machine.trop([&live[..], extra].concat());
        assert_failure(&refused, 6, &["conflict", "5007", "process 4711 (node server.js)", "--force"]);
    }
    let dry = machine.trop([&live[..], &["--dry-run", "--force"]].concat());
    let note = "Dry run: would release port 5007 leased by process 4711 (node server.js), alive\n\
                Dry run: would release 1 port";
    assert_released(&dry, note);
    assert_eq!(machine.leases().len(), 4);
    assert_released(&machine.trop([&live[..], &["--force"]].concat()), "Released 1 port");
    assert_eq!(machine.leases().len(), 3);
    let dead = machine.trop(["release", "--port", "5003", "--dry-run"]);
    assert!(dead.stderr.contains("a process nobody knows any more, ended"), "{dead:?}");
    assert_released(&machine.trop(["release", "--port", "5003"]), "Released 1 port");
    assert_eq!(machine.trop(["release", "--quiet", "--port", "5002"]), SILENT);
    let gone = machine.trop(["release", "--port", "5002"]);
    assert_released(&gone, "No reservation found: never reserved, or already released");
    assert_eq!(machine.leases().len(), 1);
}

#[test]
fn a_running_owner_goes_on_without_its_lease() {
    let machine = Machine::new();
    let (running, port) = machine.lease(&["--skip-occupancy-check"]);
    let port = port.to_string();
    let pid = format!("process {} (", running.child.id());
    assert_failure(&machine.trop(["release", "--port", &port]), 6, &[&pid, " -- /bin/sh"]);
    assert_released(&machine.trop(["release", "--force", "--port", &port]), "Released 1 port");
    let (other, same) = machine.lease(&["--skip-occupancy-check", "--port", &port]);
    assert_eq!(same.to_string(), port);
    assert_eq!(running.finish().code, 0);
    assert_eq!(machine.leases().len(), 1, "the port is another's now");
    drop(other);
    assert_eq!((machine.leases().len(), machine.owner_files()), (0, 0));
}

#[test]
fn a_reservation_is_released_by_its_port_wherever_it_is() {
    let machine = Machine::new();
    let place = text(&machine.directory("elsewhere")).to_owned();
    let reserve = ["--path", &place, "--allow-unrelated-path", "--tag", "web"];
    let port = machine.reserve(reserve).to_string();
    machine.reserve(["--path", &place, "--allow-unrelated-path"]);
    let dry = machine.trop(["release", "--port", &port, "--dry-run"]);
    let note = format!("Dry run: would release port {port} of {place}:web\nDry run: would release 1 port");
    assert_released(&dry, &note);
    assert_eq!(machine.rows().len(), 2);
    // `TROP_PATH`, even if it is bad, does not matter to `--port`.
    for path in ["", "/nowhere"] {
        let outcome = run(machine.command(["release", "--port", "6999"]).env("TROP_PATH", path));
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    assert_released(&machine.trop(["release", "--port", &port]), "Released 1 port");
    assert_eq!(machine.rows().len(), 1);
}

#[test]
fn a_port_to_release_excludes_every_other_choice() {
    let machine = Machine::new();
    for other in [
        &["--path", "x"][..],
        &["--tag", "x"],
        &["--untagged-only"],
        &["--recursive"],
        &["--allow-unrelated-path"],
    ] {
        let outcome = machine.trop([&["release", "--port", "5000"], other].concat());
        assert_syntax_error(&outcome);
        assert!(outcome.stderr.contains("cannot be used with"), "{outcome:?}");
    }
    for bad in ["0", "-1", "65536", "x", ""] {
        machine.refuses(4, &["Invalid", "port"], ["release", "--port", bad]);
    }
    let lock = {
        machine.reserve([""; 0]);
        machine.lock()
    };
    let busy = machine.trop(["release", "--port", "5000", "--busy-timeout", "0"]);
    assert_failure(&busy, 2, &["database lock timeout"]);
    lock.release();
}

#[test]
fn port_info_tells_whose_lease_it_is_and_whether_that_is_alive() {
    let (machine, _lock) = machine();
    let shown = result(&machine, &["port-info", "5007"]);
    let (before, rest) = shown.split_once("Age: ").unwrap();
    let (age, after) = rest.split_once(" s\n").unwrap();
    let taken = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_772_357_400);
    assert!(taken.elapsed().unwrap().as_secs() - age.parse::<u64>().unwrap() < 600, "{shown}");
    assert_eq!(
        (before, after),
        (
            "Port: 5007\nLabel: web\nLeased by: process 4711\nCommand: node server.js\n\
             Directory: /home/ada/app\nSince: 2026-03-01 09:30:00\n",
            "Owner: alive\n"
        )
    );
    let ended = result(&machine, &["port-info", "5002", "--include-occupancy", "--skip-occupancy-check"]);
    assert!(ended.starts_with("Port 5002 is not reserved\nPort: 5002\nLabel: a, \"b\"\\té\n"), "{ended}");
    assert!(ended.contains("\nCommand: say \"hi\", \\n\\u{1b}[2J\nDirectory: /home/ada/x\\ny\n"), "{ended}");
    assert!(ended.contains("\nOwner: gone\n\nOccupancy:\n"), "{ended}");
    let unknown = result(&machine, &["port-info", "5003"]);
    assert!(!unknown.contains("Leased by") && !unknown.contains("Command"), "{unknown}");
    assert!(result(&machine, &["port-info", "5004"]).ends_with("5004 is not reserved\n"));
}

#[test]
fn only_live_leases_count_for_assertions_and_exclusions() {
    let (machine, _lock) = machine();
    assert_eq!(machine.trop(["assert-port", "5007"]), SILENT);
    let named = ["Assertion failed", "leased by process 4711 (node server.js)"];
    assert_failure(&machine.trop(["assert-port", "5007", "--not"]), 1, &named);
    assert_eq!(machine.trop(["assert-port", "5002", "--not"]), SILENT);
    assert_failure(&machine.trop(["assert-port", "5002"]), 1, &["not reserved"]);
    assert_failure(&machine.trop(["exclude", "5000..5007", "--global"]), 4, &["reserved"]);
    assert_eq!(machine.trop(["exclude", "5002..5006", "--global"]).code, 0);
}
