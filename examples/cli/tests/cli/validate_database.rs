//! `assert-data-dir`, with and without `--validate`.

use std::fs;
use std::path::Path;

use crate::support::{Machine, assert_failure, run, text};

const NOTHING: [&str; 0] = [];

/// Every file of the data directory with its content.
fn files(machine: &Machine) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(machine.path("data")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.map(|path| (text(&path).to_owned(), fs::read(&path).unwrap_or_default())).collect();
    files.sort();
    files
}

/// Refused with exit code 6 with and without `--not`, and the file is left as it is.
fn faulty(machine: &Machine, tokens: &[&str]) {
    let before = files(machine);
    for more in [&[][..], &["--not"], &["--quiet"]] {
        let outcome = machine.trop([&["assert-data-dir", "--validate"], more].concat());
        assert_failure(&outcome, 6, tokens);
        assert!(!outcome.stderr.contains("lock timeout"), "{outcome:?}");
    }
    assert!(files(machine) == before, "changed: {tokens:?}");
}

fn sound(machine: &Machine) {
    let outcome = machine.trop(["assert-data-dir", "--validate"]);
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "", ""), "{outcome:?}");
    assert_failure(&machine.trop(["assert-data-dir", "--validate", "--not"]), 1, &["Assertion failed"]);
}

fn machine() -> Machine {
    let machine = Machine::new();
    machine.reserve(["--tag", "web"]);
    machine.reserve(NOTHING);
    machine
}

#[test]
fn without_validate_only_the_directory_matters() {
    let machine = Machine::new();
    for more in [&[][..], &["--validate"]] {
        let arguments = [&["assert-data-dir"], more].concat();
        assert_failure(&machine.trop(&arguments), 1, &["Assertion failed"]);
        assert_eq!(machine.trop([&arguments[..], &["--not"]].concat()).code, 0);
        assert!(!machine.path("data").exists());
    }
    machine.directory("data");
    fs::write(machine.database(), "no database").unwrap();
    assert_eq!(machine.trop(["assert-data-dir"]).code, 0);
    assert_failure(&machine.trop(["assert-data-dir", "--not"]), 1, &["exists"]);
    let work = machine.work();
    let elsewhere = run(machine.command(["assert-data-dir", "--data-dir", &work, "--not"]).env("HOME", ""));
    assert_failure(&elsewhere, 1, &[&work]);
    let later = ["--data-dir", "never-made", "assert-data-dir", "--data-dir", &work];
    assert_eq!(machine.trop(later).code, 0);
    assert!(!Path::new(&work).join("never-made").exists());
}

/// Settings matter to the database only. Trap 83 (a bad variable nobody uses).
#[test]
fn without_validate_no_configuration_is_read() {
    for file in ["data/config.yaml", "work/trop.yaml", "work/trop.local.yaml"] {
        let machine = Machine::new();
        machine.directory("data");
        fs::write(machine.path(file), "unknown: 1\n").unwrap();
        assert_eq!(machine.trop(["assert-data-dir"]).code, 0, "{file}");
        let path = machine.path(file);
        assert_failure(&machine.trop(["assert-data-dir", "--validate"]), 7, &[text(&path)]);
    }
    let machine = machine();
    let with = |arguments: &[&str]| run(machine.command(arguments).env("TROP_BUSY_TIMEOUT", "soon"));
    assert_eq!(with(&["assert-data-dir"]).code, 0);
    assert_failure(&with(&["assert-data-dir", "--validate"]), 7, &["TROP_BUSY_TIMEOUT"]);
}

/// Traps 108 (--not hides a failure), 109 (a missing database is valid).
#[test]
fn a_directory_without_a_database_is_an_error_either_way() {
    let machine = Machine::new();
    machine.directory("data");
    faulty(&machine, &["does not contain", "database corruption detected", "trop did not", "modify"]);
    machine.directory("data/trop.db");
    faulty(&machine, &["directory"]);
}

#[test]
fn a_sound_database_is_valid_while_it_is_used() {
    let machine = machine();
    sound(&machine);
    machine.sql("DELETE FROM metadata WHERE key LIKE 'ext%'");
    sound(&machine);
    let lock = machine.lock();
    let outcome =
        run(machine.command(["assert-data-dir", "--validate", "--busy-timeout", "0"]).env("HOME", ""));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    lock.release();
}

/// Traps 105 (a negative time), 106 (only the file is checked), 107 (checking changes the file).
#[test]
fn a_bad_value_is_named_by_its_field_and_key() {
    for (change, field) in [
        ("created_at = -1", "field=created_at"),
        ("created_at = 'x'", "field=created_at"),
        ("last_used_at = 253402300800", "field=last_used_at"),
        ("port = 0", "field=port"),
        ("port = 70000", "field=port"),
        ("tag = ' web'", "field=tag"),
        ("tag = NULL", "field=tag"),
        ("path = '/a/../b'", "field=path"),
        ("path = x'2f'", "field=path"),
        ("project = ' '", "field=project"),
        ("task = x'73656372657431'", "field=task"),
    ] {
        let machine = machine();
        loosen(&machine);
        machine.sql(&format!("UPDATE reservations SET {change} WHERE tag = 'web'"));
        faulty(&machine, &["database corruption detected", field, "trop did not", "modify"]);
        let outcome = machine.trop(["assert-data-dir", "--validate"]);
        assert!(!outcome.stderr.contains("secret"), "{outcome:?}");
        if !change.starts_with("tag") {
            assert!(outcome.stderr.contains("tag \"web\""), "{outcome:?}");
        }
        assert_failure(&machine.trop(["list"]), 6, &[field]);
    }
    let machine = machine();
    machine.sql("UPDATE reservations SET path = '/x' || char(27) || '[2J', project = '' WHERE tag = 'web'");
    faulty(&machine, &["field=project", "\\u{1b}[2J"]);
}

/// Replaces the table `reservations` by one without constraints.
fn loosen(machine: &Machine) {
    machine.sql(
        "CREATE TABLE copy AS SELECT * FROM reservations; DROP TABLE reservations;
         CREATE TABLE reservations (path, tag, port, project, task, created_at, last_used_at);
         INSERT INTO reservations SELECT * FROM copy; DROP TABLE copy;",
    );
}

/// Reported before the faults of the structure that should have prevented them. Trap 104 (untagged rows
/// twice).
#[test]
fn duplicates_are_found_where_the_constraints_are_missing() {
    let machine = machine();
    loosen(&machine);
    faulty(&machine, &["table reservations"]);
    machine
        .sql("INSERT INTO reservations SELECT path, tag, 6001, NULL, NULL, 1, 1 FROM reservations LIMIT 1");
    faulty(&machine, &["duplicate logical", "database corruption detected", "trop did not"]);
    machine.sql("DELETE FROM reservations WHERE port = 6001");
    machine.sql("INSERT INTO reservations SELECT '/x', '', port, NULL, NULL, 1, 1 FROM reservations LIMIT 1");
    faulty(&machine, &["same port", "database corruption detected", "modify"]);
}

/// Trap 115 (a rule in a comment).
#[test]
fn the_structure_has_to_be_that_of_version_2() {
    for (script, tokens) in [
        ("DROP INDEX idx_reservations_port", &["idx_reservations_port", "missing"][..]),
        (
            "DROP INDEX idx_reservations_project; \
             CREATE INDEX idx_reservations_project ON reservations (task)",
            &["idx_reservations_project"],
        ),
        (
            "DROP INDEX idx_reservations_last_used;
             CREATE INDEX idx_reservations_last_used ON reservations (last_used_at DESC)",
            &["idx_reservations_last_used"],
        ),
        (
            "DROP INDEX idx_reservations_port; \
             CREATE UNIQUE INDEX idx_reservations_port ON reservations (port)",
            &["idx_reservations_port"],
        ),
        (
            "DROP INDEX idx_reservations_port; \
             CREATE INDEX idx_reservations_port ON reservations (port) WHERE port > 9",
            &["idx_reservations_port"],
        ),
        (
            "DROP INDEX idx_reservations_port; \
             CREATE INDEX idx_reservations_port ON reservations (port, path)",
            &["idx_reservations_port"],
        ),
        ("UPDATE metadata SET value = 'two' WHERE key = 'schema_version'", &["key=\"schema_version\""]),
        ("UPDATE metadata SET value = '-1' WHERE key = 'schema_version'", &["key=\"schema_version\""]),
        ("DELETE FROM metadata", &["schema"]),
        ("ALTER TABLE reservations ADD COLUMN more TEXT", &["columns", "reservations"]),
        ("ALTER TABLE metadata ADD COLUMN more TEXT", &["columns", "metadata"]),
        ("INSERT INTO trop_leases VALUES (6001, 1, 1, NULL, '/')", &["trop_leases", "6001"]),
        ("DROP TABLE trop_owners; CREATE TABLE trop_owners (id INTEGER PRIMARY KEY)", &["trop_owners"]),
        (
            "CREATE TABLE theirs (x REFERENCES metadata (key)); PRAGMA foreign_keys = OFF;
             INSERT INTO theirs VALUES ('nowhere')",
            &["theirs", "foreign key"],
        ),
    ] {
        let machine = machine();
        machine.sql(script);
        faulty(&machine, tokens);
    }
}

/// The check stands in a comment only. Trap 115 (a rule in a comment).
#[test]
fn a_rule_in_a_comment_is_no_rule() {
    let strict = |check: &str, options: &str| {
        let machine = machine();
        machine.sql(&format!(
            "CREATE TABLE copy AS SELECT * FROM reservations; DROP TABLE reservations;
             CREATE TABLE reservations (
                path TEXT NOT NULL, tag TEXT NOT NULL, port INTEGER NOT NULL UNIQUE {check},
                project TEXT, task TEXT,
                created_at INTEGER NOT NULL CONSTRAINT valid_created_at CHECK (created_at >= 0),
                last_used_at INTEGER NOT NULL /* when */ constraint valid_last_used_at check(last_used_at>=0),
                PRIMARY KEY (path, tag)) {options};
             CREATE INDEX idx_reservations_port ON reservations (port);
             CREATE INDEX idx_reservations_project ON reservations (project);
             CREATE INDEX idx_reservations_last_used ON reservations (last_used_at);
             INSERT INTO reservations SELECT * FROM copy; DROP TABLE copy;"
        ));
        machine
    };
    let check = "CONSTRAINT valid_port CHECK (port BETWEEN 1 AND 65535)";
    sound(&strict(check, "STRICT"));
    faulty(&strict(&format!("/* {check} */"), "STRICT"), &["valid_port"]);
    faulty(&strict("CONSTRAINT valid_port CHECK (port BETWEEN 0 AND 65535)", "STRICT"), &["valid_port"]);
    faulty(&strict(check, ""), &["STRICT"]);
}

#[test]
fn other_versions_and_other_files_are_refused() {
    let nameless = machine();
    nameless.sql("DELETE FROM metadata WHERE key = 'schema_version'");
    faulty(&nameless, &["database corruption detected", "key=\"schema_version\" is missing", "trop did not"]);
    assert_failure(&nameless.trop(["list"]), 6, &["tables are in the way: reservations, trop_"]);

    let machine = machine();
    machine.sql("UPDATE metadata SET value = '3' WHERE key = 'schema_version'");
    faulty(&machine, &["unsupported", "version 3"]);
    machine.sql("UPDATE metadata SET value = '1' WHERE key = 'schema_version'");
    faulty(&machine, &["version 1"]);

    let machine = Machine::new();
    machine.directory("data");
    fs::write(machine.database(), "not a database ".repeat(500)).unwrap();
    let tokens = ["database corruption detected", "physical database corruption", "trop did not", "modify"];
    faulty(&machine, &tokens);
    fs::write(machine.database(), "").unwrap();
    faulty(&machine, &["schema_version"]);
}

#[test]
fn damaged_pages_are_found() {
    let machine = machine();
    machine.sql(
        "WITH RECURSIVE port(n) AS (SELECT 10000 UNION ALL SELECT n + 1 FROM port WHERE n < 14000)
         INSERT INTO reservations SELECT '/srv/' || n, '', n, NULL, NULL, 0, 0 FROM port;
         PRAGMA wal_checkpoint(TRUNCATE);",
    );
    sound(&machine);
    let whole = fs::read(machine.database()).unwrap();
    for page in [50, 100, 200] {
        let mut damaged = whole.clone();
        damaged[page * 1024..page * 1024 + 1024].fill(0x5a);
        fs::write(machine.database(), damaged).unwrap();
        faulty(&machine, &["database corruption detected"]);
    }
}

/// The log of a program that was killed is read and stays. Trap 107 (checking changes the file).
#[test]
fn a_left_log_is_read_and_kept() {
    let machine = machine();
    let program = "import os, sqlite3, sys\n\
         connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
         connection.execute(\"UPDATE reservations SET project = ''\")\n\
         os.kill(os.getpid(), 9)";
    let status = std::process::Command::new("python3").args(["-c", program]).arg(machine.database()).status();
    assert!(!status.unwrap().success());
    let log = machine.path("data/trop.db-wal");
    let before = (fs::read(machine.database()).unwrap(), fs::read(&log).unwrap());
    assert_failure(&machine.trop(["assert-data-dir", "--validate"]), 6, &["field=project"]);
    assert!(before == (fs::read(machine.database()).unwrap(), fs::read(&log).unwrap()));
}
