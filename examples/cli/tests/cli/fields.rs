//! Projects and tasks: they are stored, kept, and changed only where an option allows it.

use serde_json::{Value, json};

use crate::support::{Machine, assert_syntax_error};

const NOTHING: [&str; 0] = [];

/// Port, project, task and the time of creation of the only row.
fn row(machine: &Machine) -> (Value, Value, Value, Value) {
    let rows = machine.rows();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let field = |name: &str| rows[0][name].clone();
    (field("port"), field("project"), field("task"), field("created_at"))
}

/// A reservation made long ago for the project `shop` and the task `cart`.
fn machine() -> Machine {
    let machine = Machine::new();
    // No probes: sockets of other programs must not matter.
    machine.reserve(["--project", " shop ", "--task", "cart", "--skip-occupancy-check"]);
    machine.sql("UPDATE reservations SET created_at = 1000, last_used_at = 2000");
    machine
}

#[test]
fn a_project_and_a_task_are_stored_trimmed() {
    let machine = machine();
    let (_, project, task, _) = row(&machine);
    assert_eq!((project, task), (json!("shop"), json!("cart")));
}

/// Trap 30 (omitted fields are cleared).
#[test]
fn what_is_omitted_or_the_same_is_kept() {
    let machine = machine();
    let before = row(&machine);
    for arguments in [&[][..], &["--project", "shop"], &["--project", "shop ", "--task", " cart"]] {
        machine.reserve(arguments);
        assert_eq!(row(&machine), before);
    }
    assert_ne!(machine.rows()[0]["last_used_at"], "1970-01-01 00:33:20", "refreshed");
    machine.trop(["release"]);
    machine.reserve(NOTHING);
    machine.reserve(["--clear-project", "--clear-task"]);
    let (_, project, task, _) = row(&machine);
    assert_eq!((project, task), (Value::Null, Value::Null), "clearing nothing needs no permission");
}

/// Traps 32 (a refused change refreshes), 126 (messages in Rust's notation).
#[test]
fn a_change_without_its_permission_changes_nothing() {
    let machine = machine();
    let cases: [(&[&str], &str, &str); 6] = [
        (&["--project", "store"], "project", "'shop' and the request asks for 'store'"),
        (&["--clear-project"], "project", "'shop' and the request clears it"),
        (&["--task", "pay"], "task", "'cart' and the request asks for 'pay'"),
        (&["--clear-task"], "task", "'cart' and the request clears it"),
        (&["--task", "pay", "--allow-project-change"], "task", "'pay'"),
        (&["--project", "store", "--allow-task-change", "--allow-unrelated-path"], "project", "'store'"),
    ];
    for (arguments, field, values) in cases {
        let sticky = format!("sticky field '{field}'");
        let flag = format!("--allow-{field}-change");
        for quiet in [&[][..], &["--quiet"], &["--dry-run"], &["--overwrite"]] {
            let arguments = ["reserve"].iter().chain(arguments).chain(quiet);
            machine.refuses(1, &[&sticky, &flag, values], arguments);
        }
    }
    machine.sql("UPDATE reservations SET project = NULL");
    machine.refuses(1, &["has none", "'shop'", "--allow-project-change"], ["reserve", "--project", "shop"]);
    assert_eq!(machine.rows()[0]["last_used_at"], "1970-01-01 00:33:20");
}

/// Traps 28 (a flag does nothing), 29 (a permitted change is not stored).
#[test]
fn a_permitted_change_is_stored_and_keeps_port_and_creation() {
    let cases: [(&[&str], Value, Value); 7] = [
        (&["--project", "store", "--allow-project-change"], json!("store"), json!("cart")),
        (&["--clear-project", "--allow-project-change"], Value::Null, json!("cart")),
        (&["--task", "pay", "--allow-task-change"], json!("shop"), json!("pay")),
        (&["--clear-task", "--allow-task-change"], json!("shop"), Value::Null),
        (&["--project", "store", "--task", "pay", "--allow-change"], json!("store"), json!("pay")),
        (&["--project", "store", "--clear-task", "--force"], json!("store"), Value::Null),
        (
            &["--project", "a", "--task", "b", "--allow-project-change", "--allow-task-change"],
            json!("a"),
            json!("b"),
        ),
    ];
    for (arguments, project, task) in cases {
        let machine = machine();
        let (port, _, _, created) = row(&machine);
        machine.reserve(arguments.iter().chain(&["--skip-occupancy-check"]));
        assert_eq!(row(&machine), (port, project, task, created), "{arguments:?}");
    }
}

#[test]
fn setting_and_clearing_at_once_is_a_syntax_error() {
    let machine = Machine::new();
    for field in ["project", "task"] {
        let arguments = ["reserve", &format!("--{field}"), "x", &format!("--clear-{field}")];
        let outcome = machine.trop(arguments);
        assert_syntax_error(&outcome);
        assert!(outcome.stderr.contains("cannot be used with"), "{outcome:?}");
    }
}

/// Trap 31 (an empty text clears).
#[test]
fn an_empty_value_never_clears() {
    let machine = Machine::new();
    for field in ["--project", "--task"] {
        for blank in ["", "  ", "\u{3000}"] {
            machine.refuses(
                7,
                &["validation error", "Cannot be empty", field],
                ["reserve", &format!("{field}={blank}")],
            );
        }
        machine.refuses(7, &["255"], ["reserve", field, &"x".repeat(256)]);
    }
    assert!(!machine.path("data").exists());
    machine.reserve(["--project", &"x".repeat(255), "--task", "Büro 2.0"]);
}

#[test]
fn the_path_guard_is_looked_at_before_sticky_fields() {
    let machine = Machine::new();
    let elsewhere = machine.directory("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    machine.reserve(["--path", elsewhere, "--project", "a", "--allow-unrelated-path"]);
    machine.refuses(1, &["unrelated"], ["reserve", "--path", elsewhere, "--project", "b", "--allow-change"]);
    let allowed = ["reserve", "--path", elsewhere, "--project", "b", "--allow-unrelated-path"];
    machine.refuses(1, &["sticky field 'project'"], allowed);
    machine.reserve(["--path", elsewhere, "--project", "b", "--force"]);
}
