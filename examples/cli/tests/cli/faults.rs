//! The same fault has the same exit code and the same message in every command.

use std::fs;

use crate::support::{Machine, assert_failure, assert_syntax_error, run, text};

type Commands = &'static [&'static [&'static str]];

/// The commands that change rows.
const WRITERS: Commands = &[
    &["reserve"],
    &["release"],
    &["prune"],
    &["expire"],
    &["autoclean"],
    &["migrate", "--from", "/a", "--to", "/b", "--recursive"],
];

/// The commands that open the database and change nothing in it.
const READERS: Commands = &[
    &["list"],
    &["list-projects"],
    &["assert-reservation"],
    &["assert-reservation", "--not"],
    &["assert-port", "5000"],
    &["assert-port", "5000", "--not"],
    &["port-info", "5000"],
    &["scan", "--min", "25900", "--max", "25900"],
    &["exclude", "25900"],
];

/// The commands that need no data directory.
const OTHERS: Commands = &[&["show-path"], &["completions", "bash"], &["validate", "trop.yaml"]];

pub(crate) fn everybody() -> impl Iterator<Item = &'static [&'static str]> {
    WRITERS.iter().chain(READERS).copied()
}

fn machine() -> Machine {
    let machine = Machine::new();
    fs::write(machine.path("work/trop.yaml"), "project: shop\n").unwrap();
    machine
}

/// Traps 110 (a lock reported wrongly), 128 (several exit codes for one fault).
#[test]
fn a_lock_is_a_timeout_for_whoever_needs_it() {
    let machine = machine();
    machine.reserve([""; 0]);
    let lock = machine.lock();
    for command in WRITERS {
        let arguments = command.iter().chain(&["--busy-timeout", "0"]);
        machine.refuses(2, &["Error: database lock timeout", "0s"], arguments);
    }
    let validate: &[&str] = &["assert-data-dir", "--validate"];
    for command in READERS.iter().copied().chain([validate]).filter(|command| !command.contains(&"--not")) {
        let outcome = machine.trop(command.iter().chain(&["--busy-timeout", "0"]));
        assert!(outcome.code < 2, "{command:?}: {outcome:?}");
    }
    lock.release();

    // Every command has to wait when the database is opened and switched to WAL.
    machine.sql("PRAGMA journal_mode = DELETE");
    let lock = machine.holder(&["exclusive"]);
    for command in everybody() {
        let outcome = machine.trop(command.iter().chain(&["--busy-timeout", "0"]));
        assert_failure(&outcome, 2, &["Error: database lock timeout", "0s"]);
    }
    lock.release();
    assert_eq!(machine.rows().len(), 1);
}

/// Traps 110 (a lock reported wrongly), 128 (several exit codes for one fault).
#[test]
fn a_damaged_or_newer_database_is_never_called_a_lock() {
    for damage in [
        "UPDATE metadata SET value = '3' WHERE key = 'schema_version'",
        "UPDATE metadata SET value = 'x' WHERE key = 'schema_version'",
    ] {
        let machine = machine();
        machine.reserve([""; 0]);
        machine.sql(damage);
        for command in everybody() {
            let outcome = machine.trop(command.iter().chain(&["--busy-timeout", "1"]));
            assert_failure(&outcome, 6, &["schema"]);
            assert!(!outcome.stderr.contains("lock"), "{outcome:?}");
        }
    }
    let machine = machine();
    machine.directory("data");
    fs::write(machine.database(), "no database, however long it is ".repeat(100)).unwrap();
    for command in everybody().chain([&["assert-data-dir", "--validate"][..]]) {
        let outcome = machine.trop(command);
        assert_failure(&outcome, 6, &["database"]);
        assert!(!outcome.stderr.contains("lock"), "{outcome:?}");
    }
}

/// Trap 128 (several exit codes for one fault).
#[test]
fn a_missing_database_is_made_or_missed_by_everybody() {
    for command in everybody() {
        let machine = machine();
        let outcome = machine.trop(command.iter().chain(&["--disable-autoinit"]));
        assert_failure(&outcome, 3, &["Data directory not found"]);
        assert!(!machine.path("data").exists());
        assert!(machine.trop(command).code < 2, "{command:?}");
        assert!(machine.database().exists(), "{command:?}");
    }
}

/// Traps 70 (commands read different sources), 128 (several exit codes for one fault).
#[test]
fn a_broken_file_stops_everybody_who_reads_files() {
    let machine = machine();
    fs::write(machine.path("work/trop.yaml"), "unknown: 1\n").unwrap();
    for command in everybody().chain([&["assert-data-dir", "--validate"][..]]) {
        machine.refuses(7, &["validation error", text(&machine.path("work/trop.yaml"))], command);
    }
    fs::remove_file(machine.path("work/trop.yaml")).unwrap();
    machine.directory("data");
    fs::write(machine.path("data/config.yaml"), "project: a\n").unwrap();
    for command in everybody().filter(|command| command[0] != "exclude") {
        machine.refuses(
            7,
            &["validation error", "project", text(&machine.path("data/config.yaml"))],
            command,
        );
    }
    for command in [&["show-data-dir"][..], &["show-path"], &["completions", "fish"], &["init"]] {
        assert_eq!(machine.trop(command).code, 0, "{command:?}");
    }
}

/// Trap 128 (several exit codes for one fault).
#[test]
fn values_out_of_bounds_are_the_same_to_everybody() {
    let machine = machine();
    let with_port: Commands = &[
        &["reserve", "--port", "0"],
        &["reserve", "--min", "0"],
        &["reserve", "--max", "0"],
        &["scan", "--min", "0"],
        &["scan", "--max", "0"],
        &["port-info", "0"],
        &["assert-port", "0"],
        &["exclude", "0"],
        &["exclude", "0..5", "--global"],
    ];
    for command in with_port {
        machine.refuses(4, &["Invalid", "port"], *command);
    }
    for command in ["reserve", "release", "assert-reservation"] {
        machine.refuses(4, &["Cannot be empty"], [command, "--tag", " "]);
        machine.refuses(6, &["cannot resolve"], [command, "--path", "/.."]);
    }
    for command in [
        &["show-path", "--path", "/.."][..],
        &["list", "--filter-path", "/.."],
        &["migrate", "--from", "/..", "--to", "/a"],
        &["migrate", "--from", "/a", "--to", "/.."],
    ] {
        machine.refuses(6, &["cannot resolve"], command);
    }
    for command in ["validate", "compact-exclusions"] {
        machine.refuses(4, &["not found"], [command, "missing.yaml"]);
        machine.refuses(4, &["not a file"], [command, "."]);
    }
    for command in everybody() {
        machine.refuses(
            7,
            &["must not exceed 2147483", "command line"],
            command.iter().chain(&["--busy-timeout", "2147484"]),
        );
        assert_syntax_error(&machine.trop(command.iter().chain(&["--busy-timeout", "-1"])));
        assert_syntax_error(&machine.trop(command.iter().chain(&["--frobnicate"])));
        assert_syntax_error(&run(machine.command(command).env("TROP_DATA_DIR", "")));
    }
}

/// Of two `--data-dir` the later one counts, and the other is not created.
#[test]
fn the_later_data_directory_wins_everywhere() {
    let also: Commands = &[&["init"], &["assert-data-dir", "--not"], &["show-data-dir"]];
    for command in everybody().chain(also.iter().copied()) {
        let machine = machine();
        let (first, second) = (machine.path("first"), machine.path("second"));
        let mut arguments = vec!["--data-dir", text(&first)];
        arguments.extend(command);
        arguments.extend(["--data-dir", text(&second)]);
        let outcome = machine.trop(&arguments);
        assert!(outcome.code < 2, "{arguments:?}: {outcome:?}");
        assert!(!first.exists() && !machine.path("data").exists(), "{arguments:?}");
        let opens = !matches!(command[0], "assert-data-dir" | "show-data-dir");
        assert_eq!(second.join("trop.db").exists(), opens, "{arguments:?}");
    }
}

/// Trap 130 (no home directory). What becomes of the others without one is tested in `homeless.rs`.
#[test]
fn who_needs_no_data_directory_needs_no_home_directory() {
    let machine = machine();
    for command in OTHERS {
        let mut homeless = machine.command(*command);
        assert_eq!(run(homeless.env_remove("TROP_DATA_DIR").env_remove("HOME")).code, 0, "{command:?}");
    }
}
