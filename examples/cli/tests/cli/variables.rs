//! Environment variables: their names, their values, and which commands a malformed one stops.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{Machine, run};

/// A malformed value of each variable that `reserve`, `run` or `list` checks.
const MALFORMED: [(&str, &str); 28] = [
    ("TROP_PROJECT", "  "),
    ("TROP_TASK", ""),
    ("TROP_PORT_MIN", "0"),
    ("TROP_PORT_MAX", "65536"),
    ("TROP_PORT_MAX_OFFSET", "0"),
    ("TROP_LEASE_PORT_MIN", "x"),
    ("TROP_LEASE_PORT_MAX", "0"),
    ("TROP_EXCLUDED_PORTS", "5000,x"),
    ("TROP_AVOID_UNSAFE_PORTS", "maybe"),
    ("TROP_EXPIRE_AFTER_DAYS", "0"),
    ("TROP_BUSY_TIMEOUT", "-1"),
    ("TROP_MAXIMUM_LOCK_WAIT_SECONDS", "1.5"),
    ("TROP_DISABLE_AUTOINIT", "maybe"),
    ("TROP_DISABLE_AUTOPRUNE", ""),
    ("TROP_DISABLE_AUTOEXPIRE", "2"),
    ("TROP_OUTPUT_FORMAT", "xml"),
    ("TROP_ALLOW_UNRELATED_PATH", "y"),
    ("TROP_ALLOW_CHANGE", "t"),
    ("TROP_ALLOW_PROJECT_CHANGE", " true"),
    ("TROP_ALLOW_CHANGE_PROJECT", "nope"),
    ("TROP_ALLOW_TASK_CHANGE", "-"),
    ("TROP_ALLOW_CHANGE_TASK", "10"),
    ("TROP_SKIP_OCCUPANCY_CHECK", "x"),
    ("TROP_SKIP_TCP", "x"),
    ("TROP_SKIP_UDP", "x"),
    ("TROP_SKIP_IPV4", "x"),
    ("TROP_SKIP_IPV6", ""),
    ("TROP_CHECK_ALL_INTERFACES", "x"),
];

/// Trap 83 (a bad variable nobody uses).
#[test]
fn a_malformed_variable_stops_those_who_use_it_and_nobody_else() {
    let machine = Machine::new();
    for (variable, value) in MALFORMED {
        let opening =
            variable.contains("AUTOINIT") || variable.contains("BUSY") || variable.contains("LOCK_WAIT");
        for (command, concerned) in [
            ("reserve", variable != "TROP_OUTPUT_FORMAT" && !variable.contains("LEASE")),
            ("release", opening || variable == "TROP_ALLOW_UNRELATED_PATH"),
            ("list", opening || variable == "TROP_OUTPUT_FORMAT"),
        ] {
            let mut command = machine.command([command]);
            if concerned {
                machine.refuses_command(7, &["validation error", variable], command.env(variable, value));
                assert!(!machine.path("data").exists(), "{variable}");
            } else {
                assert_eq!(run(command.env(variable, value)).code, 0, "{variable} {command:?}");
                let _ = std::fs::remove_dir_all(machine.path("data"));
            }
        }
    }
    for variable in ["TROP_LEASE_PORT_MIN", "TROP_LEASE_PORT_MAX", "TROP_EXCLUDED_PORTS"] {
        let mut command = machine.command(["run", "--", "true"]);
        machine.refuses_command(125, &["validation error", variable], command.env(variable, "x"));
    }
    for unused in ["TROP_PORT_MIN", "TROP_PORT_MAX", "TROP_PORT_MAX_OFFSET"] {
        assert_eq!(run(machine.command(["run", "--", "true"]).env(unused, "x")).code, 0, "{unused}");
    }
    for unset in ["TROP_TAG", "TROP_PORT", "TROP_FORCE", "TROP_QUIET"] {
        assert_eq!(run(machine.command(["reserve"]).env(unset, "\n")).code, 0);
    }
}

#[test]
fn blank_identifiers_are_refused() {
    let machine = Machine::new();
    for variable in ["TROP_PROJECT", "TROP_TASK"] {
        for blank in ["", " \t", "\u{3000}"] {
            let tokens = ["validation error", "Cannot be empty", variable];
            machine.refuses_command(7, &tokens, machine.command(["reserve"]).env(variable, blank));
        }
        machine.refuses_command(7, &["255"], machine.command(["reserve"]).env(variable, "x".repeat(256)));
        let not_text = OsStr::from_bytes(b"caf\xe9");
        machine.refuses_command(
            7,
            &["UTF-8", variable],
            machine.command(["reserve"]).env(variable, not_text),
        );
    }
}

#[test]
fn booleans_have_four_spellings_each_in_any_case() {
    let machine = Machine::new();
    let code = |value| run(machine.command(["list"]).env("TROP_DISABLE_AUTOINIT", value)).code;
    for on in ["true", "1", "yes", "on", "TRUE", "Yes", "oN"] {
        assert_eq!(code(on), 3, "{on}");
    }
    for malformed in ["", " on", "enable", "01", "\u{fb00}"] {
        assert_eq!(code(malformed), 7, "{malformed}");
    }
    for off in ["false", "0", "no", "off", "FALSE", "No", "oFF"] {
        assert_eq!(code(off), 0, "{off}");
        std::fs::remove_dir_all(machine.path("data")).unwrap();
    }
}

/// Trap 72 (help names unknown variables).
#[test]
fn the_variables_that_help_names_are_the_ones_that_are_parsed() {
    let machine = Machine::new();
    let mut named = Vec::new();
    for command in ["reserve", "release", "list", "port-info", "show-path", "run"] {
        let help = machine.trop([command, "--help"]).stdout;
        for variable in help.split("[env: ").skip(1).filter_map(|rest| rest.split(']').next()) {
            named.push((command, variable.to_owned()));
        }
    }
    for expected in [
        ("reserve", "TROP_PORT_MIN"),
        ("reserve", "TROP_PORT_MAX"),
        ("run", "TROP_LEASE_PORT_MIN"),
        ("run", "TROP_LEASE_PORT_MAX"),
        ("reserve", "TROP_PATH"),
        ("release", "TROP_ALLOW_UNRELATED_PATH"),
        ("list", "TROP_OUTPUT_FORMAT"),
        ("list", "TROP_BUSY_TIMEOUT"),
        ("list", "TROP_DATA_DIR"),
        ("list", "TROP_LOG_MODE=quiet"),
        ("show-path", "TROP_PATH"),
    ] {
        assert!(
            named.iter().any(|(command, variable)| (*command, variable.as_str()) == expected),
            "{expected:?}"
        );
    }
    for (command, variable) in named {
        if let Some((_, value)) = MALFORMED.iter().find(|(name, _)| *name == variable) {
            let status = if command == "run" { 125 } else { 7 };
            // `port-info` checks the occupancy settings only with `--include-occupancy`.
            let arguments = match command {
                "port-info" => vec![command, "5000", "--include-occupancy"],
                "run" => vec![command, "--", "true"],
                _ => vec![command],
            };
            if command != "show-path" {
                machine.refuses_command(
                    status,
                    &[&variable],
                    machine.command(arguments).env(&variable, value),
                );
            }
        } else {
            let apart = ["TROP_DATA_DIR", "TROP_PATH", "TROP_LOG_MODE=quiet", "TROP_LOG_MODE=verbose"];
            assert!(apart.contains(&variable.as_str()), "{command}: {variable}");
        }
    }
}
