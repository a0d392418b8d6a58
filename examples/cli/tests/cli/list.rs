//! `list` and `port-info`, and their output formats.

use std::process::Stdio;

use crate::support::{Machine, Outcome, run, text};

const HOME: &str = "/home/ada";

/// Rows as another program might write them: not in the order of lists, and some of them hostile.
const ROWS: &str = r#"
    INSERT INTO reservations VALUES ('/srv/db', 'db', 5432, 'shop', NULL, 1772357400, 1772357472);
    INSERT INTO reservations VALUES
        ('/home/ada/app', 'web', 5002, 'shop', 'feature/x', 1772357400, 1772357472);
    INSERT INTO reservations VALUES ('/home/ada/app', '', 5001, NULL, NULL, 0, 253402300799);
    INSERT INTO reservations VALUES ('/home/ada', '', 5003, NULL, NULL, 1772357400, 1772357400);
    INSERT INTO reservations VALUES ('/home/adam', '', 5004, NULL, NULL, 1772357400, 1772357400);
    INSERT INTO reservations VALUES ('/srv/a, b', 'say "hi"', 5005, NULL, '$(id)', 1772357400, 1772357400);
    INSERT INTO reservations VALUES
        ('/srv/z' || char(10) || 'z', 'tab' || char(9) || 'esc' || char(27) || '[2J', 5006, 'é', NULL,
         1772357400, 1772357400);
"#;

fn machine() -> Machine {
    let machine = Machine::new();
    assert_eq!(machine.trop(["list"]).code, 0);
    machine.sql(ROWS);
    machine
}

fn result(machine: &Machine, arguments: &[&str]) -> String {
    let outcome = run(machine.command(arguments).env("HOME", HOME));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    outcome.stdout
}

/// Traps 69 (a shortened home directory), 127 (stored text drives the terminal), 136 (no golden file).
#[test]
fn each_format_is_as_it_was() {
    let machine = machine();
    for (arguments, golden) in [
        (&["list"][..], include_str!("../golden/list.table")),
        (
            &["list", "--format", "table", "--show-full-paths"],
            include_str!("../golden/list-full-paths.table"),
        ),
        (&["list", "--format", "JSON"], include_str!("../golden/list.json")),
        (&["--quiet", "list", "--format", "csv"], include_str!("../golden/list.csv")),
        (&["list", "--format", "Tsv", "--show-full-paths"], include_str!("../golden/list.tsv")),
    ] {
        assert_eq!(result(&machine, arguments), golden, "{arguments:?}");
    }
}

#[test]
fn an_empty_list_is_the_header_or_an_empty_array() {
    let machine = Machine::new();
    let header = "port,path,tag,project,task,created_at,last_used_at\n";
    assert_eq!(result(&machine, &["list"]), header.replace(',', "\t").to_uppercase());
    assert_eq!(result(&machine, &["list", "--format", "json"]), "[]\n");
    assert_eq!(result(&machine, &["list", "--format", "csv"]), header);
    assert_eq!(result(&machine, &["list", "--format", "tsv"]), header.replace(',', "\t"));
    assert!(machine.database().exists());
}

/// Trap 69 (a shortened home directory).
#[test]
fn strange_home_directories_shorten_nothing() {
    let machine = machine();
    let full = result(&machine, &["list", "--show-full-paths"]);
    for home in ["", "home/ada", "/nowhere"] {
        assert_eq!(run(machine.command(["list"]).env("HOME", home)).stdout, full, "{home}");
    }
    let slash = run(machine.command(["list"]).env("HOME", "/home/ada/")).stdout;
    assert_eq!(slash, result(&machine, &["list"]));
}

/// Trap 121 (a reader that leaves).
#[test]
fn a_reader_that_leaves_early_ends_the_list_quietly() {
    let machine = Machine::new();
    assert_eq!(machine.trop(["list"]).code, 0);
    machine.sql(
        "WITH RECURSIVE port(n) AS (SELECT 10000 UNION ALL SELECT n + 1 FROM port WHERE n < 20000)
         INSERT INTO reservations SELECT '/srv/' || n, '', n, NULL, NULL, 0, 0 FROM port;",
    );
    for format in ["table", "json", "csv", "tsv"] {
        let mut command = machine.command(["list", "--format", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let outcome = Outcome::from(child.wait_with_output().unwrap());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{format}");
    }
}

#[test]
fn port_info_labels_what_is_known() {
    let machine = machine();
    assert_eq!(
        result(&machine, &["port-info", "5002"]),
        "Port: 5002\nPath: /home/ada/app\nTag: web\nProject: shop\nTask: feature/x\n\
         Created: 2026-03-01 09:30:00\nLast used: 2026-03-01 09:31:12\nPath exists: no\n"
    );
    assert_eq!(
        result(&machine, &["port-info", "5006"]),
        "Port: 5006\nPath: /srv/z\\nz\nTag: tab\\tesc\\u{1b}[2J\nProject: é\n\
         Created: 2026-03-01 09:30:00\nLast used: 2026-03-01 09:30:00\nPath exists: no\n"
    );
    let port = machine.reserve([""; 0]).to_string();
    let info = result(&machine, &["port-info", &port, "--quiet"]);
    assert!(info.starts_with(&format!("Port: {port}\nPath: {}\nCreated: ", machine.work())), "{info}");
    assert!(info.ends_with("\nPath exists: yes\n"), "{info}");
}

#[test]
fn port_info_of_a_free_port_is_an_answer() {
    let machine = Machine::new();
    assert!(result(&machine, &["port-info", "65535"]).contains("65535 is not reserved"));
}

#[test]
fn a_vanished_working_directory_matters_only_where_it_is_needed() {
    let machine = Machine::new();
    let inside = |arguments: &str| {
        let script = format!("mkdir gone && cd gone && rmdir ../gone && exec \"$0\" {arguments}");
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_trop")]).current_dir(machine.path("work"));
        run(shell.envs(machine.variables()).env_remove("TROP_PATH"))
    };
    assert_eq!(inside("list").code, 0);
    assert_eq!(inside("port-info 5000").code, 0);
    crate::support::assert_failure(&inside("reserve"), 5, &["working directory"]);
    crate::support::assert_failure(&inside("release"), 5, &["working directory"]);
    let elsewhere = machine.work();
    let allowed = inside(&format!("reserve --allow-unrelated-path --path '{elsewhere}'"));
    assert_eq!(allowed.code, 0, "{allowed:?}");
    assert_eq!(machine.rows()[0]["path"], text(&machine.path("work")));
}
