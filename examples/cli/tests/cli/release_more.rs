//! `release` below a path, by force, and as a dry run.

use crate::support::{Machine, Outcome, assert_failure, run, text};

/// Rows in `work`, below it, beside it, and in directories whose names look like patterns.
fn machine() -> Machine {
    let machine = Machine::new();
    for directory in
        ["work/a", "work/a/b", "work/ab", "work/a%", "work/a_", "work/a/b_", "work/a!", "elsewhere"]
    {
        machine.directory(directory);
    }
    for path in ["a", "a/b", "ab", "a%", "a_", "a/b_", "a!", "/"] {
        machine.reserve(["--path", path]);
        machine.reserve(["--path", path, "--tag", "web"]);
    }
    machine
}

fn keys(machine: &Machine) -> Vec<String> {
    let work = machine.work();
    let short = |path: &str| path.strip_prefix(&format!("{work}/")).unwrap_or(path).to_owned();
    let rows = machine.rows();
    rows.iter()
        .map(|row| format!("{}:{}", short(row["path"].as_str().unwrap()), row["tag"].as_str().unwrap_or("")))
        .collect()
}

fn assert_note(outcome: &Outcome, note: &str) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(outcome.stderr, format!("{note}\n"));
}

/// Traps 46 (only the untagged row goes), 48 (below a path, judged as text).
#[test]
fn recursive_release_goes_by_components() {
    let machine = machine();
    assert_note(&machine.trop(["release", "--path", "a", "--recursive"]), "Released 6 ports");
    let left = ["/:", "/:web", "a!:", "a!:web", "a%:", "a%:web", "a_:", "a_:web", "ab:", "ab:web"];
    assert_eq!(keys(&machine), left);
    assert_note(
        &machine.trop(["release", "--path", "a", "--recursive"]),
        "No reservation found: never reserved, or already released",
    );
    assert_note(&machine.trop(["release", "--recursive", "--tag", "web"]), "Released 4 ports");
    assert_eq!(keys(&machine), ["/:", "/:web", "a!:", "a%:", "a_:", "ab:"]);
    assert_note(
        &machine.trop(["release", "--path", "/", "--recursive", "--untagged-only"]),
        "Released 5 ports",
    );
    assert_eq!(keys(&machine), ["/:web"]);
}

/// Traps 41 (a dry run promises too much), 43 (a dry run selects by itself), 44 (a dry run says nothing).
#[test]
fn a_dry_run_names_exactly_what_would_go() {
    let machine = machine();
    let before = machine.rows();
    let arguments = ["release", "--path", "a", "--recursive", "--dry-run"];
    let outcome = machine.trop(arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
    let work = machine.work();
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    let named = ["a", "a:web", "a/b", "a/b:web", "a/b_", "a/b_:web"].map(|key| format!(" of {work}/{key}"));
    for (line, key) in lines.iter().zip(&named) {
        assert!(line.starts_with("Dry run") && line.ends_with(key), "{line}");
    }
    assert_eq!(lines[6], "Dry run: would release 6 ports");
    let quiet = machine.trop(arguments.iter().chain(&["--quiet"]));
    assert_eq!(quiet, Outcome { code: 0, stdout: String::new(), stderr: String::new() });
    assert_eq!(machine.rows(), before);
    let none = machine.trop(["release", "--tag", "nobody", "--dry-run"]);
    assert!(none.stderr.contains("Dry run: No reservation found"), "{none:?}");
}

/// Traps 42 (a dry run creates files), 45 (a dry run needs the lock).
#[test]
fn a_dry_run_creates_nothing_and_needs_no_lock() {
    let machine = Machine::new();
    assert!(machine.trop(["release", "--dry-run"]).stderr.contains("Dry run"));
    assert!(!machine.path("data").exists());
    machine.refuses(3, &["Data directory not found"], ["release", "--dry-run", "--disable-autoinit"]);
    machine.reserve([""; 0]);
    let lock = machine.lock();
    let outcome = machine.trop(["release", "--dry-run", "--busy-timeout", "0"]);
    assert!(outcome.stderr.contains(&format!("of {}", machine.work())), "{outcome:?}");
    lock.release();
    assert_eq!(machine.rows().len(), 1);
}

/// Trap 47 (releases pass the path guard).
#[test]
fn unrelated_paths_need_permission_recursively_too() {
    let machine = machine();
    let elsewhere = machine.path("elsewhere");
    let path = text(&elsewhere);
    machine.reserve(["--path", path, "--allow-unrelated-path"]);
    for extra in [&[][..], &["--recursive"], &["--dry-run"], &["--recursive", "--dry-run"]] {
        machine.refuses(1, &["unrelated"], ["release", "--path", path].iter().chain(extra));
    }
    assert_note(&machine.trop(["release", "--path", path, "--recursive", "--force"]), "Released 1 port");
}

/// Traps 49 (rows released one by one), 119 (more than one transaction).
#[test]
fn a_refused_row_keeps_all_of_them() {
    let machine = machine();
    machine.sql(
        "CREATE TRIGGER no BEFORE DELETE ON reservations WHEN OLD.path LIKE '%b_' AND OLD.tag = 'web'
         BEGIN SELECT RAISE(ABORT, 'kept for a reason'); END",
    );
    let before = machine.rows();
    for extra in [&[][..], &["--dry-run"]] {
        let outcome = run(machine.command(["release", "--path", "a", "--recursive"]).args(extra));
        assert_failure(&outcome, 6, &["kept for a reason"]);
        assert_eq!(machine.rows(), before);
    }
}

#[test]
fn verbose_names_the_rows() {
    let machine = machine();
    let outcome = machine.trop(["--verbose", "release", "--path", "ab"]);
    // Details about the settings are printed too.
    let told = outcome.stderr.lines().filter(|line| !line.starts_with("Detail: ")).count();
    assert_eq!(told, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("/ab:web\n"), "{outcome:?}");
    let quiet = machine.trop(["--verbose", "--quiet", "release", "--path", "a_"]);
    assert_eq!(quiet.stderr, "");
}
