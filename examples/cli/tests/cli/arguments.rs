//! Syntax, argument values, settings, and which of several errors is reported.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{Machine, assert_syntax_error, run};

#[test]
fn help_and_version_are_results() {
    let machine = Machine::new();
    let commands = ["reserve", "release", "list", "port-info", "prune", "expire", "autoclean"];
    let mut asked: Vec<Vec<&str>> = vec![vec!["--help"], vec!["-h"], vec!["help"]];
    asked.extend(commands.map(|command| vec![command, "--help"]));
    asked.extend(commands.map(|command| vec!["help", command]));
    for arguments in asked {
        let outcome = machine.trop(&arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{arguments:?}");
        for token in ["Usage: trop", "Example", "--data-dir"] {
            assert!(outcome.stdout.contains(token), "{arguments:?}: {outcome:?}");
        }
    }
    assert!(machine.trop(["reserve", "--help"]).stdout.contains("Reserve"));
    for flag in ["--version", "-V"] {
        let outcome = machine.trop([flag]);
        assert_eq!(outcome.stdout, format!("trop {}\n", env!("CARGO_PKG_VERSION")));
    }
    assert_syntax_error(&machine.trop(["list", "--version"]));
    assert!(!machine.path("data").exists());
}

#[test]
fn the_command_alone_shows_its_usage() {
    let machine = Machine::new();
    for command in [&mut machine.command([""; 0]), machine.command([""; 0]).env_remove("TROP_DATA_DIR")] {
        let outcome = run(command);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
        assert!(outcome.stderr.contains("Usage: trop"), "{outcome:?}");
    }
}

#[test]
fn syntax_errors_show_the_usage_and_touch_nothing() {
    let machine = Machine::new();
    for arguments in [
        &["frobnicate"][..],
        &["reserve", "--frobnicate"],
        &["reserve", "--tag"],
        &["reserve", "--quiet=1"],
        &["reserve", "-q"],
        &["reserve", "stray"],
        &["list", "--path", "x"],
        &["list", "--format", "xml"],
        &["list", "--quiet", "--quiet"],
        &["list", "--busy-timeout", "-1"],
        &["list", "--busy-timeout=-1"],
        &["list", "--busy-timeout", "soon"],
        &["list", "--data-dir", ""],
        &["reserve", "--path", ""],
        &["port-info"],
        &["port-info", "99999"],
        &["port-info", "-1"],
        &["port-info", "http"],
    ] {
        assert_syntax_error(&machine.trop(arguments));
    }
    assert_syntax_error(&run(machine.command(["list"]).env("TROP_DATA_DIR", "")));
    assert_syntax_error(&run(machine.command(["reserve"]).env("TROP_PATH", "")));
    assert_syntax_error(&run(machine.command(["release"]).env("TROP_PATH", "")));
    assert!(!machine.path("data").exists());
}

#[test]
fn syntax_errors_do_not_echo_what_drives_a_terminal() {
    let machine = Machine::new();
    let hostile = "x\nexport PORT=1\u{1b}[31m";
    for arguments in [
        vec![hostile.to_owned()],
        vec![format!("--{hostile}")],
        vec!["list".to_owned(), "--format".to_owned(), hostile.to_owned()],
        vec!["port-info".to_owned(), hostile.to_owned()],
        vec!["port-info".to_owned(), format!("--{hostile}")],
        vec!["reserve".to_owned(), format!("--quiet={hostile}")],
    ] {
        let outcome = machine.trop(&arguments);
        assert_syntax_error(&outcome);
        assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:?}");
        assert!(!outcome.stderr.lines().any(|line| line.starts_with("export")), "{outcome:?}");
    }
}

#[test]
fn bad_values_are_refused_before_anything_is_touched() {
    let machine = Machine::new();
    for flag in ["port", "min", "max"] {
        let option = format!("--{flag}");
        for value in ["0", "65536", "70000", "abc", "-1", "+1", "", "99999999999999999999", "1\n2"] {
            machine.refuses(4, &["Invalid ", flag, "port"], ["reserve", &option, value]);
            machine.refuses(4, &["Invalid ", flag, "port"], ["reserve", "--quiet", &option, value]);
        }
        let not_text = [OsStr::new("reserve"), OsStr::new(&option), OsStr::from_bytes(b"50\xff")];
        machine.refuses(4, &["Invalid ", flag], not_text);
    }
    machine.refuses(4, &["Invalid", "port"], ["reserve", "--min", "9000", "--max", "8000"]);
    machine.refuses(4, &["Invalid", "port"], ["port-info", "0"]);
    for command in ["reserve", "release"] {
        for tag in ["", "   ", "\u{3000}", &"x".repeat(256)] {
            machine.refuses(4, &["Invalid tag"], [command, "--tag", tag]);
        }
        machine.refuses(4, &["Invalid tag: Cannot be empty"], [command, "--tag="]);
        let not_text = [OsStr::new(command), OsStr::new("--tag"), OsStr::from_bytes(b"caf\xe9")];
        machine.refuses(4, &["Invalid tag", "UTF-8"], not_text);
    }
    machine.refuses(4, &["Cannot specify both"], ["release", "--tag", "a", "--untagged-only"]);
}

#[test]
fn bad_settings_are_refused_before_anything_is_touched() {
    let machine = Machine::without_range();
    for command in [&["reserve"][..], &["release"], &["list"], &["port-info", "5000"]] {
        let arguments = command.iter().copied().chain(["--busy-timeout", "2147484"]);
        machine.refuses(7, &["validation error", "must not exceed 2147483"], arguments);
    }
    machine.refuses(7, &["validation error", "ports", "max 7000"], ["reserve", "--min", "8000"]);
    machine.refuses(7, &["validation error", "ports", "min 5000"], ["reserve", "--max", "4000"]);
    assert_eq!(machine.trop(["list", "--busy-timeout", "2147483"]).code, 0);
}

/// Trap 65 (a path that is no text).
#[test]
fn unresolvable_paths_are_refused_before_anything_is_touched() {
    let machine = Machine::new();
    for command in ["reserve", "release"] {
        for path in ["/..", "../".repeat(64).as_str(), "~nobody/x"] {
            machine.refuses(6, &["cannot resolve", "path"], [command, "--path", path]);
            machine.refuses_command(
                6,
                &["cannot resolve"],
                machine.command([command]).env("TROP_PATH", path),
            );
        }
        let not_text = [OsStr::new(command), OsStr::new("--path"), OsStr::from_bytes(b"caf\xe9")];
        machine.refuses(6, &["cannot resolve", "UTF-8"], not_text);
    }
}

#[test]
fn the_first_fault_in_the_order_of_the_contract_is_reported() {
    let machine = Machine::new();
    let elsewhere = machine.directory("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    assert_syntax_error(&machine.trop(["reserve", "--port", "0", "--busy-timeout", "-1"]));
    machine.refuses(4, &[], ["reserve", "--max", "0", "--min", "8000"]);
    machine.refuses(4, &[], ["reserve", "--min", "2", "--max", "1", "--busy-timeout", "2147484"]);
    machine.refuses(4, &[], ["release", "--untagged-only", "--tag", "a", "--busy-timeout", "2147484"]);
    machine.refuses(4, &[], ["reserve", "--tag", "", "--busy-timeout", "2147484"]);
    machine.refuses(4, &[], ["release", "--tag", "", "--path", "/..", "--busy-timeout", "2147484"]);
    machine.refuses(4, &[], ["port-info", "0", "--busy-timeout", "2147484"]);
    machine.refuses(7, &[], ["reserve", "--path", "/..", "--busy-timeout", "2147484"]);
    machine.refuses(7, &[], ["reserve", "--path", "/..", "--min", "26000", "--disable-autoinit"]);
    machine.refuses(6, &[], ["reserve", "--path", "/..", "--disable-autoinit"]);
    machine.refuses(6, &[], ["release", "--path", "/..", "--disable-autoinit"]);
    machine.refuses(3, &[], ["reserve", "--path", elsewhere, "--disable-autoinit"]);
    machine.reserve([""; 0]);
    let lock = machine.lock();
    for command in ["reserve", "release"] {
        machine.refuses(2, &[], [command, "--path", elsewhere, "--busy-timeout", "0"]);
    }
    lock.release();
    machine.refuses(1, &[], ["reserve", "--path", elsewhere, "--min", "1", "--max", "1"]);
}

#[test]
fn global_options_stand_before_or_after_the_subcommand() {
    let machine = Machine::new();
    let (first, second) = (machine.path("first"), machine.path("second/deep"));
    let (one, two) = (first.to_str().unwrap(), second.to_str().unwrap());
    assert_eq!(machine.trop(["--data-dir", one, "reserve", "--data-dir", two]).code, 0);
    assert!(second.join("trop.db").exists(), "parents are made");
    assert!(!first.exists() && !machine.path("data").exists(), "the later one wins");
    assert_eq!(machine.trop(["--data-dir", one, "--quiet", "reserve"]).code, 0);
    assert!(first.join("trop.db").exists() && !machine.path("data").exists(), "the flag beats the variable");
    assert_eq!(machine.trop(["--quiet", "list", "--quiet"]).code, 0);
    assert_eq!(machine.trop(["reserve", "--data-dir", "../relative"]).code, 0);
    assert!(machine.path("relative/trop.db").exists());
}

#[test]
fn the_registry_is_in_the_home_directory_by_default() {
    let machine = Machine::new();
    assert_eq!(run(machine.command(["reserve"]).env_remove("TROP_DATA_DIR")).code, 0);
    assert!(machine.path("home/.trop/trop.db").exists());
}

#[test]
fn without_autoinit_nothing_is_made() {
    let machine = Machine::new();
    for command in [&["reserve"][..], &["release"], &["list"], &["port-info", "5000"]] {
        let arguments = command.iter().copied().chain(["--disable-autoinit"]);
        machine.refuses(3, &["Data directory not found"], arguments);
    }
    let port = machine.reserve([""; 0]);
    assert_eq!(machine.reserve(["--disable-autoinit"]), port);
}
