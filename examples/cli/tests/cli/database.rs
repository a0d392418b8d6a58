//! Databases that are locked, damaged, foreign or missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Machine, Outcome, assert_failure, port, run, text};

const NOTHING: [&str; 0] = [];
const EVERY_COMMAND: [&[&str]; 4] = [&["reserve"], &["release"], &["list"], &["port-info", "5000"]];

/// Trap 110 (a lock reported wrongly).
#[test]
fn a_lock_is_waited_for_as_long_as_configured() {
    let machine = Machine::new();
    machine.reserve(NOTHING);
    let lock = machine.lock();
    for command in ["reserve", "release"] {
        let started = Instant::now();
        machine.refuses(
            2,
            &["Error: database lock timeout", "1s", "try again", "(--busy-timeout)"],
            [command, "--busy-timeout", "1"],
        );
        assert!(started.elapsed() >= Duration::from_millis(800));
        machine.refuses(2, &["Error: database lock timeout"], [command, "--quiet", "--busy-timeout", "0"]);
    }
    for reader in [&["list", "--busy-timeout", "0"][..], &["port-info", "5000", "--busy-timeout", "0"]] {
        let outcome = machine.trop(reader);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "readers need no lock");
    }
    lock.release();
}

/// Who may only read can look at everything, and is told what is missing for the rest. Trap 116 (reading
/// needs the right to write).
#[test]
fn reading_needs_no_right_to_write() {
    let machine = Machine::new();
    let port = machine.reserve(NOTHING).to_string();
    let before = fs::read(machine.database()).unwrap();
    let as_reader = |arguments: &[&str]| {
        let mut command = machine.as_nobody(arguments);
        fs::set_permissions(machine.database(), fs::Permissions::from_mode(0o444)).unwrap();
        fs::set_permissions(machine.path("data"), fs::Permissions::from_mode(0o555)).unwrap();
        run(&mut command)
    };
    for arguments in [
        &["list"][..],
        &["list-projects"],
        &["assert-reservation"],
        &["assert-port", &port],
        &["port-info", &port],
        &["scan", "--min", "25900", "--max", "25900"],
        &["assert-data-dir", "--validate"],
        &["prune", "--dry-run"],
        &["reserve", "--dry-run"],
    ] {
        let outcome = as_reader(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
    }
    for arguments in [&["reserve"][..], &["release"], &["prune"]] {
        assert_failure(&as_reader(arguments), 5, &[text(&machine.path("data"))]);
    }
    assert_eq!(fs::read(machine.database()).unwrap(), before);
    assert_eq!(fs::read_dir(machine.path("data")).unwrap().count(), 1);
    fs::set_permissions(machine.path("data"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_lock_that_goes_away_in_time_is_no_failure() {
    let machine = Machine::new();
    let before = machine.reserve(NOTHING);
    let lock = machine.lock();
    let mut command = machine.command(["reserve", "--busy-timeout", "60"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    lock.release();
    let outcome = Outcome::from(child.wait_with_output().unwrap());
    assert_eq!((port(&outcome), outcome.stderr.as_str()), (before, ""));
}

/// Trap 110 (a lock reported wrongly).
#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let machine = Machine::new();
    machine.directory("data");
    let content = "not a database, however long it is made ".repeat(100);
    fs::write(machine.database(), &content).unwrap();
    for command in EVERY_COMMAND {
        let outcome = machine.trop(command);
        assert_failure(&outcome, 6, &["database"]);
        assert!(!outcome.stderr.contains("lock timeout"), "{outcome:?}");
    }
    assert_eq!(fs::read_to_string(machine.database()).unwrap(), content);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let machine = Machine::new();
    machine.reserve(NOTHING);
    machine.sql(
        "UPDATE metadata SET value = '3' WHERE key = 'schema_version'; PRAGMA wal_checkpoint(TRUNCATE);",
    );
    let before = fs::read(machine.database()).unwrap();
    for command in EVERY_COMMAND {
        assert_failure(&machine.trop(command), 6, &["unsupported", "schema"]);
    }
    assert_eq!(fs::read(machine.database()).unwrap(), before);
}

#[test]
fn a_damaged_row_is_refused_with_the_name_of_its_field() {
    for (change, field) in [
        ("tag = ' web '", "field=tag"),
        ("path = 'relative'", "field=path"),
        ("project = ''", "field=project"),
        ("created_at = 999999999999999", "field=created_at"),
    ] {
        let machine = Machine::new();
        let port = machine.reserve(NOTHING).to_string();
        machine.sql(&format!("UPDATE reservations SET {change}"));
        let tokens = ["database corruption detected", field, "trop did not", "modify"];
        for format in ["table", "json", "csv", "tsv"] {
            assert_failure(&machine.trop(["list", "--format", format]), 6, &tokens);
        }
        assert_failure(&machine.trop(["port-info", &port]), 6, &tokens);
    }
}

/// Trap 119 (more than one transaction).
#[test]
fn a_rule_of_another_program_refuses_the_whole_change() {
    let machine = Machine::new();
    machine.reserve(["--tag", "a"]);
    machine.reserve(["--tag", "b"]);
    machine.sql(
        "CREATE TRIGGER keep BEFORE DELETE ON reservations WHEN old.tag = 'b'
         BEGIN SELECT RAISE(ABORT, 'b stays'); END;",
    );
    machine.refuses(6, &["conflict", "b stays"], ["release"]);
    assert_eq!(machine.rows().len(), 2);
}

/// Trap 110 (a lock reported wrongly): neither a lock nor an input or output failure, whatever keeps it from
/// being read.
#[test]
fn a_database_that_may_not_be_read() {
    let machine = Machine::new();
    machine.reserve(NOTHING);
    for arguments in EVERY_COMMAND.into_iter().chain([&["assert-data-dir", "--validate"][..]]) {
        let mut command = machine.as_nobody(arguments);
        fs::set_permissions(machine.database(), fs::Permissions::from_mode(0o000)).unwrap();
        let outcome = run(&mut command);
        assert_failure(&outcome, 6, &["database", "Permission denied"]);
        assert!(!outcome.stderr.contains("lock timeout"), "{outcome:?}");
    }
}

#[test]
fn what_the_system_refuses_is_an_input_output_failure() {
    let machine = Machine::new();
    let file = machine.path("file");
    fs::write(&file, "").unwrap();
    for directory in [file.clone(), file.join("below")] {
        for command in EVERY_COMMAND {
            let outcome = crate::support::run(machine.command(command).arg("--data-dir").arg(&directory));
            assert_failure(&outcome, 5, &["data directory"]);
        }
    }
    // The contract does not count a database that cannot be read as an I/O error.
    machine.directory("data/trop.db");
    for command in EVERY_COMMAND {
        assert_failure(&machine.trop(command), 6, &["database", "directory"]);
    }
}
