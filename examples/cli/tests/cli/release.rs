use crate::support::{Machine, Outcome};

const NOTHING: [&str; 0] = [];

/// Expects success: one note, which does not contain "Error", and nothing on standard output.
fn assert_released(outcome: &Outcome, token: &str) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains(token), "{outcome:?}");
    assert!(!outcome.stderr.to_lowercase().contains("error"), "{outcome:?}");
}

fn tags(machine: &Machine) -> Vec<String> {
    machine.rows().iter().map(|row| row["tag"].as_str().unwrap_or("-").to_owned()).collect()
}

#[test]
fn release_takes_one_tag_the_untagged_row_or_all_rows_of_exactly_the_path() {
    let machine = Machine::new();
    machine.directory("work/errors");
    machine.directory("workshop");
    for path in [".", "errors"] {
        machine.reserve(["--path", path]);
        machine.reserve(["--path", path, "--tag", "a"]);
        machine.reserve(["--path", path, "--tag", "b"]);
    }
    assert_released(&machine.trop(["release", "--path", "errors", "--tag", "a"]), "Released 1 port");
    assert_eq!(tags(&machine), ["-", "a", "b", "-", "b"]);
    assert_released(&machine.trop(["release", "--path", "errors", "--untagged-only"]), "Released 1 port");
    assert_eq!(tags(&machine), ["-", "a", "b", "b"]);
    assert_released(&machine.trop(["release"]), "Released 3 ports");
    assert_eq!(tags(&machine), ["b"], "only that path");
    assert_released(&machine.trop(["release", "--path", "errors", "--tag", "error"]), "already released");
    assert_eq!(tags(&machine), ["b"]);
}

#[test]
fn a_released_port_is_given_out_again() {
    let machine = Machine::new();
    // Away from the ports other tests ask for: a probe of theirs would make this one look occupied.
    let port = machine.reserve(["--min", "25500", "--max", "25899"]).to_string();
    let only = ["--min", &port, "--max", &port, "--tag", "next"];
    machine.refuses(6, &["1 reserved"], ["reserve"].iter().chain(&only));
    assert_eq!(machine.trop(["release"]).code, 0);
    assert_eq!(machine.reserve(only).to_string(), port);
}

#[test]
fn releasing_nothing_succeeds_and_says_so() {
    let machine = Machine::new();
    assert_released(&machine.trop(["release"]), "already released");
    assert_released(&machine.trop(["release", "--tag", "nobody"]), "already released");
    assert_released(&machine.trop(["release", "--path", "missing"]), "already released");
}

#[test]
fn quiet_release_is_silent() {
    let machine = Machine::new();
    machine.reserve(NOTHING);
    let silent = Outcome { code: 0, stdout: String::new(), stderr: String::new() };
    assert_eq!(machine.trop(["release", "--quiet"]), silent);
    assert_eq!(machine.trop(["--quiet", "release"]), silent);
    assert!(machine.rows().is_empty());
}

#[test]
fn the_variable_names_the_path_and_the_flag_beats_it() {
    let machine = Machine::new();
    machine.directory("work/a");
    machine.directory("work/b");
    machine.reserve(["--path", "a", "--tag", "a"]);
    machine.reserve(["--path", "b", "--tag", "b"]);
    let release = |path: &[&str]| {
        let outcome = crate::support::run(machine.command(["release"]).args(path).env("TROP_PATH", "a"));
        assert_released(&outcome, "Released 1 port");
    };
    release(&["--path", "b"]);
    assert_eq!(tags(&machine), ["a"]);
    release(&[]);
    assert!(machine.rows().is_empty());
}
