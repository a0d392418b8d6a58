//! `show-data-dir` and `show-path` print what the other commands use.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::support::{Machine, run, text};

#[test]
fn the_data_directory_is_shown_as_it_is_configured() {
    let machine = Machine::new();
    let shows = |expected: &str, command: &mut std::process::Command| {
        let outcome = run(command);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
        assert_eq!(outcome.stdout, format!("{expected}\n"));
    };
    shows(text(&machine.path("data")), &mut machine.command(["show-data-dir"]));
    shows(text(&machine.path("data")), &mut machine.command(["--quiet", "show-data-dir"]));
    shows("../x/./y", &mut machine.command(["show-data-dir", "--data-dir", "../x/./y"]));
    shows("~/x", machine.command(["show-data-dir"]).env("TROP_DATA_DIR", "~/x"));
    shows(text(&machine.path("home/.trop")), machine.command(["show-data-dir"]).env_remove("TROP_DATA_DIR"));
    assert!(!machine.path("data").exists() && !machine.path("home").exists());
    // A path that is not UTF-8 is printed as it is.
    let odd = OsStr::from_bytes(b"/x/caf\xe9");
    let output = machine.command(["show-data-dir"]).env("TROP_DATA_DIR", odd).output().unwrap();
    assert_eq!(output.stdout, b"/x/caf\xe9\n");
}

/// Trap 67 (a path that no command uses).
#[test]
fn the_path_is_shown_as_a_reservation_would_have_it() {
    let machine = Machine::new();
    machine.directory("work/real");
    symlink(machine.path("work/real"), machine.path("work/link")).unwrap();
    let work = machine.work();
    let shows = |expected: String, command: &mut std::process::Command| {
        let outcome = run(command);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
        assert_eq!(outcome.stdout, format!("{expected}\n"));
    };
    let command = |arguments: &[&str]| machine.command(["show-path"].iter().chain(arguments));
    shows(work.clone(), &mut command(&[]));
    shows(work.clone(), &mut command(&["--quiet"]));
    shows(work.clone(), &mut command(&["--canonicalize"]));
    shows(format!("{work}/real"), command(&[]).current_dir(machine.path("work/link")));
    shows(format!("{work}/link"), &mut command(&["--path", "link"]));
    shows(format!("{work}/link"), command(&[]).env("TROP_PATH", "./x/../link/"));
    shows(format!("{work}/real"), command(&["--canonicalize"]).env("TROP_PATH", "link"));
    shows(format!("{work}/real"), &mut command(&["--path", "link", "--canonicalize"]));
    shows(format!("{work}/missing"), command(&["--path", "missing"]).env("TROP_PATH", "link"));
    machine.refuses(6, &["cannot resolve", "missing"], ["show-path", "--path", "missing", "--canonicalize"]);
    machine.refuses(6, &["cannot resolve"], ["show-path", "--path", "/.."]);
    assert_eq!(run(command(&[]).env("TROP_PATH", "")).code, 2);
    assert!(!machine.path("data").exists());
    // `reserve` stores the path that was printed.
    let reserve = ["reserve", "--path", "link"];
    assert_eq!(run(machine.command(reserve).env("TROP_SKIP_OCCUPANCY_CHECK", "1")).code, 0);
    assert_eq!(machine.rows()[0]["path"], format!("{work}/link"));
}

#[test]
fn neither_reads_configuration() {
    let machine = Machine::new();
    machine.directory("data");
    fs::write(machine.path("work/trop.yaml"), "broken: [").unwrap();
    fs::write(machine.path("data/config.yaml"), "broken: [").unwrap();
    for command in ["show-path", "show-data-dir"] {
        let outcome = run(machine.command([command]).env("TROP_BUSY_TIMEOUT", "x"));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    }
    assert!(!machine.database().exists());
}

/// Trap 66 (a strange working directory).
#[test]
fn a_working_directory_that_is_gone_stops_only_those_who_need_it() {
    let machine = Machine::new();
    let gone = |command: &str| {
        machine.directory("work/gone");
        let script = format!("cd gone && rmdir ../gone && exec '{}' {command}", env!("CARGO_BIN_EXE_trop"));
        let mut shell = machine.command([""; 0]);
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", &script]).current_dir(machine.path("work")).env_clear();
        for (name, value) in shell.env("TROP_SKIP_OCCUPANCY_CHECK", "1").get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        run(&mut command)
    };
    assert_eq!(gone("list").code, 0);
    assert_eq!(gone("show-data-dir").code, 0);
    assert_eq!(gone("reserve").code, 5);
    assert_eq!(gone("show-path").code, 5);
    assert_eq!(gone("reserve --path /x --allow-unrelated-path").code, 0);
}
