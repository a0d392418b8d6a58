//! The command with a database of schema version 1.

use crate::support::{Machine, assert_failure, run};

const VERSION_1: &str = "
CREATE TABLE metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE reservations (
  path TEXT NOT NULL, tag TEXT, port INTEGER NOT NULL, project TEXT, task TEXT,
  created_at INTEGER NOT NULL, last_used_at INTEGER NOT NULL, PRIMARY KEY (path, tag)
);
CREATE INDEX idx_reservations_port ON reservations (port);
CREATE INDEX idx_reservations_project ON reservations (project);
CREATE INDEX idx_reservations_last_used ON reservations (last_used_at);
INSERT INTO metadata VALUES ('schema_version', '1');
INSERT INTO reservations VALUES ('/p', NULL, 6001, NULL, NULL, 10, 5), ('/p', 'web', 6002, 'p', 't', 10, 20);
";

fn machine(more: &str) -> Machine {
    let machine = Machine::new();
    machine.directory("data");
    machine.sql(&format!("{VERSION_1}{more}"));
    machine
}

#[test]
fn the_first_use_migrates_and_says_so_once() {
    for command in
        [&["list"][..], &["reserve"], &["assert-port", "6001"], &["migrate", "--from=/p", "--to=/q"]]
    {
        let machine = machine("");
        let first = machine.trop(command);
        assert_eq!(first.code, 0, "{first:?}");
        let lines = first.stderr.lines().filter(|line| line.contains("schema version 1 to 2"));
        assert_eq!(lines.count(), 1, "{first:?}");
        assert!(first.stderr.contains("2 reservations"), "{first:?}");
        assert!(!machine.trop(["list"]).stderr.contains("version"));
    }
    let machine = machine("");
    let outcome = machine.trop(["list", "--quiet", "--format", "csv"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let rows = "\n6001,/p,,,,1970-01-01 00:00:10,1970-01-01 00:00:05\n\
                6002,/p,web,p,t,1970-01-01 00:00:10,1970-01-01 00:00:20\n";
    assert!(outcome.stdout.ends_with(rows), "{outcome:?}");
}

/// Trap 113 (one of several rows is picked).
#[test]
fn a_file_that_cannot_be_migrated_stays_as_it_is() {
    let machine = machine("INSERT INTO reservations VALUES ('/p', NULL, 6001, NULL, NULL, 1, 1)");
    let before = std::fs::read(machine.database()).unwrap();
    for command in [&["list"][..], &["reserve"], &["migrate", "--from=/p", "--to=/q", "--dry-run"]] {
        let tokens = ["duplicate keys (path and tag): 1", "duplicate ports: 1", "version 1"];
        assert_failure(&machine.trop(command), 6, &tokens);
    }
    assert!(before == std::fs::read(machine.database()).unwrap());
}

#[test]
fn a_dry_run_leaves_version_1() {
    let machine = machine("");
    let before = std::fs::read(machine.database()).unwrap();
    let outcome = machine.trop(["migrate", "--from=/p", "--to=/q", "--dry-run"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(!outcome.stderr.contains("schema"), "{outcome:?}");
    assert!(before == std::fs::read(machine.database()).unwrap());
    let lock = machine.lock();
    let waiting = run(machine.command(["list", "--busy-timeout", "0"]).env("HOME", ""));
    assert_failure(&waiting, 2, &["database lock timeout"]);
    lock.release();
}
