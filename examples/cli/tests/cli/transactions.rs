//! Each operation is one transaction: they are counted in the log (WAL) of the database.

use std::fs;

use crate::support::{Machine, run, text};

/// How many transactions the log of a database holds: the last frame of each has the size of the database.
fn commits(machine: &Machine) -> usize {
    let log = fs::read(machine.path("data/trop.db-wal")).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let (page, salt) = (usize::try_from(number(8)).unwrap(), number(16));
    (32..log.len())
        .step_by(24 + page)
        .take_while(|frame| number(frame + 8) == salt)
        .filter(|frame| number(frame + 4) != 0)
        .count()
}

/// Traps 49 (rows released one by one), 119 (more than one transaction).
#[test]
fn every_change_is_one_transaction_and_a_look_is_none() {
    let machine = Machine::new();
    machine.reserve([""; 0]);
    // While a reader has the database open, no checkpoint removes anything from the log.
    let reader = machine.holder(&["read"]);
    let mut before = 0;
    let mut expect = |count: usize, arguments: &[&str]| {
        let outcome = run(machine.command(arguments).args(["--data-dir", text(&machine.path("data"))]));
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
        let now = commits(&machine);
        assert_eq!(now - before, count, "{arguments:?}");
        before = now;
    };
    let range = ["--min", "25400", "--max", "25402", "--skip-occupancy-check"];
    let reserve = |more: &[&'static str]| [&["reserve", "--quiet"], &range[..], more].concat();
    expect(1, &reserve(&["--tag", "a"]));
    expect(1, &reserve(&["--path", "gone/b", "--tag", "b"]));
    expect(1, &reserve(&["--path", "gone/c"]));
    expect(1, &reserve(&["--tag", "a", "--overwrite"]));
    // The range is full: clean-up and second attempt are one transaction too.
    expect(1, &reserve(&["--tag", "d"]));
    expect(0, &reserve(&["--tag", "e", "--dry-run"]));
    expect(1, &reserve(&["--path", "gone/e"]));
    expect(1, &["migrate", "--quiet", "--recursive", "--from", ".", "--to", "moved"]);
    expect(0, &["release", "--quiet", "--path", "moved", "--recursive", "--dry-run"]);
    expect(1, &["release", "--quiet", "--path", "moved", "--recursive"]);
    for command in ["prune", "autoclean"] {
        for path in ["gone/x", "gone/y"] {
            expect(1, &["reserve", "--quiet", "--path", path, "--skip-occupancy-check"]);
        }
        expect(1, &[command]);
    }
    for look in [&["list"][..], &["port-info", "5000"], &["prune", "--dry-run"], &["list-projects"]] {
        expect(0, look);
    }
    assert!(machine.rows().is_empty());
    reader.release();
}
