//! `prune`, `expire` and `autoclean`.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Machine, Outcome, assert_failure, assert_syntax_error, run};

const COMMANDS: [&str; 3] = ["prune", "expire", "autoclean"];

fn tags(machine: &Machine) -> Vec<String> {
    machine.rows().iter().map(|row| row["tag"].as_str().unwrap_or("-").to_owned()).collect()
}

fn reserve(machine: &Machine, path: &str, tag: &str) {
    machine.reserve(["--quiet", "--path", path, "--tag", tag, "--skip-occupancy-check", "--project", "shop"]);
}

/// Sets the time of last use to this many days and seconds ago.
fn age(machine: &Machine, tag: &str, days: i64, seconds: i64) {
    machine.sql(&format!(
        "UPDATE reservations SET last_used_at = unixepoch() - {days} * 86400 - {seconds} WHERE tag = '{tag}'"
    ));
}

fn assert_summary(outcome: &Outcome, tokens: &[&str]) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    for token in tokens {
        assert!(outcome.stderr.contains(token), "{token}: {outcome:?}");
    }
}

/// Runs the dry run, which must change nothing, then the real one.
fn both(machine: &Machine, arguments: &[&str], would: &[&str], done: &[&str]) {
    let before = machine.rows();
    assert_summary(&machine.trop(arguments.iter().chain(&["--dry-run"])), would);
    assert_eq!(machine.rows(), before);
    assert_summary(&machine.trop(arguments), done);
}

/// Rows for every kind of path.
fn places() -> Machine {
    let machine = Machine::new();
    for directory in ["kept", "missing", "target", "file/below", "loop", "dangling"] {
        machine.directory(&format!("work/{directory}"));
    }
    for path in ["kept", "missing", "missing/deeper", "target", "file", "file/below", "dangling", "loop"] {
        reserve(&machine, path, path);
    }
    symlink(machine.path("work/target"), machine.path("work/link")).unwrap();
    reserve(&machine, "link", "link");
    reserve(&machine, &format!("{}/{}", machine.work(), "x".repeat(300)), "too long");
    for directory in ["missing", "file/below", "file", "dangling", "loop"] {
        fs::remove_dir(machine.path(&format!("work/{directory}"))).unwrap();
    }
    File::create(machine.path("work/file")).unwrap();
    symlink(machine.path("work/nowhere"), machine.path("work/dangling")).unwrap();
    symlink(machine.path("work/loop"), machine.path("work/loop")).unwrap();
    machine
}

/// Traps 50 (an unreadable directory is missing), 56 (an impossible path stays), 43 (a dry run selects by
/// itself).
#[test]
fn prune_removes_what_is_certainly_no_directory() {
    let machine = places();
    let dry = machine.trop(["prune", "--dry-run"]);
    assert!(dry.stderr.ends_with("[DRY RUN] Would remove 6 reservations\n"), "{dry:?}");
    assert_eq!(machine.rows().len(), 10);
    let outcome = machine.trop(["prune"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
    let warning =
        format!("Warning: cannot inspect '{}/loop': symlink loop; reservation preserved", machine.work());
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(lines, [warning.as_str(), "Removed 6 reservations"]);
    assert_eq!(tags(&machine), ["kept", "link", "loop", "target"]);
    let quiet = machine.trop(["prune", "--quiet"]);
    assert_eq!(quiet, Outcome { code: 0, stdout: String::new(), stderr: String::new() });
}

/// Traps 55 (a rounded age), 52 (zero days).
#[test]
fn expire_removes_what_was_not_used_for_more_than_the_days() {
    let machine = Machine::new();
    for tag in ["8", "7", "5", "future"] {
        reserve(&machine, ".", tag);
    }
    age(&machine, "8", 8, 0);
    // A minute before the limit: the test must not depend on how long it takes.
    age(&machine, "7", 7, -60);
    age(&machine, "5", 5, 0);
    age(&machine, "future", -100, 0);
    both(&machine, &["expire"], &["[DRY RUN] Would expire 0"], &["Expired 0", "30 days"]);
    both(
        &machine,
        &["expire", "--days", "7"],
        &["[DRY RUN] Would expire 1 reservation", "7 days"],
        &["Expired 1 reservation", "7 days"],
    );
    assert_eq!(tags(&machine), ["5", "7", "future"]);
    age(&machine, "7", 7, 60);
    assert_summary(&machine.trop(["expire", "--days", "7"]), &["Expired 1"]);
    assert_eq!(tags(&machine), ["5", "future"]);
    assert_summary(&machine.trop(["expire", "--days", "4294967295"]), &["Expired 0"]);
}

/// Trap 52 (zero days).
#[test]
fn the_number_of_days_is_at_least_1() {
    let machine = Machine::new();
    for command in ["expire", "autoclean"] {
        machine.refuses(7, &["> 0", "--days", "validation error"], [command, "--days", "0"]);
        machine.refuses(7, &["> 0"], [command, "--days", "0", "--dry-run", "--quiet"]);
        for wrong in ["-1", "4294967296", "soon", ""] {
            assert_syntax_error(&machine.trop([command, "--days", wrong]));
        }
    }
    assert_syntax_error(&machine.trop(["prune", "--days", "1"]));
    assert!(!machine.path("data").exists());
}

/// A kept row, a pruned one, an expired one, and one that is both missing and old.
fn mixed() -> Machine {
    let machine = Machine::new();
    machine.directory("work/gone");
    for (path, tag) in [(".", "kept"), (".", "old"), (".", "older"), ("gone", "missing"), ("gone", "both")] {
        reserve(&machine, path, tag);
    }
    fs::remove_dir(machine.path("work/gone")).unwrap();
    age(&machine, "old", 31, 0);
    age(&machine, "older", 40, 0);
    age(&machine, "both", 100, 0);
    machine
}

/// Traps 53 (a row counts twice), 43 (a dry run selects by itself).
#[test]
fn autoclean_counts_each_row_once() {
    let machine = mixed();
    let would = ["[DRY RUN] Would remove 4 total", "2 pruned", "2 expired"];
    both(&machine, &["autoclean"], &would, &["Removed 4 total", "2 pruned", "2 expired"]);
    assert_eq!(tags(&machine), ["kept"]);
    both(&machine, &["autoclean", "--days", "1"], &["Would remove 0 total"], &["Removed 0 total"]);
}

#[test]
fn quiet_prints_the_bare_total_if_there_is_one() {
    for (command, total) in [("prune", "2\n"), ("expire", "3\n"), ("autoclean", "4\n")] {
        let machine = mixed();
        for (arguments, expected) in [
            (&[command, "--quiet", "--dry-run"][..], total),
            (&[command, "--quiet", "--verbose"], total),
            (&[command, "--quiet"], ""),
        ] {
            let outcome = machine.trop(arguments);
            assert_eq!(outcome, Outcome { code: 0, stdout: expected.to_owned(), stderr: String::new() });
        }
    }
}

/// Trap 126 (messages in Rust's notation).
#[test]
fn verbose_has_a_line_for_each_row() {
    for (command, lines) in [("prune", 3), ("expire", 4), ("autoclean", 7)] {
        for dry in [true, false] {
            let machine = mixed();
            let mut arguments = vec!["--verbose", command];
            arguments.extend(dry.then_some("--dry-run"));
            let outcome = machine.trop(arguments);
            assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
            let stderr = &outcome.stderr;
            // Details about the settings are printed too.
            let told = stderr.lines().filter(|line| !line.starts_with("Detail: ")).count();
            assert_eq!(told, lines, "{outcome:?}");
            assert!(!stderr.contains("Some("), "{outcome:?}");
            for (tag, path, is_there) in [
                ("missing", "/gone", command != "expire"),
                ("both", "/gone", true),
                ("old", "", command != "prune"),
            ] {
                let line = format!("path {}{path}, tag {tag}, ", machine.work());
                assert_eq!(stderr.contains(&line), is_there, "{line}: {outcome:?}");
            }
            if command == "expire" {
                // In order of age, the oldest first.
                let place = |token: &str| stderr.find(token).unwrap();
                assert!(
                    place("100 days") < place("40 days") && place("40 days") < place("31 days"),
                    "{stderr}"
                );
            } else {
                assert!(stderr.contains("project shop"), "{outcome:?}");
            }
        }
    }
}

/// Traps 54 (a failure leaves a part done), 119 (more than one transaction).
#[test]
fn a_refused_row_keeps_all_of_them() {
    for command in COMMANDS {
        let machine = mixed();
        machine.sql(
            "CREATE TRIGGER no BEFORE DELETE ON reservations WHEN OLD.tag IN ('old', 'missing')
             BEGIN SELECT RAISE(ABORT, 'kept for a reason'); END",
        );
        machine.refuses(6, &["kept for a reason"], [command]);
        assert_eq!(machine.rows().len(), 5);
    }
}

/// Traps 42 (a dry run creates files), 45 (a dry run needs the lock).
#[test]
fn a_dry_run_creates_nothing_and_needs_no_lock() {
    for command in COMMANDS {
        let machine = Machine::new();
        assert_summary(&machine.trop([command, "--dry-run"]), &["[DRY RUN] Would ", " 0 "]);
        assert!(!machine.path("data").exists());
        machine.refuses(3, &["Data directory not found"], [command, "--dry-run", "--disable-autoinit"]);
        assert_summary(&machine.trop([command]), &[" 0 "]);
        assert!(machine.database().exists());
        let machine = mixed();
        let lock = machine.lock();
        assert_summary(&machine.trop([command, "--dry-run", "--busy-timeout", "0"]), &["[DRY RUN] Would "]);
        let refused = machine.trop([command, "--busy-timeout", "0"]);
        assert_failure(&refused, 2, &["database lock timeout"]);
        lock.release();
        assert_eq!(machine.rows().len(), 5);
    }
}

/// Trap 50 (an unreadable directory is missing).
#[test]
fn a_directory_behind_closed_doors_is_kept() {
    let machine = Machine::new();
    let doors = machine.directory("work/closed");
    for path in ["closed/there", "closed/gone"] {
        machine.reserve(["--quiet", "--path", path, "--skip-occupancy-check"]);
    }
    machine.directory("work/closed/there");
    fs::set_permissions(&doors, fs::Permissions::from_mode(0o000)).unwrap();
    for file in ["trop.db", "trop.db-wal"] {
        fs::set_permissions(machine.path("data").join(file), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let before = machine.rows();
    for command in ["prune", "autoclean"] {
        let outcome = run(&mut machine.as_nobody([command]));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
        for path in ["there", "gone"] {
            let warning = format!("{}/{path}': permission denied; reservation preserved", doors.display());
            assert!(outcome.stderr.contains(&warning), "{warning}: {outcome:?}");
        }
        assert!(outcome.stderr.contains("Removed 0"), "{outcome:?}");
        assert_eq!(run(&mut machine.as_nobody([command, "--quiet"])).stderr, "");
        assert_eq!(machine.rows(), before);
    }
    fs::set_permissions(&doors, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(run(&mut machine.as_nobody(["prune"])).stderr.contains("Removed 1"));
}

#[test]
fn unknown_directories_expire_all_the_same() {
    let machine = places();
    age(&machine, "loop", 40, 0);
    let outcome = machine.trop(["autoclean"]);
    assert_summary(&outcome, &["Removed 7 total", "6 pruned", "1 expired"]);
}
