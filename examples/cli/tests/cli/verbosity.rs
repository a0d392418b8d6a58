//! `--quiet`, `--verbose` and `TROP_LOG_MODE`: they change standard error only.

use crate::support::{Machine, Outcome, run};

fn list(machine: &Machine, flags: &[&str], mode: &str) -> Outcome {
    let outcome = run(machine.command(flags).arg("list").env("TROP_LOG_MODE", mode));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.starts_with("PORT\t") && outcome.stdout.lines().count() == 1, "{outcome:?}");
    outcome
}

/// Traps 124 (verbosity does nothing), 125 (quiet removes results).
#[test]
fn details_go_to_standard_error_when_asked_for() {
    let machine = Machine::without_range();
    std::fs::write(machine.path("work/trop.yaml"), "ports: {min: 6000}\n").unwrap();
    for (flags, mode, detailed) in [
        (&[][..], "", false),
        (&["--verbose"], "", true),
        (&[], "verbose", true),
        (&[], "Verbose", true),
        (&[], "normal", false),
        (&[], "quiet", false),
        (&[], "chatty", false),
        (&["--verbose"], "quiet", true),
        (&["--quiet"], "verbose", false),
        (&["--quiet", "--verbose"], "", false),
    ] {
        let outcome = list(&machine, flags, mode);
        assert_eq!(!outcome.stderr.is_empty(), detailed, "{flags:?} {mode}: {outcome:?}");
        assert_eq!(outcome.stderr.contains("work/trop.yaml"), detailed, "{flags:?} {mode}: {outcome:?}");
        assert!(outcome.stderr.lines().all(|line| line.starts_with("Detail: ")), "{outcome:?}");
    }
}

#[test]
fn the_variable_silences_notes_but_no_failure() {
    let machine = Machine::new();
    let release = |mode| run(machine.command(["release"]).env("TROP_LOG_MODE", mode));
    assert!(!release("normal").stderr.is_empty());
    assert_eq!(release("QUIET").stderr, "");
    machine.refuses_command(
        4,
        &["tag"],
        machine.command(["release", "--tag="]).env("TROP_LOG_MODE", "quiet"),
    );
}
