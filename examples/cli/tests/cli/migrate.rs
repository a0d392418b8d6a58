//! `migrate`: what moves, what stays, and what is an error.

use std::fs;

use crate::support::{Machine, Outcome, assert_failure, assert_syntax_error, text};

fn machine(rows: &[(&str, &str, u16)]) -> Machine {
    let machine = Machine::new();
    assert_eq!(machine.trop(["list"]).code, 0);
    let insert = |(path, tag, port): &(&str, &str, u16)| {
        let created = u32::from(*port) + 1;
        format!(
            "INSERT INTO reservations VALUES \
             ('{path}', '{tag}', {port}, 'p{port}', 't{port}', {created}, {port});"
        )
    };
    machine.sql(&rows.iter().map(insert).collect::<String>());
    machine
}

/// Path, tag and port of every row. The other columns must be as they were inserted.
fn rows(machine: &Machine) -> Vec<(String, String, u16)> {
    let rows = machine.rows();
    let made = machine.trop(["list", "--format", "csv"]).stdout;
    rows.iter()
        .map(|row| {
            let port = u16::try_from(row["port"].as_u64().unwrap()).unwrap();
            assert_eq!(row["project"], format!("p{port}"));
            assert_eq!(row["task"], format!("t{port}"));
            let seconds = |at: u16| format!("1970-01-01 {:02}:{:02}:{:02}", at / 3600, at / 60 % 60, at % 60);
            assert_eq!(row["created_at"], seconds(port + 1), "{made}");
            assert_eq!(row["last_used_at"], seconds(port), "{made}");
            let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            (field("path"), field("tag"), port)
        })
        .collect()
}

fn expect(machine: &Machine, expected: &[(&str, &str, u16)]) {
    let expected: Vec<_> =
        expected.iter().map(|(path, tag, port)| ((*path).to_owned(), (*tag).to_owned(), *port)).collect();
    assert_eq!(rows(machine), expected);
}

fn migrate(machine: &Machine, arguments: &[&str]) -> Outcome {
    machine.trop([&["migrate"], arguments].concat())
}

fn succeeds(machine: &Machine, arguments: &[&str], count: usize) {
    let outcome = migrate(machine, arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.stderr.contains("Migration complete"), "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("Migrated: {count}")), "{outcome:?}");
}

/// Expects a failure, whose error line may come after a plan.
fn conflicts(machine: &Machine, arguments: &[&str], count: usize) {
    let before = rows(machine);
    for dry in [&[][..], &["--dry-run"], &["--quiet"], &["--quiet", "--dry-run"]] {
        let outcome = migrate(machine, &[arguments, dry].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (6, ""), "{outcome:?}");
        let last = outcome.stderr.lines().last().unwrap();
        for token in ["Error: conflict", &format!(" {count} of "), "--force"] {
            assert!(last.contains(token), "{token}: {outcome:?}");
        }
        assert_eq!(dry.contains(&"--quiet"), outcome.stderr.lines().count() == 1, "{outcome:?}");
        assert_eq!(rows(machine), before);
    }
}

const FAMILY: [(&str, &str, u16); 6] = [
    ("/p/foo", "", 6001),
    ("/p/foo", "web", 6002),
    ("/p/foo/bar", "", 6003),
    ("/p/foo_bar", "", 6004),
    ("/p/foobar", "", 6005),
    ("/q", "", 6006),
];

#[test]
fn exact_mode_moves_all_tags_of_exactly_the_path() {
    let machine = machine(&FAMILY);
    let outcome = migrate(&machine, &["--from", "/p/./foo/", "--to", "/n/x/../foo"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
    for token in ["/p/foo -> /n/foo port 6002 tag 'web' project 'p6002'", "Migrated: 2", "does not exist"] {
        assert!(outcome.stderr.contains(token), "{token}: {outcome:?}");
    }
    expect(
        &machine,
        &[
            ("/n/foo", "", 6001),
            ("/n/foo", "web", 6002),
            ("/p/foo/bar", "", 6003),
            ("/p/foo_bar", "", 6004),
            ("/p/foobar", "", 6005),
            ("/q", "", 6006),
        ],
    );
}

/// Siblings whose names begin alike, or match as a pattern, stay. Trap 120 (text is put into SQL).
#[test]
fn recursive_mode_moves_what_is_below_by_components() {
    let machine = machine(&FAMILY);
    succeeds(&machine, &["--recursive", "--from", "/p/foo", "--to", "/n"], 3);
    expect(
        &machine,
        &[
            ("/n", "", 6001),
            ("/n", "web", 6002),
            ("/n/bar", "", 6003),
            ("/p/foo_bar", "", 6004),
            ("/p/foobar", "", 6005),
            ("/q", "", 6006),
        ],
    );
    succeeds(&machine, &["--recursive", "--from", "/p/foo_bar", "--to", "/"], 1);
    assert!(rows(&machine).contains(&("/".to_owned(), String::new(), 6004)));
    succeeds(&machine, &["--recursive", "--from", "/", "--to", "/root"], 6);
    assert!(rows(&machine).contains(&("/root/n/bar".to_owned(), String::new(), 6003)));
}

#[test]
fn relative_paths_start_at_the_working_directory_and_links_are_not_followed() {
    let machine = machine(&[]);
    let work = machine.work();
    std::os::unix::fs::symlink(&work, machine.path("link")).unwrap();
    let link = text(&machine.path("link")).to_owned();
    machine.sql(&format!("INSERT INTO reservations VALUES ('{work}/old', '', 6001, NULL, NULL, 1, 1)"));
    let outcome = migrate(&machine, &["--from", "old", "--to", &link, "--quiet"]);
    assert_eq!(outcome, Outcome { code: 0, stdout: format!("{link}\n"), stderr: String::new() });
    assert_eq!(machine.rows()[0]["path"], link);
}

#[test]
fn nothing_to_move_is_an_error_in_exact_mode_only() {
    let machine = machine(&FAMILY);
    machine.refuses(6, &["not found", "'/p'", "(--recursive)"], ["migrate", "--from", "/p", "--to", "/n"]);
    machine.refuses(6, &["not found"], ["migrate", "--from", "/p", "--to", "/n", "--dry-run"]);
    machine.refuses(6, &["not found"], ["migrate", "--from", "/no", "--to", "/no"]);
    let outcome = migrate(&machine, &["--recursive", "--from", "/nowhere", "--to", "/n"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
    assert!(outcome.stderr.contains("No reservations to migrate"), "{outcome:?}");
    assert_syntax_error(&migrate(&machine, &["--from", "/p"]));
    assert_syntax_error(&migrate(&machine, &["--to", "/p"]));
    machine.refuses(6, &["cannot resolve"], ["migrate", "--from", "/..", "--to", "/n"]);
}

/// Trap 63 (quiet mode has its own rules).
#[test]
fn quiet_prints_the_destination_only_after_something_moved() {
    let machine = machine(&FAMILY);
    let silent = Outcome { code: 0, stdout: String::new(), stderr: String::new() };
    let quiet = |arguments: &[&str]| migrate(&machine, &[&["--quiet"], arguments].concat());
    assert_eq!(quiet(&["--recursive", "--from", "/nowhere", "--to", "/n"]), silent);
    assert_eq!(quiet(&["--from", "/q", "--to", "/n", "--dry-run"]), silent);
    assert_eq!(quiet(&["--from", "/q", "--to", "/q"]), silent);
    expect(&machine, &FAMILY);
    assert_eq!(quiet(&["--from", "/q", "--to", "/n/./m"]), Outcome { stdout: "/n/m\n".to_owned(), ..silent });
}

/// Traps 41 (a dry run promises too much), 42 (a dry run creates files), 44 (a dry run says nothing), 45 (a
/// dry run needs the lock).
#[test]
fn a_dry_run_plans_for_real_and_changes_nothing() {
    let machine = machine(&FAMILY);
    let lock = machine.lock();
    let arguments = ["--recursive", "--from", "/p/foo", "--to", "/n", "--dry-run", "--busy-timeout", "0"];
    let outcome = migrate(&machine, &arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
    for token in ["/p/foo/bar -> /n/bar port 6003", "Dry run", "no changes", "3 reservations"] {
        assert!(outcome.stderr.contains(token), "{token}: {outcome:?}");
    }
    lock.release();
    expect(&machine, &FAMILY);

    let empty = Machine::new();
    let outcome = migrate(&empty, &["--recursive", "--from", "/p", "--to", "/n", "--dry-run"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_failure(&migrate(&empty, &["--from", "/p", "--to", "/n", "--dry-run"]), 6, &["not found"]);
    assert!(!empty.path("data").exists());
}

/// Trap 61 (force judged before the lock).
#[test]
fn taken_destination_keys_are_conflicts_unless_forced() {
    let machine = machine(&[
        ("/a", "", 6001),
        ("/a", "web", 6002),
        ("/a/x", "", 6003),
        ("/b", "", 6004),
        ("/b", "db", 6005),
        ("/b/x", "", 6006),
    ]);
    conflicts(&machine, &["--from", "/a", "--to", "/b"], 1);
    conflicts(&machine, &["--from", "/a", "--to", "/b", "--recursive"], 2);
    let outcome = migrate(&machine, &["--from", "/a", "--to", "/b", "--recursive", "--force", "--dry-run"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stderr.contains("Removing port 6006"), "{outcome:?}");
    succeeds(&machine, &["--from", "/a", "--to", "/b", "--recursive", "--force"], 3);
    expect(&machine, &[("/b", "", 6001), ("/b", "db", 6005), ("/b", "web", 6002), ("/b/x", "", 6003)]);
}

/// Traps 58 (moving rows are lost), 59 (overlapping trees conflict).
#[test]
fn overlapping_trees_are_lifted_first_and_placed_then() {
    let down = [("/a", "", 6001), ("/a/b", "", 6002), ("/a/b/b", "", 6003)];
    for force in [&[][..], &["--force"]] {
        let machine = machine(&down);
        let arguments = ["--recursive", "--from", "/a", "--to", "/a/b"];
        succeeds(&machine, &[&arguments[..], force].concat(), 3);
        expect(&machine, &[("/a/b", "", 6001), ("/a/b/b", "", 6002), ("/a/b/b/b", "", 6003)]);

        // And back up, where the destinations of two rows are keys of rows that move too.
        let arguments = ["--recursive", "--from", "/a/b", "--to", "/a"];
        succeeds(&machine, &[&arguments[..], force].concat(), 3);
        expect(&machine, &down);
    }
    let machine = machine(&down);
    conflicts(&machine, &["--recursive", "--from", "/a/b", "--to", "/a"], 1);
    conflicts(&machine, &["--from", "/a", "--to", "/a/b"], 1);
    succeeds(&machine, &["--recursive", "--from", "/a/b", "--to", "/a", "--force"], 2);
    expect(&machine, &[("/a", "", 6002), ("/a/b", "", 6003)]);
}

/// Trap 60 (the source conflicts with itself).
#[test]
fn source_and_destination_may_be_the_same() {
    for arguments in
        [&["--from", "/p/foo", "--to", "/p/./foo"][..], &["--from", "/p", "--to", "/p/", "--recursive"]]
    {
        let machine = machine(&FAMILY);
        succeeds(&machine, arguments, 0);
        expect(&machine, &FAMILY);
    }
}

/// Trap 62 (a missing destination in silence).
#[test]
fn a_destination_that_does_not_exist_is_accepted_with_a_warning() {
    let machine = machine(&FAMILY);
    let outcome = migrate(&machine, &["--from", "/q", "--to", "/nowhere/at/all"]);
    assert_eq!(outcome.code, 0);
    assert!(
        outcome.stderr.contains("Warning: the destination '/nowhere/at/all' does not exist"),
        "{outcome:?}"
    );
    let there = machine.directory("there");
    let outcome = migrate(&machine, &["--from", "/nowhere/at/all", "--to", text(&there)]);
    assert_eq!((outcome.code, outcome.stderr.contains("Warning")), (0, false), "{outcome:?}");
    fs::remove_dir(there).unwrap();
}

/// Trap 119 (more than one transaction).
#[test]
fn a_rule_that_refuses_one_row_refuses_all() {
    let machine = machine(&FAMILY);
    machine.sql(
        "CREATE TRIGGER keep BEFORE INSERT ON reservations WHEN new.port = 6003
         BEGIN SELECT RAISE(ABORT, 'not this one'); END;",
    );
    let arguments = ["migrate", "--recursive", "--from", "/p/foo", "--to", "/n", "--force"];
    machine.refuses(6, &["conflict", "not this one"], arguments);
    expect(&machine, &FAMILY);
}

/// What is decided under the lock counts, not what was there before it: a destination key that is taken while
/// the command waits is a conflict. Trap 57 (conflicts judged before the lock).
#[test]
fn a_destination_taken_while_waiting_is_a_conflict() {
    let machine = machine(&[("/a", "", 6001)]);
    let mut command = machine.command(["migrate", "--from", "/a", "--to", "/b", "--busy-timeout", "60"]);
    let outcome = machine.waits_for(
        &mut command,
        "INSERT INTO reservations VALUES ('/b', '', 6002, 'p6002', 't6002', 6003, 6002)",
    );
    assert_eq!(outcome.code, 6, "{outcome:?}");
    assert!(outcome.stderr.contains("conflict"), "{outcome:?}");
    expect(&machine, &[("/a", "", 6001), ("/b", "", 6002)]);
}

#[test]
fn a_locked_database_is_a_timeout() {
    let machine = machine(&FAMILY);
    let lock = machine.lock();
    let arguments = ["migrate", "--from", "/q", "--to", "/n", "--busy-timeout", "0"];
    machine.refuses(2, &["database lock timeout", "0s"], arguments);
    lock.release();
    assert_eq!(rows(&machine).len(), 6);
}
