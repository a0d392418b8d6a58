//! `list` with filters, `list-projects`, `assert-reservation`, `assert-port`.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Machine, assert_failure, assert_syntax_error, run, text};

/// The ports in a list that a command printed.
fn ports(machine: &Machine, arguments: &[&str]) -> Vec<u64> {
    let outcome = machine.trop([&["list", "--format", "json"], arguments].concat());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&outcome.stdout).unwrap();
    rows.iter().map(|row| row["port"].as_u64().unwrap()).collect()
}

fn machine(rows: &str) -> Machine {
    let machine = Machine::new();
    assert_eq!(machine.trop(["list"]).code, 0);
    machine.sql(rows);
    machine
}

fn row(path: &str, tag: &str, port: u16, project: &str) -> String {
    format!("INSERT INTO reservations VALUES ('{path}', '{tag}', {port}, {project}, NULL, 1, 1);")
}

#[test]
fn filters_are_exact_and_combine_with_and() {
    let machine = machine(
        &[
            row("/w/a", "web", 6001, "'shop'"),
            row("/w/a", "db", 6002, "'shop'"),
            row("/w/b", "web", 6003, "'Shop'"),
            row("/w/b", "", 6004, "NULL"),
        ]
        .concat(),
    );
    assert_eq!(ports(&machine, &["--filter-project", "shop"]), [6002, 6001]);
    assert_eq!(ports(&machine, &["--filter-project", " shop"]), [0; 0]);
    assert_eq!(ports(&machine, &["--filter-tag", "web"]), [6001, 6003]);
    assert_eq!(ports(&machine, &["--filter-tag", ""]), [0; 0]);
    assert_eq!(ports(&machine, &["--filter-tag", "web", "--filter-project", "Shop"]), [6003]);
    assert_eq!(ports(&machine, &["--filter-tag", "db", "--filter-path", "/w/b"]), [0; 0]);
    assert_eq!(ports(&machine, &["--filter-path", "/w/b", "--filter-tag", "web"]), [6003]);
}

/// Traps 68 (paths compared as text), 120 (text is put into SQL).
#[test]
fn the_path_filter_goes_by_components_of_paths_that_need_not_exist() {
    let machine = machine(
        &[
            row("/w/a", "", 6001, "NULL"),
            row("/w/a/deep/er", "", 6002, "NULL"),
            row("/w/ab", "", 6003, "NULL"),
            row("/w/a_", "", 6004, "NULL"),
            row("/w/ax", "", 6005, "NULL"),
        ]
        .concat(),
    );
    assert_eq!(ports(&machine, &["--filter-path", "/w/a"]), [6001, 6002]);
    assert_eq!(ports(&machine, &["--filter-path", "/w/./x/../a/"]), [6001, 6002]);
    assert_eq!(ports(&machine, &["--filter-path", "/w/a_"]), [6004]);
    assert_eq!(ports(&machine, &["--filter-path", "/w/%"]), [0; 0]);
    assert_eq!(ports(&machine, &["--filter-path", "/"]).len(), 5);
    machine.refuses(6, &["cannot resolve"], ["list", "--filter-path", "/.."]);
}

#[test]
fn the_path_filter_follows_links_both_ways() {
    let machine = Machine::new();
    let real = machine.directory("real/below");
    symlink(machine.path("real"), machine.path("link")).unwrap();
    let (real, link) = (text(&real).to_owned(), text(&machine.path("link")).to_owned());
    assert_eq!(machine.trop(["list"]).code, 0);
    machine.sql(&(row(&real, "", 6001, "NULL") + &row(&format!("{link}/below"), "", 6002, "NULL")));
    for filter in [text(&machine.path("real")), &link, &real] {
        assert_eq!(ports(&machine, &["--filter-path", filter]), [6002, 6001], "{filter}");
    }
    fs::remove_dir_all(machine.path("real")).unwrap();
    assert_eq!(ports(&machine, &["--filter-path", &link]), [6002], "as text only");
}

#[test]
fn projects_are_listed_once_in_the_order_of_their_bytes() {
    let machine = Machine::new();
    let listed = |arguments: &[&str]| {
        let outcome = machine.trop(arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
        outcome.stdout
    };
    assert_eq!(listed(&["list-projects"]), "");
    let projects = ["'zebra'", "'alpha'", "NULL", "'BETA'", "'Alpha'", "'alpha'", "'a' || char(10) || 'b'"];
    for (port, project) in (6000..).zip(projects) {
        machine.sql(&row(&format!("/w/{port}"), "", port, project));
    }
    assert_eq!(listed(&["list-projects"]), "Alpha\nBETA\na\\nb\nalpha\nzebra\n");
    assert_eq!(listed(&["list-projects", "--quiet"]), "Alpha\nBETA\na\\nb\nalpha\nzebra\n");
}

#[test]
fn assert_reservation_looks_for_exactly_the_key() {
    let machine = Machine::new();
    let port = machine.reserve(["--tag", "web"]).to_string() + "\n";
    let work = machine.work();
    let answer = |arguments: &[&str]| {
        let outcome = machine.trop([&["assert-reservation"], arguments].concat());
        (outcome.code, outcome.stdout, outcome.stderr)
    };
    let silent = |code: i32| (code, String::new(), String::new());
    assert_eq!(answer(&["--tag", "web"]), (0, port.clone(), String::new()));
    assert_eq!(answer(&["--tag", " web "]).0, 0);
    assert_eq!(answer(&["--tag", "web", "--path", &work]).1, port);
    assert_eq!(answer(&["--tag", "web", "--quiet"]), silent(0));
    assert_eq!(answer(&["--not"]), silent(0));
    assert_eq!(answer(&["--tag", "web", "--path", "/nowhere", "--not"]), silent(0));
    for missing in [&[][..], &["--tag", "db"], &["--tag", "web", "--path", "sub"], &["--tag", "web", "--not"]]
    {
        let arguments = [&["assert-reservation"], missing].concat();
        assert_failure(&machine.trop(arguments), 1, &["Assertion failed"]);
    }
    assert_failure(&run(machine.command(["assert-reservation"]).arg("--quiet")), 1, &["no reservation"]);
    let by_variable = run(machine.command(["assert-reservation", "--tag", "web"]).env("TROP_PATH", &work));
    assert_eq!(by_variable.stdout, port);
    let elsewhere = run(machine.command(["assert-reservation", "--tag", "web"]).env("TROP_PATH", "/nowhere"));
    assert_failure(&elsewhere, 1, &["/nowhere"]);
    assert_failure(&machine.trop(["assert-reservation", "--tag", " "]), 4, &["Cannot be empty"]);
}

/// Trap 108 (--not hides a failure).
#[test]
fn not_inverts_clean_answers_only() {
    let machine = Machine::new();
    machine.reserve([""; 0]);
    machine.sql("UPDATE reservations SET project = ''");
    let port = machine.trop(["list"]).code;
    assert_eq!(port, 6);
    let lost = text(&machine.path("lost")).to_owned();
    for arguments in [&["assert-reservation", "--not"][..], &["assert-port", "5000", "--not"]] {
        let broken = run(machine.command(arguments).args(["--disable-autoinit", "--data-dir", &lost]));
        assert_failure(&broken, 3, &["Data directory not found"]);
    }
    assert_failure(&machine.trop(["assert-reservation", "--not"]), 6, &["field=project"]);
}

#[test]
fn assert_port_answers_from_rows_only() {
    let machine = Machine::new();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let bound = listener.local_addr().unwrap().port().to_string();
    let port = machine.reserve([""; 0]).to_string();
    for (arguments, code) in [
        (&["assert-port", &port][..], 0),
        (&["assert-port", &bound, "--not"], 0),
        (&["assert-port", &bound], 1),
        (&["assert-port", &port, "--not"], 1),
    ] {
        let outcome = machine.trop(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (code, ""), "{arguments:?}");
        if code == 1 {
            assert_failure(&outcome, 1, &["Assertion failed"]);
        }
    }
    assert_failure(&machine.trop(["assert-port", &bound]), 1, &["not reserved"]);
    assert_failure(&machine.trop(["assert-port", "0"]), 4, &["Invalid"]);
    assert_failure(&machine.trop(["assert-port", "0", "--not"]), 4, &["Invalid"]);
    assert_syntax_error(&machine.trop(["assert-port", "99999"]));
}

#[test]
fn lookups_succeed_while_another_process_writes() {
    let machine = Machine::new();
    let port = machine.reserve([""; 0]).to_string();
    let lock = machine.lock();
    for arguments in [
        &["list", "--filter-path", "/"][..],
        &["list-projects"],
        &["assert-reservation"],
        &["assert-port", &port],
    ] {
        let outcome = run(machine.command(arguments).args(["--busy-timeout", "0"]));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{arguments:?}");
    }
    lock.release();
}

/// A reader that leaves early ends the output quietly. Trap 121 (a reader that leaves).
#[test]
fn closed_pipes_end_quietly() {
    let machine = Machine::new();
    for arguments in ["completions zsh", "completions bash", "manual", "list-projects", "--help"] {
        let script = format!("(\"$0\" --quiet {arguments}; echo $? >&2) | true");
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_trop")]).current_dir(machine.path("work"));
        let outcome = run(shell.envs(machine.variables()));
        assert_eq!(outcome.stderr, "0\n", "{arguments}");
    }
}
